"""Where a command's words go: lines on stdout, notes on stderr; or, with `--json`, fields that become one object.

In: lines, notes, fields.  Out: the streams.  Knows no command.

(1) With `--json` stdout holds JSON only: one object, or one per line for a stream.
(2) What a znode holds cannot drive the terminal: control characters are shown, not sent, when stdout is a terminal.
"""

import json
import sys
import threading
from collections.abc import Callable

_CONTROL = {code: f"\\x{code:02x}" for code in [*range(0x20), *range(0x7F, 0xA0)] if code not in (0x09, 0x0A)}


class Output:
    """One command's output."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.fields: dict[str, object] = {}
        self._lock = threading.Lock()
        # What to do after a line from another thread (the shell draws its prompt again).
        self.after_event: Callable[[], None] | None = None

    def line(self, text: str) -> None:
        """A line of the result, for people; silent with `--json`."""
        if not self.as_json:
            with self._lock:
                sys.stdout.write(visible(text) + "\n")

    def note(self, text: str) -> None:
        """A line on stderr."""
        with self._lock:
            sys.stdout.flush()
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def put(self, **fields: object) -> None:
        """Part of the result, for programs."""
        self.fields.update(fields)

    def event(self, text: str, fields: dict[str, object]) -> None:
        """Something that came by itself."""
        with self._lock:
            sys.stdout.write((json.dumps(fields) if self.as_json else visible(text)) + "\n")
            sys.stdout.flush()
        if self.after_event is not None:
            self.after_event()

    def finish(self) -> None:
        """Write the object, if there is one to write."""
        if self.as_json and self.fields:
            with self._lock:
                sys.stdout.write(json.dumps(self.fields) + "\n")
        self.fields = {}
        sys.stdout.flush()


def visible(text: str) -> str:
    return text.translate(_CONTROL) if sys.stdout.isatty() else text
