"""The server's own log: one JSON object per line on stderr.

In: an event name and fields.  Out: a line.  Structured only: a name with a tab or a newline in it cannot forge a line
(CVE-2026-84439).  Secrets never come here: session passwords and credentials are masked by the types that hold them.
"""

import json
import sys
import time
from typing import Any, TextIO

LEVELS = ("debug", "info", "warning", "error")
# Facts of the machine that deserve more or less than "info".
_LEVEL_OF = {
    "session_closing": "debug",
    "operation_refused": "warning",
    "protocol_violation": "warning",
    "request_malformed": "warning",
    "auth_failed": "warning",
    "connection_refused": "warning",
    "quota_exceeded": "warning",
    "request_refused": "warning",
    "tls_refused": "warning",
    "slow_reader_closed": "warning",
    "log_repaired": "warning",
    "snapshot_passed_over": "warning",
    "config_unknown_key": "warning",
    "config_without_effect": "warning",
    "slow_sync": "warning",
    "snapshot_failed": "error",
    "log_write_failed": "error",
}


class Journal:
    def __init__(self, level: str = "info", stream: TextIO | None = None) -> None:
        self._least = LEVELS.index(level)
        self._stream = stream if stream is not None else sys.stderr

    def write(self, event: str, **fields: Any) -> None:
        level = _LEVEL_OF.get(event, "info")
        if LEVELS.index(level) < self._least:
            return
        shown = {key: f"0x{value:x}" if key in ("session_id", "zxid") else value for key, value in fields.items()}
        line = {"time_ms": int(time.time() * 1000), "level": level, "event": event, **shown}
        try:
            self._stream.write(json.dumps(line, default=str) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # whoever read our stderr is gone; serving goes on
