"""The server's own log: events with fields, a line each.

In: an event name and fields.  Out: one line to each sink whose level it reaches: JSON on stderr, unless told otherwise.
Structured only: a name with a tab, a newline or an escape character in it cannot forge a line (CVE-2026-84439).

(1) Secrets never come here: session passwords and credentials are masked by the types that hold them, and a field with
    a telling name is masked whatever it holds.
(2) An event below every sink's level costs a look at a table.  What a sink cannot write does not stop the server.
(3) An event that any client can provoke is told PROVOKED_PER_S times a second; the next one that is told says how many
    were not.  A flood does not fill the disk.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TextIO

LEVELS = ("debug", "info", "warning", "error", "off")
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
    "tls_reload_failed": "error",
    "purge_failed": "error",
    "slow_reader_closed": "warning",
    "answers_too_large": "warning",
    "log_repaired": "warning",
    "log_gap": "warning",
    "snapshot_passed_over": "warning",
    "digest_mismatch": "warning",
    "snapshot_ahead_of_log": "warning",
    "config_unknown_key": "warning",
    "config_without_effect": "warning",
    "slow_sync": "warning",
    "exposed": "warning",
    "log_lines_lost": "warning",
    "http_failed": "error",
    "http_request_failed": "error",
    "snapshot_failed": "error",
    "storage_failed": "error",
    "log_write_failed": "error",
}
# What anybody who can connect can cause as often as they like.
_PROVOKED = frozenset(
    (
        "protocol_violation",
        "request_malformed",
        "connection_refused",
        "operation_refused",
        "request_refused",
        "auth_failed",
        "client_ahead",
        "slow_reader_closed",
        "answers_too_large",
        "tls_refused",
    )
)
PROVOKED_PER_S = 20
_IN_HEX = frozenset(("session_id", "zxid", "client_zxid", "log_zxid"))
_LONG = (1 << 64) - 1  # a negative id is shown as its 64 bits, as Java does
_MASKED = frozenset(("password", "credential", "digest", "token", "secret"))


class Sink(NamedTuple):
    """Where lines go: from which level on, how a line looks, who writes it (OSError and ValueError are passed over)."""

    least: int
    render: Callable[[dict[str, Any]], str]
    write: Callable[[str], object]


class _Told:
    """How often one event was told in this second, and how many were left out since the last that was told."""

    __slots__ = ("count", "left_out", "second")

    def __init__(self) -> None:
        self.second = self.count = self.left_out = 0

    def may_be_told(self, second: int) -> bool:
        if second != self.second:
            self.second, self.count = second, 0
        self.count += 1
        if self.count > PROVOKED_PER_S:
            self.left_out += 1
            return False
        return True


class Journal:
    def __init__(
        self,
        level: str = "info",
        stream: TextIO | None = None,
        *,
        sinks: Sequence[Sink] | None = None,
        apart: Mapping[str, Sink] | None = None,
    ) -> None:
        """`sinks`: None for JSON lines of at least `level` on `stream`, by default stderr.  `apart`: events that go to
        a place of their own, whatever their level.
        """
        self._sinks = [stream_sink(level, stream, as_json)] if sinks is None else list(sinks)
        least = min((sink.least for sink in self._sinks), default=len(LEVELS))
        self._levels: Mapping[str, int] = {event: LEVELS.index(level) for event, level in _LEVEL_OF.items()}
        self._least = least
        self._apart = {} if apart is None else apart
        self._provoked: dict[str, _Told] = {event: _Told() for event in _PROVOKED}

    def write(self, event: str, **fields: Any) -> None:
        level = self._levels.get(event, 1)
        apart = self._apart.get(event)
        if level < self._least and apart is None:
            return
        time_ms = int(time.time() * 1000)
        provoked = self._provoked.get(event)
        if provoked is not None:
            if not provoked.may_be_told(time_ms // 1000):
                return
            if provoked.left_out:
                fields["not_told"], provoked.left_out = provoked.left_out, 0
        line = {"time_ms": time_ms, "level": LEVELS[level], "event": event}
        for key, value in fields.items():
            line[key] = "***" if key in _MASKED else f"0x{value & _LONG:x}" if key in _IN_HEX else value
        for sink in self._sinks if apart is None else (apart,):
            if level >= sink.least:
                try:
                    sink.write(sink.render(line) + "\n")
                except (OSError, ValueError):
                    pass  # whoever read our stderr is gone, or the disk is full; serving goes on


def as_json(line: dict[str, Any]) -> str:
    """ASCII only: no control character of any kind comes through."""
    return json.dumps(line, default=str)


def stream_sink(level: str, stream: TextIO | None, render: Callable[[dict[str, Any]], str]) -> Sink:
    """Lines to a stream (stderr), each at once."""

    def write(text: str) -> None:
        # Looked up each time: who redirects sys.stderr means us too.
        target = stream if stream is not None else sys.stderr
        target.write(text)
        target.flush()

    return Sink(LEVELS.index(level), render, write)
