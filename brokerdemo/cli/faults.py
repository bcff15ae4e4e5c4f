"""`kill`, `pause`, `resume`, `restart`: break something, and see how long it takes to be whole again.

The supervisor injects the fault and times it; this file asks and draws. A command returns when the effect is observed,
not when the signal is sent (`--no-wait` turns that off). Killing never asks back: it is what this program is for.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from brokerdemo.cli import exits, screen
from brokerdemo.cli import options as opt
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.observe import waterfall

JSON = Mapping[str, Any]

# Longer than any session timeout people use in a demo; a fault that takes longer is worth an exit code.
DEFAULT_WITHIN_MS = 30_000


def add(app: typer.Typer) -> None:
    app.command(
        epilog=opt.examples(
            "brokerdemo kill 3                        # SIGKILL, wait, show the stages",
            "brokerdemo kill controller --within 2s   # exit 5 if not recovered in 2 s",
            "brokerdemo kill leader:demo/0 -s TERM    # a goodbye instead of a crash",
            "brokerdemo kill controller,leader        # both at once",
            "brokerdemo kill random --json | jq .stages_ms.serving",
        )
    )(kill)
    app.command(
        epilog=opt.examples(
            "brokerdemo pause controller --for 3s  # outlives its session: a zombie",
            "brokerdemo pause 2 --for 300ms        # shorter: nobody notices",
        )
    )(pause)
    app.command(epilog=opt.examples("brokerdemo resume 2", "brokerdemo resume all"))(resume)
    app.command(
        epilog=opt.examples(
            "brokerdemo restart 2                     # waits until it is in sync again",
            "brokerdemo restart all --rolling         # one after the other",
            "brokerdemo restart coordinator           # SIGKILL and start: sessions survive",
        )
    )(restart)


def kill(
    targets: opt.Targets,
    signal: Annotated[str, typer.Option("-s", "--signal", metavar="KILL|TERM|INT|STOP")] = "KILL",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return once the signal is sent.")] = False,
    within: opt.Within = "",
    as_json: opt.Json = False,
) -> None:
    """Send a signal to brokers and time the recovery, stage by stage."""
    signal = signal.upper().removeprefix("SIG")
    if signal not in ("KILL", "TERM", "INT", "STOP"):
        raise opt.usage(f"{signal!r} is not a signal this sends", "brokerdemo kill 3 -s TERM")
    inject("kill", as_json=as_json, targets=targets, signal=signal, wait=not no_wait, within_ms=_within(within))


def pause(
    targets: opt.Targets,
    for_: Annotated[str, typer.Option("--for", metavar="DURATION", help="Resume by itself after this.")] = "",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return once it is stopped.")] = False,
    within: opt.Within = "",
    as_json: opt.Json = False,
) -> None:
    """Stop brokers without killing them (SIGSTOP)."""
    for_ms = opt.duration_ms(for_, "--for")
    inject("pause", as_json=as_json, targets=targets, for_ms=for_ms, wait=not no_wait, within_ms=_within(within))


def _within(text: str) -> int:
    return opt.duration_ms(text, "--within") or DEFAULT_WITHIN_MS


def still(verb: str, targets: list[str], signal: str | None) -> str:
    """What to say when the waiting is given up: the fault is not undone by that."""
    paused = verb == "pause" or str(signal).upper().removeprefix("SIG") == "STOP"
    if all(target.replace(",", "").replace("-", "").isdigit() for target in targets):
        do = f"{'resume' if paused else 'restart'} {' '.join(targets)}"
    else:
        # A role may be another broker's by now: `restart controller` would hit the new one.
        do = "resume all" if paused else "status"
    state = "paused" if paused else "down"
    return f"\nStopped waiting; the fault stays: {', '.join(targets)} is still {state}.   brokerdemo {do}"


def inject(verb: str, *, as_json: bool, **args: Any) -> None:
    """Ask for a fault, draw what came of it; a deadline missed is drawn as far as it got, then exit 5."""
    late: ClusterError | None = None
    try:
        found = opt.client().call(verb, **args)
    except ClusterError as error:
        if error.code != Code.TIMED_OUT or not error.result:
            raise
        late, found = error, error.result
    except exits.Interrupted:
        raise exits.Interrupted(still(verb, [str(target) for target in args["targets"]], args.get("signal"))) from None
    faults = found if isinstance(found, list) else found.get("faults", [found])
    show(faults, as_json=as_json, one=not isinstance(found, list))
    if late is not None:
        raise ClusterError(late.code, late.what, late.why, late.do)


def show(faults: list[JSON], *, as_json: bool, one: bool) -> None:
    """Faults as waterfalls, or as JSON: one object for one target, an array for several."""
    if as_json:
        screen.emit(faults[0] if one and faults else faults)
        return
    look = screen.the()
    for number, fault in enumerate(faults):
        if number:
            screen.out()
        for line in waterfall.render(fault, width=look.width, paint=look.paint, unicode=look.unicode):
            screen.out(line)


def resume(targets: opt.Targets, within: opt.Within = "", as_json: opt.Json = False) -> None:
    """Let paused brokers go on (SIGCONT)."""
    found = opt.client().call("resume", targets=targets, within_ms=_within(within))
    if as_json:
        screen.emit(opt.with_schema("brokerdemo.resume/1", found))
        return
    for broker in found.get("resumed", ()):
        screen.out(f"broker {broker} goes on" + _after(found, broker))
    if not found.get("resumed"):
        screen.out("nothing was paused")


def _after(found: JSON, broker: object) -> str:
    fenced = (found.get("fenced") or {}).get(str(broker))
    return f"; it was fenced and registered again after {fenced['registered_ms']:.1f} ms" if fenced else ""


def restart(
    targets: opt.Targets,
    rolling: Annotated[
        bool, typer.Option("--rolling", help="One after the other, each in sync before the next.")
    ] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Wipe its data first.")] = False,
    within: opt.Within = "",
    as_json: opt.Json = False,
) -> None:
    """Stop and start brokers, or start dead ones."""
    found = opt.client().call("restart", targets=targets, rolling=rolling, clean=clean, within_ms=_within(within))
    if as_json:
        screen.emit(opt.with_schema("brokerdemo.restart/1", found))
        return
    paint = screen.the().paint
    for one in sorted(found.get("restarted", ()), key=lambda one: str(one.get("broker", "")).rjust(9)):
        name = (
            f"broker {one['broker']}" if isinstance(one.get("broker"), int) else str(one.get("process", "coordinator"))
        )
        parts = [f"pid {one['pid']}"] if one.get("pid") else []
        parts += [
            f"{label} after {one[key]:.1f} ms"
            for key, label in (("ready_ms", "answers"), ("registered_ms", "registered"), ("in_sync_ms", "in sync"))
            if one.get(key) is not None
        ]
        screen.out(f"{paint(name, 'strong')} restarted   " + "   ".join(parts))
