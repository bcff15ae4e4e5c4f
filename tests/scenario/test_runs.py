"""Scenarios on real clusters, and the ways they end: 0 passed, 10 the product's failure, 11 the scenario's own."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from brokerdemo.__main__ import main
from brokerdemo.cluster import layout
from brokerdemo.scenario.declare import scenario
from brokerdemo.scenario.runner import leader_moves, load_file
from brokerdemo.scenario.thresholds import ThresholdError

HEADER = "from brokerdemo.scenario import Cluster, scenario\n\n"
SMALL = "brokers=2, topics={'t': (2, 2)}"

RESULT_KEYS = {"schema", "name", "status", "thresholds", "metrics", "seed", "runs", "environment"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BROKERDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BROKERDEMO_CLUSTER", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(home: Path, name: str, body: str, arguments: str = SMALL) -> Path:
    path = home / f"{name}.py"
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    path.write_text(
        f'{HEADER}@scenario({arguments})\nasync def {name}(cluster: Cluster) -> None:\n    """A story."""\n{lines}'
    )
    return path


def run(*words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "brokerdemo", "scenario", "run", *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(home: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """The same in this process, for what starts no cluster."""
    before = signal.getsignal(signal.SIGINT)

    def run_here(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["scenario", "run", *words])
        done = capsys.readouterr()
        return code, done.out, done.err

    yield run_here
    signal.signal(signal.SIGINT, before)


def no_cluster_left(home: Path) -> bool:
    return layout.running({"BROKERDEMO_HOME": str(home / "home")}) == []


def test_a_passed_run_leaves_everything(home: Path) -> None:
    file = write(
        home, "good",
        "fault = await cluster.kill('controller')\nr = await cluster.recovered(fault, within='5s')\n"
        "cluster.metric('mine', r.serving_ms)\nawait cluster.mark('half')\nawait cluster.restart(fault.target)",
        SMALL + ", metrics={'mine': 'ms'}, thresholds={'recovery_ms': ['max<5000', 'p(95)<5000'], 'mine': 'count==2'}",
    )  # fmt: skip
    code, out, err = run(str(file), "--repeat", "2", "--seed", "7", "--out", "out", "--junit", "j.xml", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert set(result) >= RESULT_KEYS
    assert (result["schema"], result["name"], result["status"]) == ("brokerdemo.result/1", "good", "passed")
    assert result["seed"] == 7
    assert [t["passed"] for t in result["thresholds"]] == [True, True, True]
    assert {"metric", "expr", "value", "n", "passed"} <= set(result["thresholds"][0])
    assert result["metrics"]["recovery_ms"]["n"] == 2
    assert result["metrics"]["recovery_ms"]["unit"] == "ms"
    assert result["metrics"]["epoch_changes"]["total"] == 2
    assert [len(one["faults"]) for one in result["runs"]] == [1, 1]
    assert result["environment"]["session_timeout_ms"] == 1500
    assert json.loads((home / "out" / "result.json").read_text()) == result
    events = [json.loads(line) for line in (home / "out" / "events.ndjson").read_text().splitlines()]
    assert {1, 2} == {event["run"] for event in events}
    names = [event["event"] for event in events]
    assert [names.count(n) for n in ("scenario_started", "mark", "scenario_ended")] == [2, 2, 2]
    suite = ElementTree.parse(home / "j.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "0", "0")
    assert no_cluster_left(home)
    assert list((home / "home" / "clusters").iterdir()) == []


def test_a_breached_threshold_is_10(home: Path) -> None:
    file = write(
        home, "slow", "fault = await cluster.kill(1)\nawait cluster.recovered(fault)\nawait cluster.restart(1)",
        SMALL + ", thresholds={'recovery_ms': 'max<0.001'}",
    )  # fmt: skip
    code, out, err = run(str(file), "--junit", "j.xml", "--json")
    assert code == 10, err
    result = json.loads(out)
    assert result["status"] == "failed"
    assert result["thresholds"][0]["passed"] is False
    assert result["thresholds"][0]["worst"]["fault"] == "f1"
    assert "FAIL  recovery_ms" in err
    assert "rerun    brokerdemo scenario run" in err
    failure = ElementTree.parse(home / "j.xml").getroot().find(".//failure")
    assert failure is not None
    assert "does not meet max<0.001" in str(failure.get("message"))


def test_a_threshold_of_the_command_line_counts(home: Path) -> None:
    file = write(home, "fine", "pass")
    code, out, _ = run(str(file), "--threshold", "leader_moves:count>0")
    assert code == 10
    assert "FAIL  leader_moves" in out


@pytest.mark.parametrize("flag", ["recovery:max<1", "recovery_ms:max<1s", "recovery_ms"])
def test_a_threshold_that_cannot_be_judged_starts_nothing(flag: str, home: Path, call: Call) -> None:
    code, out, err = call(str(write(home, "fine", "pass")), "--threshold", flag)
    assert code == 2
    assert err.startswith("error: --threshold: ")
    assert "run 1" not in out


def test_a_failed_assertion_is_10_and_says_where(home: Path) -> None:
    file = write(home, "wrong", "assert cluster.controller == 99, 'not 99'")
    code, out, _ = run(str(file))
    assert code == 10
    assert "not 99" in out
    assert "wrong.py:6  assert cluster.controller == 99" in out
    assert no_cluster_left(home)


def test_a_wait_in_vain_shows_the_last_events_and_what_was_missing(home: Path) -> None:
    body = "await cluster.kill(1)\nawait cluster.steady(within='1500ms')"
    code, out, _ = run(str(write(home, "never", body)))
    assert code == 10
    assert "waited 1500ms for brokers 1 (dead) to be live" in out
    assert re.search(r"last \d+ events:\n +\d+  \S", out)


def test_a_story_that_hangs_is_stopped_and_healed(home: Path) -> None:
    file = write(
        home, "hangs", "import trio\nawait cluster.pause(1)\nawait trio.sleep_forever()", SMALL + ", timeout='1s'"
    )
    code, out, _ = run(str(file))
    assert code == 10
    assert "took longer than its timeout (1000 ms)" in out
    assert no_cluster_left(home)


@pytest.mark.parametrize(
    ("body", "arguments", "says"),
    [
        ("cluster.frobnicate()", SMALL, "AttributeError"),
        ("await cluster.kill('leader:nope/0')", SMALL, "partition nope/0 does not exist"),
        ("pass", "brokers=2, topics={'t': (2, 3)}", "3"),
    ],
)
def test_a_broken_scenario_is_11(body: str, arguments: str, says: str, home: Path) -> None:
    code, out, _ = run(str(write(home, "broken", body, arguments)), "--junit", "j.xml")
    assert code == 11
    assert says in out
    suite = ElementTree.parse(home / "j.xml").getroot()[0]
    assert suite.get("errors") == "1"
    assert no_cluster_left(home)


def test_a_file_that_cannot_be_loaded_is_11(home: Path, call: Call) -> None:
    (home / "syntax.py").write_text("def (")
    code, _, err = call("syntax.py")
    assert code == 11
    assert "SyntaxError" in err
    (home / "unknown.py").write_text(HEADER + "@scenario(thresholds={'nope': 'max<1'})\nasync def s(c): ...\n")
    code, _, err = call("unknown.py")
    assert code == 11
    assert "nothing records this metric" in err
    (home / "empty.py").write_text("x = 1\n")
    assert call("empty.py")[0] == 11
    assert call("missing.py")[0] == 3


def test_self_test_proves_that_the_gate_can_fail(home: Path) -> None:
    file = write(
        home,
        "gate",
        "cluster.metric('mine', 1)",
        SMALL + ", metrics={'mine': 'count'}, thresholds={'mine': 'count==1'}",
    )
    code, out, _ = run(str(file), "--self-test")
    assert code == 0, out
    assert "self-test passed: 1 impossible thresholds gave exit code 10" in out


def test_a_story_without_thresholds_has_no_gate_to_test(home: Path, call: Call) -> None:
    code, _, err = call(str(write(home, "gateless", "pass")), "--self-test")
    assert code == 2
    assert "there is no gate to test" in err


def test_ctrl_c_leaves_a_result_and_no_cluster(home: Path) -> None:
    file = write(
        home, "long", "import trio\nawait cluster.mark('here')\nprint('HERE', flush=True)\nawait trio.sleep_forever()"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "brokerdemo", "scenario", "run", str(file), "--out", "out"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=home,
    )  # fmt: skip
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if line.startswith("HERE"):
                break
        assert json.loads((home / "out" / "result.json").read_text())["status"] == "running"
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=110)
        assert process.returncode == 130
    assert "Traceback" not in err
    result = json.loads((home / "out" / "result.json").read_text())
    assert (result["status"], result["trouble"]["message"]) == ("failed", "interrupted")
    assert no_cluster_left(home)


def test_the_seed_fixes_the_choices(home: Path) -> None:
    arguments = "brokers=1, topics={'t': (1, 1)}, metrics={'roll': 'count'}"
    file = write(home, "dice", "cluster.metric('roll', cluster.random.randrange(10**9))", arguments)

    def rolls(*words: str) -> list[Any]:
        found = json.loads(run(str(file), "--json", *words)[1])
        return [value for one in found["runs"] for value in one["values"]["roll"]]

    both = rolls("--seed", "5", "--repeat", "2")
    assert both[0] != both[1]
    assert rolls("--seed", "5", "--only-run", "2") == both[1:]


# ---- declaring and finding, without a cluster ------------------------------------------------------------------------


def test_the_stories_that_come_with_it_load_and_teach() -> None:
    folder = Path(__file__).resolve().parent.parent.parent / "scenarios"
    stories = [story for path in sorted(folder.glob("*.py")) for story in load_file(path)]
    assert {story.name for story in stories} == {
        "kill_worker", "kill_master", "kill_master_and_worker", "pause_master", "rolling_restart",
        "coordination_restart", "config_change",
    }  # fmt: skip
    for story in stories:
        assert story.thresholds, story.name
        assert len(story.doc) > 400, f"{story.name} teaches nothing"
        assert "sleep" not in story.file.read_text()
        assert re.search(r"assert .*_ms.* < ", story.file.read_text()), f"{story.name} ends in no assertion on a time"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"thresholds": {"nope": "max<1"}}, "nothing records this metric"),
        ({"thresholds": {"recovery_ms": "fast"}}, "is not a threshold"),
        ({"session_timeout": "1500"}, "has no unit"),
        ({"metrics": {"recovery_ms": "ms"}}, "measured by every run already"),
        ({"brokers": 0}, "at least one broker"),
    ],
)
def test_a_wrong_declaration_fails_at_import(arguments: dict[str, Any], says: str) -> None:
    async def story(cluster: Any) -> None:
        """Nothing."""

    with pytest.raises((ThresholdError, ValueError)) as refused:
        scenario(**arguments)(story)
    assert says in str(refused.value)


def test_only_async_functions_are_stories() -> None:
    with pytest.raises(ValueError, match="must be an async function"):
        scenario()(lambda cluster: None)  # type: ignore[arg-type, return-value]


def test_a_new_epoch_of_the_same_leader_is_no_move() -> None:
    def started(partition: int, broker: int) -> dict[str, Any]:
        return {"event": "leader_started", "topic": "t", "partition": partition, "broker": broker}

    events = [started(0, 1), started(0, 2), started(0, 2), started(1, 3), started(0, 1), {"event": "mark"}]
    assert leader_moves(events, {"t/0": (1, 0), "t/1": (3, 0)}) == 2
