"""`scenario list|show|run`: stories about faults, judged by thresholds. 0 passed, 10 breached, 11 could not run."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brokerdemo.cli import exits, screen
from brokerdemo.cli import options as opt
from brokerdemo.cluster import layout
from brokerdemo.cluster.errors import ClusterError, Code

if TYPE_CHECKING:
    from brokerdemo.scenario.declare import Scenario
    from brokerdemo.scenario.report import Result
    from brokerdemo.scenario.runner import RunOptions


def add(app: typer.Typer) -> None:
    scenario = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    scenario.command("list")(list_)
    scenario.command()(show)
    scenario.command(
        epilog=opt.examples(
            "brokerdemo scenario run kill_master",
            "brokerdemo scenario run kill_worker --repeat 10 --seed 7",
            "brokerdemo scenario run kill_worker --threshold 'recovery_ms:p(95)<200'",
            "brokerdemo scenario run ./my_story.py --json --junit junit.xml",
            "brokerdemo scenario run kill_master --self-test   # can the gate fail?",
        )
    )(run)
    app.add_typer(scenario, name="scenario", help="List, show and run scenarios.")


def list_(as_json: opt.Json = False) -> None:
    """Every scenario found in ./scenarios, and ours."""
    from brokerdemo.scenario import runner

    found: list[Scenario] = []
    for path in runner.files():
        try:
            found += runner.load_file(path)
        except ClusterError as error:
            # One broken file must not hide the others.
            screen.warn(f"{error.what}: {error.why}")
    if as_json:
        screen.emit({"schema": "brokerdemo.scenarios/1", "scenarios": [_described(one) for one in found]})
        return
    if not found:
        screen.say("no scenarios here.   write one: see brokerdemo scenario run --help")
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        screen.out(f"{screen.the().paint(one.name.ljust(width), 'strong')}  {one.title}")


def show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", show_default=False)], as_json: opt.Json = False
) -> None:
    """What a scenario tells, needs and asserts."""
    from brokerdemo.scenario import runner

    for one in runner.find(name):
        if as_json:
            screen.emit({"schema": "brokerdemo.scenario/1", **_described(one)})
            continue
        screen.out(screen.the().paint(one.name, "strong") + f"   {_needs(one)}\n")
        screen.out(one.doc + "\n")
        for threshold in one.thresholds:
            screen.out(f"  {threshold.metric:<18}{threshold.expr}")
        screen.out(f"\n  {one.file}\n  run it: brokerdemo scenario run {one.name}")


def _described(one: "Scenario") -> dict[str, object]:
    return {
        "name": one.name,
        "title": one.title,
        "doc": one.doc,
        "file": str(one.file),
        "brokers": one.brokers,
        "topics": [topic.flag() for topic in one.topics],
        "session_timeout_ms": one.session_timeout_ms,
        "certificates": one.certificates,
        "repeat": one.repeat,
        "seed": one.seed,
        "thresholds": [{"metric": t.metric, "expr": t.expr} for t in one.thresholds],
        "metrics": dict(one.metrics),
    }


def _needs(one: "Scenario") -> str:
    topics = ", ".join(f"{t.name} {t.partitions}x{t.rf}" for t in one.topics) or "no topic"
    sure = "" if one.certificates else ", no certificates"
    return f"{one.brokers} brokers, {topics}, session {one.session_timeout_ms} ms{sure}, seed {one.seed}"


def run(
    names: Annotated[list[str], typer.Argument(metavar="NAME|FILE", show_default=False)],
    repeat: Annotated[str, typer.Option("--repeat", metavar="N", help="How often, each on a new cluster.")] = "",
    seed: Annotated[str, typer.Option("--seed", metavar="N", help="Fixes the choices the story makes.")] = "",
    only_run: Annotated[str, typer.Option("--only-run", metavar="K", help="Only the K-th run of that seed.")] = "",
    threshold: Annotated[
        list[str] | None, typer.Option("--threshold", metavar="METRIC:EXPR", help="One more to meet. Repeat.")
    ] = None,
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Where the result files go.")] = "",
    junit: Annotated[str, typer.Option("--junit", metavar="FILE", help="Also write the JUnit XML there.")] = "",
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Make every threshold impossible; 0 if the gate then fails.")
    ] = False,
    on: Annotated[
        str, typer.Option("--on", metavar="CLUSTER", help="Run on this running cluster, not on a new one.")
    ] = "",
    as_json: opt.Json = False,
) -> None:
    """Run scenarios on clusters of their own and judge them."""
    from brokerdemo.scenario import runner
    from brokerdemo.scenario.thresholds import ThresholdError

    wanted = runner.RunOptions(
        repeat=_whole("--repeat", repeat),
        seed=_whole("--seed", seed),
        only_run=_whole("--only-run", only_run),
        thresholds=tuple(threshold or ()),
        out=Path(out) if out else None,
        junit=Path(junit) if junit else None,
        cluster=layout.select(on).name if on else None,
        self_test=self_test,
    )
    found = [one for name in names for one in runner.find(name)]
    codes = []
    # The runner's event loop has a Ctrl-C of its own, which unwinds the story and heals; ours would cut through it.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for one in found:
            if len(found) > 1 and wanted.out:
                wanted = replace(wanted, out=Path(out) / one.name)
            codes.append(_run_one(one, wanted, as_json))
    except ThresholdError as error:
        raise opt.usage(
            f"--threshold: {error}" if threshold else str(error), "brokerdemo scenario run --help"
        ) from None
    except KeyboardInterrupt:
        raise exits.Interrupted("\nStopped; the scenario's cluster is gone.") from None
    finally:
        signal.signal(signal.SIGINT, ours)
    raise typer.Exit(max(codes, default=0))


def _whole(option: str, text: str) -> int | None:
    if text and not text.isdigit():
        raise opt.usage(f"{option} {text!r} is not a whole number", f"brokerdemo scenario run ... {option} 5")
    return int(text) if text else None


def _run_one(one: "Scenario", wanted: "RunOptions", as_json: bool) -> int:
    from brokerdemo.scenario import report, runner

    look = screen.the()
    repeat = 1 if wanted.self_test else wanted.repeat or one.repeat
    tell = screen.say if as_json else screen.out
    seed = one.seed if wanted.seed is None else wanted.seed
    tell(f"{look.paint(one.name, 'strong')}   {_needs(one).rsplit(',', 1)[0]}, seed {seed}")
    result = runner.run(one, wanted, lambda done: tell(report.run_line(done, repeat, look.paint)))
    for line in report.lines(result, look.paint):
        tell(line)
    tell(f"results  {result.directory}/{{result.json,junit.xml,events.ndjson}}")
    code = _self_tested(result, tell) if wanted.self_test else result.exit_code
    if code and not wanted.self_test:
        tell(f"rerun    brokerdemo scenario run {_word(one)} --seed {result.seed}{_only(result)}")
    if as_json:
        screen.emit(result.as_json())
    return code


def _self_tested(result: "Result", tell: Callable[[str], None]) -> int:
    if result.exit_code == Code.THRESHOLD:
        tell(f"self-test passed: {len(result.verdicts)} impossible thresholds gave exit code 10, as they must")
        return Code.OK
    tell(f"self-test FAILED: impossible thresholds gave exit code {result.exit_code} in place of 10")
    return Code.SCENARIO_BROKEN


def _word(one: "Scenario") -> str:
    return one.name if one.file.stem == one.name else str(one.file)


def _only(result: "Result") -> str:
    failed = [run.number for run in result.runs if run.trouble]
    return f" --only-run {failed[0]}" if failed and result.repeat > 1 else ""
