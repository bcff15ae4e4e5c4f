"""The waterfall: one fault, from the signal to the last partition served again, drawn to scale.

In: a `brokerdemo.fault/1` object as the supervisor answers it (JSON).  Out: lines of text.
Pure: no terminal, no colours of its own (the caller passes `paint`), no clock; svg.py draws the same Picture.

(1) A bar starts where the stage before it ended and is as long as the stage took; a stage too short for a cell is a
    tick.
(2) Nothing is invented: a stage that was not seen says so, and one that did not apply says why.
(3) Whatever detected the death is named, and the session timeout stands beside every number it could have shaped.
"""

import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

JSON = Mapping[str, Any]
Paint = Callable[[str, str], str]

STAGES = ("detected", "controller", "reassigned", "serving")
# What the time up to each stage was spent on.
SPENT_ON = {"detected": "detection", "controller": "election", "reassigned": "reassignment", "serving": "taking over"}
MARGIN = "  "


@dataclass(frozen=True, slots=True)
class Stage:
    """One row. `start_ms` and `end_ms` count from just before the signal; end None: not seen."""

    name: str
    start_ms: float
    end_ms: float | None
    detail: str
    applies: bool = True

    @property
    def took_ms(self) -> float:
        return 0.0 if self.end_ms is None else self.end_ms - self.start_ms


@dataclass(frozen=True, slots=True)
class Picture:
    """A fault ready to draw: headline, rows, and the sentences under them."""

    fault: str
    headline: str
    stages: tuple[Stage, ...]
    recovered: bool
    total_ms: float
    detected_by: str
    session_timeout_ms: float | None
    shares: tuple[tuple[str, float], ...]
    remarks: tuple[str, ...]
    degraded: tuple[str, ...]
    next_commands: tuple[str, ...]


def plain(text: str, role: str) -> str:
    """A `paint` that does not."""
    return text


def picture_of(fault: JSON) -> Picture:
    """Read the supervisor's answer; fields it does not know are left out of the drawing, never guessed."""
    times = {name: _number(fault.get("stages_ms", {}).get(name)) for name in STAGES}
    stages: list[Stage] = []
    for name in STAGES:
        before = max((s.end_ms for s in stages if s.end_ms is not None), default=0.0)
        stages.append(Stage(name, before, times[name], _detail(name, fault), _applies(name, fault)))
    recovered = bool(fault.get("recovered"))
    total_ms = max((t for t in times.values() if t is not None), default=0.0)
    shares = tuple((SPENT_ON[s.name], s.took_ms / total_ms) for s in stages if total_ms and s.took_ms > 0)
    return Picture(
        fault=str(fault.get("fault", "?")),
        headline=_headline(fault),
        stages=tuple(stages),
        recovered=recovered,
        total_ms=total_ms,
        detected_by=str(fault.get("detected_by") or ""),
        session_timeout_ms=_number(fault.get("session_timeout_ms")),
        shares=shares,
        remarks=tuple(_remarks(fault, times["detected"], total_ms)),
        degraded=tuple(_degraded(fault)),
        next_commands=tuple(_next(fault)),
    )


