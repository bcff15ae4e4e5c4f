"""The commands on real processes: one cluster, every verb, every exit code that needs one."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brokerdemo.__main__ import main
from brokerdemo.cli import screen
from tests.cli.conftest import Ran, environ_of

Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of the module's clusters; whatever still runs at the end is killed."""
    home = tmp_path_factory.mktemp("home")
    yield home
    in_a_process(home, "down --all --force -y")


def words_of(line: str | list[str]) -> list[str]:
    return line.split() if isinstance(line, str) else line


def in_a_process(home: Path, line: str | list[str]) -> Ran:
    done = subprocess.run(
        [sys.executable, "-m", "brokerdemo", *words_of(line)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110, check=False, env=environ_of(home),
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def shell(home: Path) -> Run:
    """A command line as a user's shell runs it: a process of its own."""
    return lambda line: in_a_process(home, line)


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A command line in this process, for the verbs that only ask the cluster: the cluster is as real as ever, and a
    new interpreter for each of a hundred questions would cost more than all of their answers.
    """
    before = signal.getsignal(signal.SIGINT)
    for name in set(os.environ) - set(environ_of(home)):
        monkeypatch.delenv(name)
    monkeypatch.setenv("BROKERDEMO_HOME", str(home))
    monkeypatch.setattr(screen, "_look", None)

    def here(line: str | list[str]) -> Ran:
        assert words_of(line)[0] != "up", "`up` starts processes: let a shell run it"
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(words_of(line))
        return Ran(code, out.getvalue(), err.getvalue())

    yield here
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def up(shell: Run) -> Ran:
    """The module's cluster: three brokers, ports chosen by the system."""
    ran = shell("up -n 3 -d --base-port auto --topic demo:6:3 --json")
    assert ran.code == 0, ran.err
    return ran


@pytest.fixture
def whole(run: Run, up: Ran) -> Iterator[None]:
    """After the test every broker lives again."""
    yield
    status = run("status --json").json
    # One that was killed a moment ago is suspect until its end is proven: it needs a start as much as a dead one.
    hit = [str(broker["id"]) for broker in status["brokers"] if broker["state"] != "live"]
    if hit:
        assert run(["restart", ",".join(hit)]).code == 0


def steps_of(ran: Ran) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.lines]


# --- up


def test_up_tells_each_step_and_then_the_cluster(up: Ran) -> None:
    *steps, last = steps_of(up)
    assert [step["step"]["name"] for step in steps] == ["coordination", "brokers 1-3", "controller", "topic demo"]
    assert last["schema"] == "brokerdemo.up/1"
    assert len(last["brokers"]) == 3
    assert last["controller"]["epoch"] == 1


def test_up_again_is_a_conflict(shell: Run, up: Ran) -> None:
    ran = shell("up -n 3 -d --base-port auto")
    assert ran.code == 4
    assert 'cluster "default" is already running' in ran.err
    assert "try: " in ran.err


def test_a_busy_port_is_a_conflict(shell: Run, up: Ran) -> None:
    port = steps_of(up)[-1]["brokers"][0]["port"]
    ran = shell(["up", "-n", "1", "-d", "--name", "second", "--base-port", str(port)])
    assert ran.code == 4
    assert f"port {port} is in use" in ran.err


def test_status_key_by_key(run: Run, up: Ran) -> None:
    found = run("status --json").json
    assert found["schema"] == "brokerdemo.status/1"
    assert found["cluster"] == "default"
    assert found["uptime_ms"] > 0
    assert re.fullmatch(r"127\.0\.0\.1:\d+", found["coordination"]["connect"])
    assert found["coordination"]["mode"] == "embedded"
    assert set(found["controller"]) >= {"id", "epoch"}
    assert [broker["id"] for broker in found["brokers"]] == [1, 2, 3]
    for broker in found["brokers"]:
        assert {"id", "state", "pid", "host", "port", "epoch", "leads", "follows"} <= set(broker)
        assert broker["state"] in ("live", "suspect", "dead", "paused")
        os.kill(broker["pid"], 0)  # it exists
    (topic,) = found["topics"]
    assert topic["name"] == "demo"
    for partition in topic["partitions"]:
        assert {"partition", "leader", "leader_epoch", "replicas", "isr"} <= set(partition)
        assert partition["leader"] in partition["isr"]
    assert sum(broker["leads"] for broker in found["brokers"]) == 6


# --- faults


@pytest.mark.usefixtures("whole")
def test_kill_the_controller_key_by_key(run: Run, shell: Run) -> None:
    before = shell("status --json").json
    fault = shell("kill controller --json").json
    assert fault["schema"] == "brokerdemo.fault/1"
    assert re.fullmatch(r"f\d+", fault["fault"])
    assert (fault["kind"], fault["target"]) == ("kill", before["controller"]["id"])
    assert "controller" in fault["roles"]
    assert fault["detected_by"] == "certificate"
    assert fault["recovered"] is True
    stages = [fault["stages_ms"][name] for name in ("detected", "controller", "reassigned", "serving")]
    assert stages == sorted(stages)
    assert stages[0] > 0
    after = run("status --json").json
    assert after["controller"]["epoch"] == before["controller"]["epoch"] + 1
    assert shell("status --check").code == 6
    again = shell("timeline last --json").json
    assert again["stages_ms"] == fault["stages_ms"]  # one measurement, however often it is looked at
    assert run(f"timeline {fault['fault']}").out.startswith(f"SIGKILL -> broker {fault['target']} (controller")


@pytest.mark.usefixtures("whole")
def test_a_deadline_that_cannot_be_met_is_exit_5(run: Run) -> None:
    ran = run("kill 1 --within 1ms --json")
    assert ran.code == 5
    assert "try: " in ran.err


@pytest.mark.usefixtures("whole")
def test_kill_a_dead_broker_is_a_conflict(run: Run) -> None:
    assert run("kill 2").code == 0
    ran = run("kill 2")
    assert ran.code == 4
    assert "broker 2" in ran.err
    left = run("kill all --no-wait --json")
    assert (left.code, [fault["target"] for fault in left.json]) == (0, [1, 3])  # nobody means the dead by `all`


@pytest.mark.parametrize(
    "line",
    ["kill 9", "kill nobody", "kill 3-1", "kill leader:nope/0", "restart 9", "topics describe nope", "timeline f999"],
)
def test_what_does_not_exist_is_exit_3(line: str, run: Run, up: Ran) -> None:
    ran = run(line)
    assert ran.code == 3, ran.err
    assert "try: " in ran.err
    assert "Traceback" not in ran.err


def test_unknown_targets_list_the_valid_ones(run: Run, up: Ran) -> None:
    assert "valid targets: 1, 2, 3, controller" in run("kill 9").err
    assert "valid targets: 1, 2, 3, controller" in run("kill nobody").err


@pytest.mark.parametrize("line", ["config set cluster x", "config get planet"])
def test_what_cannot_be_meant_is_exit_2(line: str, run: Run, up: Ran) -> None:
    ran = run(line)
    assert ran.code == 2, ran.err
    assert "Traceback" not in ran.err


def test_a_short_pause_goes_unnoticed_and_restart_reports(run: Run, up: Ran) -> None:
    ran = run("pause 3 --for 100ms --json")
    assert ran.code == 0
    assert ran.json["kind"] == "pause"
    assert (ran.json["detected_by"], ran.json["moved"]) == (None, [])
    found = run("restart 3 --json").json
    assert found["schema"] == "brokerdemo.restart/1"
    assert found["restarted"][0]["broker"] == 3
    assert found["restarted"][0]["in_sync_ms"] >= found["restarted"][0]["registered_ms"] > 0


# --- what else a cluster is asked


def test_config(run: Run, up: Ran) -> None:
    found = run("config set cluster reassign.delay.ms=9000 --json").json
    assert sorted(one["broker"] for one in found["applied"]) == [1, 2, 3]
    assert all(one["delay_ms"] > 0 for one in found["applied"])
    assert run("config get cluster reassign.delay.ms").out == "9000\n"
    bad = run("config set cluster reassign.delay.ms=soon")
    assert bad.code == 2
    assert "/config/cluster" in bad.err
    assert "refused by brokers 1,2,3: reassign.delay.ms='soon'" in run("status").out
    assert run("config set cluster reassign.delay.ms=10000").code == 0
    assert re.search(r"config_rejected .*reassign\.delay\.ms='soon'", run("events").out)
    assert "refused" not in run("status").out


def test_topics(run: Run, up: Ran) -> None:
    assert run("topics create orders -p 4 -r 2").code == 0
    assert run("topics create orders -p 4 -r 2").code == 4
    assert {topic["name"] for topic in run("topics list --json").json["topics"]} == {"demo", "orders"}
    described = run("topics describe orders --json").json
    assert [len(p["replicas"]) for p in described["partitions"]] == [2, 2, 2, 2]
    assert run("topics delete orders -y").code == 0
    assert run("topics describe orders").code == 3


def test_events_are_in_order_and_whole(run: Run, up: Ran) -> None:
    events = [json.loads(line) for line in run("events --json").lines]
    seqs = [event["seq"] for event in events]
    assert seqs == sorted(set(seqs))
    assert {"cluster_ready", "broker_registered", "controller_elected", "leader_started"} <= {
        e["event"] for e in events
    }
    assert all({"t_ns", "source", "event"} <= set(event) for event in events)


def test_logs_are_those_of_every_process(run: Run, up: Ran) -> None:
    out = run("logs").out
    for process in ("coordinator", "broker 1", "broker 3"):
        assert process in out
    only = run("logs 2 --json").lines
    assert only
    assert {json.loads(line)["process"] for line in only} == {"broker 2"}
    assert run("logs 17").code == 3


def test_no_secret_is_in_events_and_logs(run: Run, up: Ran) -> None:
    said = run("events --json").out + run("logs --json").out + run("status --json").out
    assert "password" not in said.lower()


def test_doctor_sees_the_cluster(run: Run, up: Ran) -> None:
    found = run("doctor --json").json
    assert [c["level"] for c in found["checks"] if c["name"] == "cluster"] == ["ok"]


def test_down_and_then_nothing_is_there(run: Run, shell: Run) -> None:
    name = ["--cluster", "short"]
    assert shell("up -n 1 -d --name short --base-port auto --topic t:1:1").code == 0
    pid = run([*name, "status", "--json"]).json["brokers"][0]["pid"]
    ran = shell([*name, "down", "--json"])
    assert ran.json["schema"] == "brokerdemo.down/1"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert run([*name, "down"]).code == 3
