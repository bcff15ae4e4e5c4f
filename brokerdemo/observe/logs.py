"""Logs: structlog, set up once per process. JSON lines into a file, `key=value` on a terminal; `t_ns` on every line.

In: a level, a process name, a file. Out: a configured structlog and stdlib logging, to the same place. The level can
be changed live (`set_level`), which is what the `log.level` setting does. Answers to Kafka's Log4jController.

(1) Every line has `process`, `level`, `t_ns` (monotonic, comparable with events) and `event`.
(2) A line of the stdlib's logging (kazoo, trio) goes the same way.
(3) No secret is logged: session passwords travel as `Secret`, whose repr is masked.
"""

import logging
import sys
import time
from pathlib import Path
from typing import IO, Any

# structlog's console renderer imports rich, if it is there, for coloured tracebacks. Nobody here asks for those, and
# it is half of structlog's import time, in a process whose start is part of `up` (measured: 0.27 s with, 0.16 s
# without).
_RICH = "rich"
_hidden = _RICH not in sys.modules
if _hidden:
    sys.modules[_RICH] = None  # type: ignore[assignment]  # documented: makes `import rich` an ImportError
import structlog  # noqa: E402
from structlog.typing import EventDict, WrappedLogger  # noqa: E402

if _hidden:
    del sys.modules[_RICH]

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def _stamp(process: str) -> structlog.typing.Processor:
    def add(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        event["t_ns"] = time.monotonic_ns()
        event["process"] = process
        return event

    return add


def set_up(*, process: str, level: int = logging.INFO, file: str | Path | None = None) -> None:
    """Configure structlog and logging for this process. `file` is appended to; None writes to stderr.

    OSError when the file cannot be opened. Calling it again replaces the set-up (a forked child does).
    """
    # Unbuffered by line: after kill -9 the log still ends with the last thing said.
    out: IO[str] = open(file, "a", buffering=1, encoding="utf-8") if file else sys.stderr  # noqa: SIM115
    as_json = file is not None or not out.isatty()
    shared: list[structlog.typing.Processor] = [structlog.stdlib.add_log_level, _stamp(process)]
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(default=repr)
        if as_json
        else structlog.processors.KeyValueRenderer(sort_keys=False)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # Not cached: a forked child and `set_level` must take effect on loggers bound before.
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.processors.format_exc_info],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    # The client reports connection changes itself; its library's own lines are for debugging.
    logging.getLogger("kazoo").setLevel(max(level, logging.WARNING))


def set_level(name: str) -> None:
    """Change the level of the running process; ValueError with the names there are."""
    if name.lower() not in LEVELS:
        raise ValueError(f"{name!r} is not a log level: use {', '.join(LEVELS)}")
    logging.getLogger().setLevel(LEVELS[name.lower()])


def get(**bound: Any) -> Any:
    """A logger with `bound` on every line."""
    return structlog.get_logger(**bound)