def render(fault: JSON, *, width: int = 100, paint: Paint = plain, unicode: bool = True) -> list[str]:
    """The waterfall as lines no wider than `width` (at least 80 is assumed)."""
    picture = picture_of(fault)
    label_w, time_w = 11, 12
    bar_w = max(20, min(44, (max(width, 80) - label_w - time_w - 6) // 2))
    tag = f"fault {picture.fault}"
    gap = max(2, min(width, label_w + time_w + bar_w + 40) - len(picture.headline) - len(tag))
    lines = [paint(picture.headline, "strong") + " " * gap + paint(tag, "dim"), ""]
    if picture.recovered and not picture.total_ms:
        return [*lines[:1], paint("nothing to recover from", "good") + "   " + "   ".join(picture.remarks)]
    lines.append(
        _row(0.0, _did(fault), paint, label_w)
        + paint(_tick(unicode).ljust(bar_w), "bad")
        + MARGIN
        + (f"pid {fault['pid']}" if fault.get("pid") else "")
    )
    lines += [_stage_line(stage, picture, bar_w, label_w, width, paint, unicode) for stage in picture.stages]
    axis = "0" + f"{picture.total_ms:.1f} ms".rjust(bar_w - 1)
    lines.append(paint(" " * (time_w + label_w) + axis, "dim"))
    lines += ["", *_result(picture, width, paint)]
    for text in picture.remarks:
        lines += [MARGIN + paint(line, "accent") for line in textwrap.wrap(text, width - len(MARGIN))]
    lines += [MARGIN + paint("still degraded: ", "warn") + text for text in picture.degraded]
    if picture.next_commands:
        joined = MARGIN + "next: " + "     ".join(picture.next_commands)
        apart = [MARGIN + ("next: " if n == 0 else "      ") + c for n, c in enumerate(picture.next_commands)]
        lines += [joined] if len(joined) <= width else apart
    return lines


def bar(start_ms: float, end_ms: float, total_ms: float, width: int, *, unicode: bool = True) -> str:
    """One bar on a line of `width` cells that stands for `total_ms`. Invariant (1) is all there is to it."""
    if total_ms <= 0:
        return " " * width
    # Each border is rounded once, the same for the bar before it and the one after: no gap, no overlap.
    first, last = (int(ms / total_ms * width + 0.5) for ms in (start_ms, end_ms))
    if first == last:
        return (" " * min(first, width - 1) + _tick(unicode)).ljust(width)
    full = "█" if unicode else "#"
    return (" " * first + full * (last - first)).ljust(width)


def _tick(unicode: bool) -> str:
    return "▏" if unicode else "|"


def _row(ms: float, label: str, paint: Paint, label_w: int, role: str = "") -> str:
    stamp = f"{'+' if ms else ''}{ms:.1f} ms".rjust(10)
    return paint(stamp, "strong" if role else "dim") + MARGIN + paint(label.ljust(label_w), role or "dim")


def _stage_line(
    stage: Stage, picture: Picture, bar_w: int, label_w: int, width: int, paint: Paint, unicode: bool
) -> str:
    detail_w = max(20, width - (12 + label_w + bar_w + 2))
    if not stage.applies:
        return (
            paint("-".rjust(10), "dim")
            + MARGIN
            + paint(stage.name.ljust(label_w), "dim")
            + " " * (bar_w + 2)
            + paint(_cut(stage.detail, detail_w, unicode), "dim")
        )
    if stage.end_ms is None:
        return (
            paint("?".rjust(10), "bad")
            + MARGIN
            + paint(stage.name.upper().ljust(label_w), "bad")
            + " " * (bar_w + 2)
            + paint("not seen", "bad")
        )
    role = {"detected": "warn", "controller": "accent", "reassigned": "accent", "serving": "good"}[stage.name]
    drawn = bar(stage.start_ms, stage.end_ms, picture.total_ms, bar_w, unicode=unicode)
    head = _row(stage.end_ms, stage.name.upper(), paint, label_w, role)
    return head + paint(drawn, role) + MARGIN + _cut(stage.detail, detail_w, unicode)


def _cut(text: str, width: int, unicode: bool) -> str:
    mark = "…" if unicode else "..."
    return text if len(text) <= width else text[: width - len(mark)] + mark


def _result(picture: Picture, width: int, paint: Paint) -> list[str]:
    """`recovered in ...` and what the time was spent on, on one line if there is room for it."""
    if not picture.recovered:
        seen = f"   after {picture.total_ms:.1f} ms" if picture.total_ms else ""
        return [paint("not recovered yet", "bad") + seen]
    said = f"recovered in {picture.total_ms:.1f} ms"
    spent = "   ".join(f"{name} {share:.0%}" for name, share in picture.shares)
    if len(picture.shares) < 2:
        return [paint(said, "good")]
    if len(said) + 5 + len(spent) <= width:
        return [paint(said, "good") + "     " + spent]
    return [paint(said, "good"), MARGIN + spent]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _headline(fault: JSON) -> str:
    kind, signal = str(fault.get("kind", "kill")), str(fault.get("signal") or "")
    did = f"SIG{signal}" if signal else {"kill": "SIGKILL", "pause": "SIGSTOP"}.get(kind, kind)
    target = fault.get("target")
    name = f"broker {target}" if isinstance(target, int) else f"{target} (the coordination server)"
    roles = [
        str(role) for role in fault.get("roles", ()) if role not in ("leader", "follower", "broker", "coordinator")
    ]
    led = sorted(fault.get("led") or (), key=_natural)
    if led:
        roles.append(f"leads {_some(led, 3)}")
    elif "leader" in fault.get("roles", ()):
        roles.append("a leader")
    return f"{did} -> {name}" + (f" ({', '.join(roles)})" if roles else "")


def _did(fault: JSON) -> str:
    kind, signal = str(fault.get("kind", "kill")), fault.get("signal") or "KILL"
    if kind == "pause" or signal == "STOP":
        return "paused"
    if kind == "kill":
        return {"KILL": "killed", "TERM": "asked", "INT": "asked"}.get(str(signal), str(signal))
    return kind


def _some(items: Iterable[object], limit: int) -> str:
    names = [str(item) for item in items]
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _natural(partition: object) -> tuple[str, int]:
    """demo/2 before demo/10."""
    topic, _, number = str(partition).rpartition("/")
    return topic, int(number) if number.isdigit() else 0


def _applies(name: str, fault: JSON) -> bool:
    """A stage nothing had to happen in is shown as such, not as a bar of zero length."""
    if fault.get("target") == "coordinator":
        return name in ("detected", "serving")
    if fault.get("recovered") and fault.get("stages_ms", {}).get("detected") is None:
        return False
    if name == "controller":
        return "controller" in fault.get("roles", ())
    return not (name == "serving" and fault.get("led") == [])


def _detail(name: str, fault: JSON) -> str:
    if fault.get("target") == "coordinator":
        return {"detected": "its parent saw it exit", "serving": "it answers again, on the same port"}.get(
            name, "not concerned"
        )
    if not _applies(name, fault) and fault.get("stages_ms", {}).get("detected") is None:
        return "nobody noticed" if fault.get("recovered") else "not concerned"
    match name:
        case "detected":
            return _how(fault)
        case "controller":
            return _controller(fault)
        case "reassigned":
            moved = sorted(fault.get("moved") or (), key=lambda m: (str(m.get("topic")), int(m.get("partition", 0))))
            if moved:
                return _some((_move(m) for m in moved), 2)
            return "ISR without it written" if fault.get("led") == [] else "new leaders written"
        case _:
            if fault.get("led") == []:
                return "it led no partition"
            n = len(fault.get("moved") or ())
            return f"{n} partition{'s' if n != 1 else ''} led at a new epoch"


def _controller(fault: JSON) -> str:
    now, before = fault.get("new_controller"), fault.get("controller_before")
    if not isinstance(now, Mapping):
        return "not seen"
    if "controller" not in fault.get("roles", ()) and now == before:
        return f"broker {now['id']} stays, epoch {now['epoch']}"
    since = f"{before['epoch']} -> " if isinstance(before, Mapping) else ""
    return f"broker {now['id']}, epoch {since}{now['epoch']}"


def _move(move: JSON) -> str:
    return f"{move.get('topic')}/{move.get('partition')} -> {move.get('to')}"


def _how(fault: JSON) -> str:
    timeout_ms = _number(fault.get("session_timeout_ms"))
    waited = f" ({timeout_ms:.0f} ms)" if timeout_ms else ""
    match fault.get("detected_by"):
        case "certificate":
            return "by a death certificate"
        case "session_timeout":
            return f"by the session timeout{waited}"
        case "goodbye":
            return "it said goodbye"
        case "exit":
            return "its parent saw it exit"
        case None | "":
            return "not detected"
        case other:
            return f"by {other}"


def _remarks(fault: JSON, detected_ms: float | None, total_ms: float) -> Iterable[str]:
    timeout_ms = _number(fault.get("session_timeout_ms"))
    by = fault.get("detected_by")
    if by == "session_timeout" and detected_ms is not None and total_ms:
        named = f" (session timeout {timeout_ms:.0f} ms, from its last heartbeat)" if timeout_ms else ""
        yield f"{detected_ms / total_ms:.0%} of this was waiting for the session to expire{named}."
    elif by == "certificate" and timeout_ms:
        yield f"The kernel proved the death, so nobody waited for the session timeout ({timeout_ms:.0f} ms)."
    for note in fault.get("notes") or ():
        # The rows say this already.
        if "serving = reassigned" not in str(note):
            yield str(note)


def _degraded(fault: JSON) -> Iterable[str]:
    state = fault.get("degraded") or {}
    total, target = state.get("partitions"), fault.get("target")
    of = f" of {total}" if total else ""
    returns = f" while broker {target} is away" if isinstance(target, int) else ""
    if state.get("under_replicated"):
        yield f"{state['under_replicated']}{of} partitions under-replicated{returns}"
    if state.get("offline"):
        yield f"{state['offline']}{of} partitions offline: no live replica in sync{returns}"


def _next(fault: JSON) -> Iterable[str]:
    target, name = fault.get("target"), str(fault.get("fault", "last"))
    if fault.get("kind") == "pause" or fault.get("signal") == "STOP":
        if fault.get("healed_ms") is None:
            yield f"brokerdemo resume {target}"
    elif isinstance(target, int):
        yield f"brokerdemo restart {target}"
    yield f"brokerdemo timeline {name} --svg {name}.svg"
