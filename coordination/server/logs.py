"""Where the server's log goes: a terminal, a pipe, a file that rotates.

In: LogSettings and --log-level.  Out: a Journal.  structlog is imported for a terminal or a file only: a server that is
started by another program writes its lines without it, and starts as fast as ever.
Answers to ZooKeeper's logback.xml.

(1) A file is never larger than its limit by more than one line, and at most `count` older ones are kept:
    name.1 is the newest of them.
(2) A line that could not be written (full disk) is counted, and the count is told with the first line that can.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coordination.server.config import AuditSettings, ConfigError, LogSettings
from coordination.server.journal import LEVELS, Journal, Sink, as_json, stream_sink
from coordination.state.audit import AUDIT


def open_journal(settings: LogSettings, level: str = "info", audit: AuditSettings | None = None) -> Journal:
    """`level`: of the console, where the settings do not name one.  ConfigError: a file cannot be opened."""
    console = settings.console_level or (level if settings.file is None else "error")
    render = _key_value() if sys.stderr.isatty() else as_json
    sinks = [stream_sink(console, None, render)]
    if settings.file is not None:
        file = _open(
            settings.file, settings.file_bytes_max, settings.file_count, "log.file and log.dir (or --log-file)"
        )
        sinks.append(Sink(LEVELS.index(settings.level), _json(), file.write))
    apart: dict[str, Sink] = {}
    if audit is not None and audit.file is not None:
        file = _open(audit.file, audit.file_bytes_max, audit.file_count, "auditlog.file and log.dir")
        apart[AUDIT] = Sink(0, _json(), file.write)
    return Journal(sinks=sinks, apart=apart)


def _open(path: Path, bytes_max: int, count: int, keys: str) -> "RotatingFile":
    try:
        return RotatingFile(path, bytes_max, count)
    except OSError as error:
        raise ConfigError(f"the log file {path} cannot be opened: {error.strerror}. Check {keys}.") from None


def _json() -> Callable[[dict[str, Any]], str]:
    import structlog

    renderer = structlog.processors.JSONRenderer(default=str)

    def render(line: dict[str, Any]) -> str:
        text = renderer(None, line["level"], dict(line))
        return text if isinstance(text, str) else text.decode()

    return render


def _key_value() -> Callable[[dict[str, Any]], str]:
    """For people: the time as a time, values as Python shows them, so that no escape reaches the terminal."""
    import structlog

    stamp = structlog.processors.TimeStamper(fmt="iso", utc=False, key="time")
    renderer = structlog.processors.KeyValueRenderer(key_order=["time", "level", "event"], repr_native_str=True)

    def render(line: dict[str, Any]) -> str:
        shown = {key: value for key, value in line.items() if key != "time_ms"}
        return str(renderer(None, line["level"], stamp(None, line["level"], shown)))

    return render


class RotatingFile:
    """A file that is set aside when it is full."""

    def __init__(self, path: Path, bytes_max: int, count: int) -> None:
        """Appends to what is there.  OSError."""
        self._path = path
        self._bytes_max = bytes_max
        self._count = count
        self._lost = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def write(self, text: str) -> None:
        """One line, whole or not at all.  OSError is passed on after it was counted."""
        data = text.encode()
        try:
            if self._fd < 0:
                self._open()
            if self._size and self._size + len(data) > self._bytes_max:
                self._rotate()
            if self._lost:
                notice = as_json({"level": "warning", "event": "log_lines_lost", "count": self._lost}).encode() + b"\n"
                self._append(notice)
                self._lost = 0
            self._append(data)
        except OSError:
            self._lost += 1
            raise

    def _append(self, data: bytes) -> None:
        written = os.write(self._fd, data)
        if written < len(data):
            os.ftruncate(self._fd, self._size)
            raise OSError("the disk is full")
        self._size += written

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        os.close(self._fd)
        self._fd = -1
        if self._count == 0:
            os.unlink(self._path)
        else:
            for number in range(self._count - 1, 0, -1):
                if os.path.exists(self._older(number)):
                    os.replace(self._older(number), self._older(number + 1))
            os.replace(self._path, self._older(1))
        self._open()

    def _older(self, number: int) -> str:
        return f"{self._path}.{number}"
