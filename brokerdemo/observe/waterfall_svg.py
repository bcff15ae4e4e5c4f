"""The waterfall as a drawing: one self-contained SVG, to scale, readable on light and on dark pages.

In: a `brokerdemo.fault/1` object.  Out: SVG text without scripts, fonts or links, so that it can stand in a README.
Pure. Draws the same Picture as waterfall.render; what that file promises about bars and missing stages holds here.
"""

from xml.sax.saxutils import escape

from brokerdemo.observe.waterfall import JSON, Picture, Stage, picture_of

WIDTH = 860
LEFT, RIGHT = 215, 250
ROW = 34
TOP = 70

_STYLE = """
  svg { color-scheme: light dark; }
  text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #1f2328; }
  .paper { fill: #ffffff; } .title { font-weight: 700; font-size: 15px; } .dim { fill: #59636e; }
  .grid { stroke: #d1d9e0; stroke-width: 1; } .signal { stroke: #b3261e; stroke-width: 2; }
  .detected { fill: #9a5b00; } .controller { fill: #0b57d0; } .reassigned { fill: #6f42c1; } .serving { fill: #116329; }
  .bad { fill: #b3261e; font-weight: 700; } .good { fill: #116329; font-weight: 700; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .paper { fill: #0d1117; } .dim { fill: #9198a1; } .grid { stroke: #3d444d; }
    .signal { stroke: #ff8a80; } .detected { fill: #f0b429; } .controller { fill: #79b8ff; }
    .reassigned { fill: #c297ff; } .serving { fill: #57d37c; } .bad { fill: #ff8a80; } .good { fill: #57d37c; }
  }
""".strip("\n")


def draw(fault: JSON) -> str:
    """The whole document."""
    picture = picture_of(fault)
    plot = WIDTH - LEFT - RIGHT
    bottom = TOP + ROW * len(picture.stages) + 14
    result_y = bottom + 42
    notes = [*picture.remarks, *(f"still degraded: {text}" for text in picture.degraded)]
    height = result_y + 20 * len(notes) + 20
    body = [
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        _text(20, 30, picture.headline, "title"),
        _text(WIDTH - 20, 30, f"fault {picture.fault}", "dim", anchor="end"),
        *_axis(picture, plot, bottom),
        f'<line class="signal" x1="{LEFT}" y1="{TOP - 18}" x2="{LEFT}" y2="{bottom}"/>',
    ]
    for number, stage in enumerate(picture.stages):
        body += _row(stage, picture, TOP + ROW * number, plot)
    said = f"recovered in {picture.total_ms:.1f} ms" if picture.recovered else "not recovered yet"
    body.append(_text(20, result_y, said, "good" if picture.recovered else "bad"))
    body += [_text(20, result_y + 22 + 20 * n, note, "dim") for n, note in enumerate(notes)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-labelledby="t d">\n<title id="t">{escape(picture.headline)}</title>\n'
        f'<desc id="d">{escape(_spoken(picture, said))}</desc>\n<style>\n{_STYLE}\n</style>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _spoken(picture: Picture, said: str) -> str:
    stages = (f"{s.name} {s.end_ms:.1f} ms" if s.end_ms is not None else f"{s.name} not seen" for s in picture.stages)
    return f"{said}. " + ", ".join(stages) + "."


def _axis(picture: Picture, plot: int, bottom: int) -> list[str]:
    drawn = []
    for quarter in range(5):
        x = LEFT + plot * quarter / 4
        drawn.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP - 18}" x2="{x:.1f}" y2="{bottom}"/>')
        label = f"{picture.total_ms * quarter / 4:.0f}" + (" ms" if quarter == 4 else "")
        drawn.append(_text(x, bottom + 16, label, "dim", anchor="middle"))
    return drawn


def _row(stage: Stage, picture: Picture, y: int, plot: int) -> list[str]:
    middle = y + 4
    stamp, look = "-", "dim"
    if stage.applies:
        stamp, look = (f"+{stage.end_ms:.1f} ms", stage.name) if stage.end_ms is not None else ("?", "bad")
    row = [_text(105, middle, stamp, look, anchor="end"), _text(117, middle, stage.name.upper(), look)]
    if stage.applies and stage.end_ms is not None and picture.total_ms:
        x = LEFT + plot * stage.start_ms / picture.total_ms
        # Never thinner than two pixels: a stage of 0.1 ms happened, too.
        width = max(2.0, plot * stage.took_ms / picture.total_ms)
        row.append(f'<rect class="{stage.name}" x="{x:.1f}" y="{y - 9}" width="{width:.1f}" height="18" rx="2"/>')
    detail = stage.detail if stage.end_ms is not None or not stage.applies else "not seen"
    row.append(_text(WIDTH - RIGHT + 14, middle, detail if len(detail) <= 29 else detail[:28] + "…", "dim"))
    return row


def _text(x: float, y: float, text: str, look: str = "", *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{look}" text-anchor="{anchor}">{escape(text)}</text>'
