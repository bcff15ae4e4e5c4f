"""The runner: brings up a cluster, tells the story on it, heals, judges, cleans up. Also finds scenario files.

In: a Scenario and RunOptions.  Out: a Result, and result.json, events.ndjson, junit.xml on the way.
Blocking outside, trio inside (one `trio.run` per run), so that pytest and the command line call it alike.

(1) Each run has a cluster of its own with ports chosen by the system, unless `--cluster` names one; nothing is shared
    between runs, and a run that breaks its cluster breaks nothing else.
(2) The steady state is checked before the story and again after healing. Not steady before: could not run (11).
(3) Healing runs in `finally`, shielded, with a deadline. A cluster that cannot be healed fails the run.
(4) An assertion in the story is the product's failure (10); any other exception is the scenario's own (11).
"""

import importlib.util
import json
import os
import random
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brokerdemo.cluster import launcher, layout
from brokerdemo.cluster.control import AsyncControlClient, ControlClient
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.scenario.declare import Scenario
from brokerdemo.scenario.report import Result, Run, Trouble, environment_of, junit
from brokerdemo.scenario.thresholds import ThresholdError, parse_all

if TYPE_CHECKING:
    from brokerdemo.scenario import dsl

Assignment = Mapping[str, tuple[int | None, int]]
Event = Mapping[str, Any]

