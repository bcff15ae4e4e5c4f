"""Where a command's words go: lines on stdout, notes on stderr; or, with `--json`, fields that become one object.

In: lines, notes, fields.  Out: the streams.  Knows no command.

(1) With `--json` stdout holds JSON only: one object, or one per line for a stream.
(2) What a znode holds cannot drive the terminal: control characters are shown, not sent, when stdout is a terminal.
(3) Progress is for eyes: on stderr, only when that is a terminal, at most some times a second, gone when it is done.
"""

import json
import sys
import threading
import time
from collections.abc import Callable

_CONTROL = {code: f"\\x{code:02x}" for code in [*range(0x20), *range(0x7F, 0xA0)] if code not in (0x09, 0x0A)}

_PROGRESS_EVERY_S = 0.2
_CLEAR_LINE = "\r\x1b[K"


class Output:
    """One command's output."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.fields: dict[str, object] = {}
        self._lock = threading.Lock()
        self._progress_at_s = 0.0
        self._progress_shown = False
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
            self._end_progress()
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def progress(self, done: int, of: int, what: str) -> None:
        """How far long work has come, for whoever waits at a terminal; the next note or `finish` takes it away."""
        now_s = time.monotonic()
        if not self._progress_at_s:
            self._progress_at_s = now_s  # what is over at once shows nothing
        elif now_s - self._progress_at_s >= _PROGRESS_EVERY_S and sys.stderr.isatty():
            self._progress_at_s, self._progress_shown = now_s, True
            sys.stderr.write(f"{_CLEAR_LINE}{what} {done:,} of {of:,}")
            sys.stderr.flush()

    def _end_progress(self) -> None:
        if self._progress_shown:
            sys.stderr.write(_CLEAR_LINE)
            sys.stderr.flush()
        self._progress_shown, self._progress_at_s = False, 0.0

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
        """The end of a command: its object, if there is one to write."""
        self._end_progress()
        if self.as_json and self.fields:
            with self._lock:
                sys.stdout.write(json.dumps(self.fields) + "\n")
        self.fields = {}
        sys.stdout.flush()


def visible(text: str) -> str:
    return text.translate(_CONTROL) if sys.stdout.isatty() else text
