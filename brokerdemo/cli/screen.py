"""The terminal: what may be printed to it, and how. Data goes to stdout, everything else to stderr.

One Look per process, made once from the environment and the global flags (`the()`), so that no command decides on
colour by itself. Colour is never the only sign: every painted word also says it.

(1) NO_COLOR, `--no-color`, TERM=dumb or a stream that is no terminal: no escape codes. FORCE_COLOR turns them on again,
    but not over `--no-color`.
(2) `--ascii`, or a locale that is not UTF-8: no character above 127.
(3) With `--json`, stdout holds JSON only: one object, or one per line for streams.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from brokerdemo.cli.exits import ReaderGone

_CODES = {
    "strong": "1",
    "dim": "2",
    "bad": "1;31",
    "good": "32",
    "warn": "33",
    "accent": "36",
}


@dataclass(frozen=True, slots=True)
class Look:
    """What this process may put on its terminal."""

    colour: bool
    unicode: bool
    width: int
    quiet: bool
    interactive: bool

    def paint(self, text: str, role: str) -> str:
        """`text` in its role's colour, or as it is."""
        code = _CODES.get(role)
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text else text


def look_from(
    environ: Mapping[str, str],
    stream: TextIO,
    *,
    no_colour: bool = False,
    ascii_only: bool = False,
    quiet: bool = False,
) -> Look:
    """Decide once. `stream` is where data goes (stdout)."""
    tty = stream.isatty()
    colour = tty and "NO_COLOR" not in environ and environ.get("TERM") != "dumb"
    if environ.get("FORCE_COLOR") and "NO_COLOR" not in environ:
        colour = True
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "")
    return Look(
        colour=colour and not no_colour,
        unicode=encoding == "utf8" and not ascii_only,
        width=max(80, min(140, shutil.get_terminal_size((100, 24)).columns)),
        quiet=quiet,
        interactive=tty and sys.stdin.isatty(),
    )


_look: Look | None = None


def the() -> Look:
    """This process's Look."""
    global _look
    if _look is None:
        _look = look_from(os.environ, sys.stdout)
    return _look


def use(look: Look) -> None:
    global _look
    _look = look


def out(text: str = "") -> None:
    """A line of data; ReaderGone when nobody reads it any more."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGone from None


def say(text: str = "") -> None:
    """A line of progress, hint or comment; silent with --quiet."""
    if not the().quiet:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def warn(text: str) -> None:
    """A warning; not silenced."""
    sys.stderr.write(paint_err("warning: ", "warn") + text + "\n")
    sys.stderr.flush()


def paint_err(text: str, role: str) -> str:
    """Paint for stderr, which may be a terminal when stdout is not, and the other way round."""
    return the().paint(text, role) if sys.stderr.isatty() or "FORCE_COLOR" in os.environ else text


def emit(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """One JSON value on one line."""
    out(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[int] = ()) -> list[str]:
    """Columns as wide as their widest cell; `right` names the columns set to the right. No lines, no boxes."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        placed = (c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        return "  ".join(placed).rstrip()

    return [line(list(header)), *(line(row) for row in cells)]
