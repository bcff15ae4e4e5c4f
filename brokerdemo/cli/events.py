"""`events`: what happened, in the order the supervisor heard it; one line each, or NDJSON."""

import time
from datetime import datetime
from typing import Annotated, Any

import typer

from brokerdemo.cli import options as opt
from brokerdemo.cli import screen
from brokerdemo.observe import event_line


def add(app: typer.Typer) -> None:
    app.command(
        epilog=opt.examples(
            "brokerdemo events -f                     # follow until Ctrl-C",
            "brokerdemo events --since last-fault     # only what the last fault set off",
            "brokerdemo events --json | jq -c 'select(.event == \"leader_started\")'",
        )
    )(events)


def events(
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Wait for more.")] = False,
    since: Annotated[str, typer.Option("--since", metavar="SEQ|last-fault", help="Only events after this one.")] = "0",
    as_json: opt.Json = False,
) -> None:
    """The facts: signals, exits, elections, leaders, settings."""
    if since != "last-fault" and not since.isdigit():
        raise opt.usage(
            f"--since {since!r} is neither a sequence number nor last-fault", "brokerdemo events --since 120"
        )
    start: int | str = int(since) if since.isdigit() else since
    clock = WallClock()
    with opt.client().request("events", follow=follow, since=start) as answers:
        for answer in answers:
            event = answer.get("event")
            if isinstance(event, dict):
                show(event, clock, as_json=as_json)


class WallClock:
    """Turns monotonic stamps of this host into the time of day."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def of(self, t_ns: int) -> str:
        """`07:31:05.120` in local time."""
        return datetime.fromtimestamp((t_ns + self._offset_ns) / 1e9).strftime("%H:%M:%S.%f")[:-3]


def show(event: dict[str, Any], clock: WallClock, *, as_json: bool) -> None:
    if as_json:
        screen.emit(event)
    else:
        line = event_line.line(event, clock=clock.of(event["t_ns"]) if "t_ns" in event else "")
        screen.out(screen.the().paint(line, event_line.role_of(event)))
