"""`timeline`: the waterfall of a fault once more, with the events it was measured from; or as a drawing (`--svg`)."""

from pathlib import Path
from typing import Annotated

import typer

from brokerdemo.cli import options as opt
from brokerdemo.cli import screen
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.observe import event_line, waterfall


def add(app: typer.Typer) -> None:
    app.command(
        epilog=opt.examples(
            "brokerdemo timeline                       # the last fault",
            "brokerdemo timeline f7 --svg f7.svg       # drawn to scale, light and dark",
            "brokerdemo timeline --json | jq .stages_ms",
        )
    )(timeline)


def timeline(
    fault: Annotated[str, typer.Argument(metavar="[FAULT|last]", show_default=False)] = "last",
    svg: Annotated[str, typer.Option("--svg", metavar="FILE", help="Write a drawing there (- for stdout).")] = "",
    as_json: opt.Json = False,
) -> None:
    """What a fault set off, stage by stage, to scale."""
    found = opt.client().call("timeline", fault=fault)
    if svg:
        from brokerdemo.observe.waterfall_svg import draw

        drawing = draw(found)
        if svg == "-":
            screen.out(drawing)
            return
        try:
            Path(svg).write_text(drawing, encoding="utf-8")
        except OSError as error:
            raise ClusterError(
                Code.ENVIRONMENT, f"{svg} cannot be written", str(error.strerror), "--svg FILE elsewhere"
            ) from None
        screen.say(f"wrote {svg}")
    if as_json:
        screen.emit(found)
        return
    if svg:
        return
    look = screen.the()
    for line in waterfall.render(found, width=look.width, paint=look.paint, unicode=look.unicode):
        screen.out(line)
    events = found.get("events") or []
    if events:
        screen.out("\n" + look.paint("  measured from these events:", "dim"))
    start_ns = found.get("t_ns") or (events[0]["t_ns"] if events else 0)
    for event in events:
        screen.out("  " + look.paint(event_line.line(event, clock=_after(event["t_ns"] - start_ns)), "dim"))


def _after(ns: int) -> str:
    return f"{ns / 1e6:+.1f} ms".rjust(11)
