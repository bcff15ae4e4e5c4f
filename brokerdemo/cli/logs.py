"""`logs`: what the processes wrote, read from the state directory; works while the cluster runs and after its end.

The files are JSON, one record per line; lines of several processes are put in the order of their monotonic stamps. A
line that is no JSON (a traceback on stderr) is shown as it is, at the place it stood.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from brokerdemo.cli import options as opt
from brokerdemo.cli import screen
from brokerdemo.cluster import layout
from brokerdemo.cluster.errors import ClusterError, Code

_LEVELS = ("debug", "info", "warning", "error")
_SHOWN_ELSEWHERE = {"t_ns", "timestamp", "time", "level", "event", "source", "logger"}


def add(app: typer.Typer) -> None:
    app.command(
        epilog=opt.examples(
            "brokerdemo logs                          # everybody",
            "brokerdemo logs 2 supervisor             # broker 2 and the supervisor",
            "brokerdemo logs --level warning --grep session",
        )
    )(logs)


def logs(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="ID|coordinator|supervisor", show_default=False)
    ] = None,
    level: Annotated[str, typer.Option("--level", metavar="LEVEL", help="This and worse (debug).")] = "debug",
    grep: Annotated[str, typer.Option("--grep", metavar="REGEX", help="Only lines that match.")] = "",
    tail: Annotated[str, typer.Option("--tail", metavar="N", help="Only the last N lines.")] = "",
    as_json: opt.Json = False,
) -> None:
    """What brokers, coordination server and supervisor logged."""
    if level not in _LEVELS:
        raise opt.usage(f"--level {level!r}: there are {', '.join(_LEVELS)}", "brokerdemo logs --level warning")
    if tail and not tail.isdigit():
        raise opt.usage(f"--tail {tail!r} is not a whole number", "brokerdemo logs --tail 50")
    try:
        pattern = re.compile(grep) if grep else None
    except re.error as error:
        raise opt.usage(
            f"--grep {grep!r} is not a regular expression: {error}", "brokerdemo logs --grep session"
        ) from None
    place = _place()
    records = sorted(_records(place, targets or []), key=lambda record: record[0])
    wanted = [r for r in records if _level_of(r[2]) >= _LEVELS.index(level) and (not pattern or pattern.search(r[3]))]
    for _, process, record, raw in wanted[-int(tail) :] if tail else wanted:
        if as_json:
            screen.emit({"process": process, **record})
        else:
            screen.out(_line(process, record, raw))


def _place() -> layout.Layout:
    """The running cluster, or else the last one of the name, whose files may still be there."""
    try:
        return layout.select()
    except ClusterError:
        place = layout.layout(os.environ.get("BROKERDEMO_CLUSTER") or layout.DEFAULT_NAME)
        if not place.state_dir.exists():
            raise
        return place


def files_of(place: layout.Layout) -> dict[str, Path]:
    """Process name -> its log file, for every file there is."""
    found = {"supervisor": place.supervisor_log}
    found["coordinator"] = place.state_dir / "coordination.log"
    brokers = place.state_dir / "brokers"
    for directory in sorted(brokers.glob("*"), key=lambda d: (len(d.name), d.name)):
        for path in sorted(p for p in directory.glob("*") if p.name in ("log.ndjson", "stderr", "log")):
            suffix = "" if path.name.startswith("log") else f":{path.name}"
            found[f"broker {directory.name}{suffix}"] = path
    return {name: path for name, path in found.items() if path.is_file()}


def _records(place: layout.Layout, targets: list[str]) -> Iterator[tuple[int, str, dict[str, Any], str]]:
    files = files_of(place)
    names = {name.split(":")[0] for name in files}
    for target in targets:
        if target not in names and f"broker {target}" not in names:
            raise ClusterError(
                Code.NOT_FOUND, f"{target!r} has no log", f"there are {', '.join(sorted(names))}", "brokerdemo logs 1"
            )
    for name, path in files.items():
        process = name.split(":")[0]
        if targets and process not in targets and process.removeprefix("broker ") not in targets:
            continue
        t_ns = 0
        for raw in path.read_text(encoding="utf-8", errors="replace").splitlines():
            record = _parse(raw)
            # A line without a stamp stays behind the one before it.
            t_ns = int(record.get("t_ns", t_ns))
            yield t_ns, process, record, raw


def _parse(raw: str) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError:
        return {"text": raw}
    return found if isinstance(found, dict) else {"text": raw}


def _level_of(record: dict[str, Any]) -> int:
    level = str(record.get("level", "info")).lower()
    return (
        _LEVELS.index({"warn": "warning", "critical": "error", "exception": "error"}.get(level, level)) if level else 1
    )


def _line(process: str, record: dict[str, Any], raw: str) -> str:
    if "text" in record and len(record) == 1:
        return f"{process:<12}  {raw}"
    level = str(record.get("level", "info"))
    role = {"warning": "warn", "error": "bad", "debug": "dim"}.get(level, "")
    fields = " ".join(f"{key}={value}" for key, value in record.items() if key not in _SHOWN_ELSEWHERE)
    return f"{process:<12}  {screen.the().paint(f'{level:<8}', role)}{record.get('event', '')}  {fields}".rstrip()