STEADY_WITHIN = "10s"
HEAL_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How to run a scenario; None = as it declares."""

    repeat: int | None = None
    seed: int | None = None
    only_run: int | None = None
    thresholds: tuple[str, ...] = ()
    out: Path | None = None
    junit: Path | None = None
    cluster: str | None = None
    self_test: bool = False


Progress = Callable[[Run], None]


def _silent(run: Run) -> None:
    """Nobody watches."""


def run(scenario: Scenario, options: RunOptions, progress: Progress = _silent) -> Result:
    """Run a scenario as often as asked and judge it; `progress` hears of every run that ends.

    ThresholdError when a threshold of the options cannot be judged: nothing was started then.
    """
    extra = parse_all({}, options.thresholds, metrics=scenario.metrics)
    scenario = replace(scenario, thresholds=scenario.thresholds + extra)
    if options.self_test and not scenario.thresholds:
        raise ThresholdError(f"{scenario.name} has no thresholds: there is no gate to test")
    repeat = 1 if options.self_test else options.repeat or scenario.repeat
    seed = scenario.seed if options.seed is None else options.seed
    directory = options.out or layout.home() / "runs" / f"{scenario.name}-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}"
    result = Result(scenario, seed, repeat, directory, environment_of(scenario), self_test=options.self_test)
    try:
        result.write()  # before anything can go wrong: `running`
    except OSError as error:
        raise ClusterError(Code.ENVIRONMENT, f"{directory} cannot be written", str(error), "--out elsewhere") from None
    numbers = [options.only_run] if options.only_run else range(1, repeat + 1)
    try:
        for number in numbers:
            one = Run(number, seed)
            result.runs.append(one)
            _run_once(result, one, options.cluster)
            progress(one)
            result.write()
            if one.trouble and one.trouble.kind == "could_not_run":
                break  # the next one would say the same, at the same price
    finally:
        # Also when interrupted: what was measured is worth keeping, and `running` would be a lie.
        result.finish()
        if sys.exception() is not None and result.trouble is None:
            result.trouble = Trouble("could_not_run", "story", "interrupted")
        result.write()
        for path in [directory / "junit.xml", *([options.junit] if options.junit else [])]:
            path.write_text(junit(result), encoding="utf-8")
    return result


def _run_once(result: Result, one: Run, named: str | None) -> None:
    import trio

    from brokerdemo.scenario.dsl import Cluster

    began = time.monotonic()
    try:
        with _cluster(result, one, named) as socket_path:
            one.up_ms = round((time.monotonic() - began) * 1000, 1)
            # One generator per run: run 3 of seed 42 is the same alone (`--only-run 3`) as after 1 and 2.
            rng = random.Random(f"{one.seed}/{one.number}")
            cluster = Cluster(AsyncControlClient(socket_path), rng=rng, record=one.record)
            trio.run(_tell, result, one, cluster)
    except ClusterError as error:
        one.trouble = one.trouble or Trouble("could_not_run", "setup", str(error))


async def _tell(result: Result, one: Run, cluster: "dsl.Cluster") -> None:
    import trio

    scenario = result.scenario
    try:
        await cluster.steady(within=STEADY_WITHIN)
        if scenario.settings:
            await cluster.config.set("cluster", scenario.settings)
        start, before = await cluster.now(), cluster.view.assignment()
    except (AssertionError, ClusterError) as error:
        one.trouble = Trouble("could_not_run", "steady state before", str(error))
        return
    await _emit(cluster, event="scenario_started", scenario=scenario.name, seed=one.seed, run=one.number)
    began = trio.current_time()
    try:
        with trio.fail_after(scenario.timeout_ms / 1000):
            await scenario(cluster)
    except trio.TooSlowError:
        one.trouble = Trouble(
            "assertion", "story", f"the story took longer than its timeout ({scenario.timeout_ms} ms)"
        )
    except Exception as error:
        one.trouble = _trouble_of(error)
    finally:
        one.story_ms = round((trio.current_time() - began) * 1000, 1)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + HEAL_WITHIN_S):
            await _afterwards(result, one, cluster, start, before)


async def _afterwards(result: Result, one: Run, cluster: "dsl.Cluster", start: int, before: Assignment) -> None:
    """Count, heal, check the steady state again, keep the events."""
    try:
        events = await cluster.events(since=start)
        names = [event.get("event") for event in events]
        one.record("leader_moves", leader_moves(events, before), "")
        one.record("epoch_changes", names.count("controller_elected"), "")
        one.record("registrations", names.count("broker_registered"), "")
        for event in events:
            if event.get("event") == "fault_injected":
                one.faults.append(await cluster.timeline(str(event["fault"])))
        await cluster.heal()
    except (AssertionError, ClusterError) as error:
        one.trouble = one.trouble or Trouble("could_not_run", "heal", str(error))
    with suppress(ClusterError, AssertionError):
        status = "failed" if one.trouble else "passed"
        await _emit(cluster, event="scenario_ended", scenario=result.scenario.name, status=status, run=one.number)
        with (result.directory / "events.ndjson").open("a", encoding="utf-8") as file:
            for event in await cluster.events(since=0):
                file.write(json.dumps({"run": one.number, **event}) + "\n")


def leader_moves(events: Sequence[Event], before: Assignment) -> int:
    """How often a partition got another leader than it had; the same leader at a new epoch has not moved."""
    leaders = {partition: leader for partition, (leader, _) in before.items()}
    moves = 0
    for event in events:
        if event.get("event") == "leader_started":
            partition, broker = f"{event['topic']}/{event['partition']}", event["broker"]
            moves += leaders.get(partition, broker) != broker
            leaders[partition] = broker
    return moves


async def _emit(cluster: "dsl.Cluster", **event: object) -> None:
    await cluster.emit({"source": "runner", **event})


def _trouble_of(error: Exception) -> Trouble:
    """(4): assertions are the product's; anything else is the scenario's own, with its traceback."""
    leaves = list(_leaves(error))
    if all(isinstance(leaf, AssertionError) for leaf in leaves):
        where = traceback.extract_tb(leaves[0].__traceback__)
        line = next(
            (f"{frame.filename}:{frame.lineno}  {frame.line}" for frame in where if "/scenario/" not in frame.filename),
            "",
        )
        text = str(leaves[0]) or "assertion failed"
        return Trouble("assertion", "story", f"{text}\n{line}".rstrip())
    return Trouble("could_not_run", "story", "".join(traceback.format_exception(error)).rstrip())


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


@contextmanager
def _cluster(result: Result, one: Run, named: str | None) -> Iterator[Path]:
    """The cluster of one run: a named one that runs already, or a new one that is gone afterwards."""
    if named is not None:
        yield layout.select(named).socket_path
        return
    with fresh_cluster(
        options_for(result.scenario, f"{result.scenario.name[:20]}-{os.getpid()}-{one.number}", one.seed)
    ) as name:
        try:
            yield layout.layout(name).socket_path
        finally:
            if one.trouble is not None:
                _keep_logs(layout.layout(name), result.directory / f"logs-run{one.number}")


def options_for(scenario: Scenario, name: str, seed: int) -> launcher.UpOptions:
    """The cluster a scenario declares, with ports chosen by the system."""
    return launcher.UpOptions(
        name=name,
        brokers=scenario.brokers,
        session_timeout_ms=scenario.session_timeout_ms,
        topics=tuple(launcher.TopicSpec(name=t.name, partitions=t.partitions, rf=t.rf) for t in scenario.topics),
        base_port=0,
        seed=seed,
        certificates=scenario.certificates,
    )


@contextmanager
def fresh_cluster(options: launcher.UpOptions) -> Iterator[str]:
    """Start a cluster, yield its name, and make sure that it is gone afterwards, with its files, whatever happened."""
    for _ in launcher.start(options):
        pass
    try:
        yield options.name
    finally:
        # A forced `down` first asks nothing of brokers that a story may have left in any state.
        with suppress(ClusterError), ControlClient.find(options.name).request("down", force=True) as answers:
            _ = answers.result
            answers.wait_closed()
        place = layout.layout(options.name)
        layout.wait_released(place)
        # The name is of one use only; logs worth keeping have been copied by now.
        shutil.rmtree(place.state_dir, ignore_errors=True)


def _keep_logs(place: layout.Layout, to: Path) -> None:
    """Copy what the processes wrote before the state directory goes."""
    with suppress(OSError):
        for path in place.state_dir.rglob("*"):
            if path.is_file() and path.suffix in (".log", ".ndjson") and path.stat().st_size < 16 << 20:
                target = to / path.relative_to(place.state_dir)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


# ---- finding scenarios -----------------------------------------------------------------------------------------------


def load_file(path: Path) -> list[Scenario]:
    """The scenarios a file declares, in order. ClusterError (11) when it cannot be imported, with the reason."""
    name = f"brokerdemo_scenarios.{path.stem}_{abs(hash(str(path.resolve()))):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ClusterError(Code.NOT_FOUND, f"{path} is not a Python file", "", "brokerdemo scenario list")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ClusterError(
            Code.SCENARIO_BROKEN, f"{path} cannot be loaded", f"{type(error).__name__}: {error}", f"correct {path}"
        ) from error
    return [value for value in vars(module).values() if isinstance(value, Scenario) and value.file.name == path.name]


def places() -> list[Path]:
    """Where scenarios are looked for: ./scenarios, then ours: of this checkout, or as a wheel carries them."""
    room = Path(__file__).resolve().parent
    ours = [room.parent.parent / "scenarios", room / "scenarios"]
    return [path for path in dict.fromkeys([Path.cwd() / "scenarios", *ours]) if path.is_dir()]


def files(where: Sequence[Path] | None = None) -> list[Path]:
    """Every scenario file, the nearer of two with one name first."""
    found: dict[str, Path] = {}
    for place in places() if where is None else where:
        for path in sorted(place.glob("*.py")):
            if not path.name.startswith(("_", "test_")) and path.name != "conftest.py":
                found.setdefault(path.stem, path)
    return list(found.values())


def find(word: str) -> list[Scenario]:
    """The scenarios meant by a file's path or by a name; ClusterError (3) with the names there are."""
    path = Path(word)
    if path.suffix == ".py":
        if not path.is_file():
            raise ClusterError(Code.NOT_FOUND, f"there is no file {word}", "", "brokerdemo scenario list")
        found = load_file(path)
        if not found:
            raise ClusterError(
                Code.SCENARIO_BROKEN, f"{word} declares no scenario", "", "put @scenario(...) above an async function"
            )
        return found
    known = files()
    for candidate in sorted(known, key=lambda p: p.stem != word):
        for one in load_file(candidate) if candidate.stem == word or word in candidate.read_text() else []:
            if one.name == word or candidate.stem == word:
                return [one]
    raise ClusterError(
        Code.NOT_FOUND,
        f"there is no scenario {word!r}",
        f"there are {', '.join(path.stem for path in known) or 'none here'}",
        "brokerdemo scenario list, or give a file: brokerdemo scenario run ./my_story.py",
    )
