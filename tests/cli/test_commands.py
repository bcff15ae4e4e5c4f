"""Commands against a fake supervisor: what they ask, what they print, how they end."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from brokerdemo.cli.faults import still
from brokerdemo.cluster import prestart
from tests.cli.conftest import FAULT, STATUS, Cli, Fake, Refusal

STATUS_KEYS = {"schema", "cluster", "uptime_ms", "coordination", "controller", "brokers", "topics"}
BROKER_KEYS = {"id", "state", "pid", "host", "port", "epoch", "leads", "follows"}
PARTITION_KEYS = {"partition", "leader", "leader_epoch", "replicas", "isr"}


def test_status_json_is_the_contract(fake: Fake, cli: Cli) -> None:
    found = cli("status --json").json
    assert set(found) >= STATUS_KEYS
    assert set(found["brokers"][0]) >= BROKER_KEYS
    assert set(found["topics"][0]["partitions"][0]) >= PARTITION_KEYS
    assert found["schema"] == "brokerdemo.status/1"


def test_status_table(fake: Fake, cli: Cli) -> None:
    ran = cli("status")
    assert ran.code == 0
    assert ran.err == ""
    assert ran.lines[0] == "default   up 00:02:11   controller 2 (epoch 1)   3 live  0 suspect  0 dead"
    assert ran.lines[1].startswith(
        "partitions 6   under-replicated 0   offline 0   coordination embedded 127.0.0.1:12181"
    )
    assert ran.lines[3] == "ID  STATE  ROLE        LEADS  FOLLOWS    PID  ADDRESS          UPTIME"
    assert ran.lines[5] == " 2  live   controller      2        4  48212  127.0.0.1:19093  00:02:10"
    assert "\x1b" not in ran.out


def test_ps_shows_partitions(fake: Fake, cli: Cli) -> None:
    assert "demo/5          3      0  1,2,3     1,2,3" in cli("ps").out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"controller": None}, "there is no controller"),
        ({"brokers": [{**STATUS["brokers"][0], "state": "dead"}]}, "broker 1 is dead"),
        (
            {"topics": [{"name": "t", "partitions": [
                {"partition": 0, "leader": -1, "leader_epoch": 3, "replicas": [1], "isr": [1]}]}]},
            "t/0 is offline",
        ),
        (
            {"topics": [{"name": "t", "partitions": [
                {"partition": 0, "leader": 1, "leader_epoch": 3, "replicas": [1, 2], "isr": [1]}]}]},
            "t/0 is under-replicated: 2 not in sync",
        ),
    ],
)  # fmt: skip
def test_check_is_exit_6_and_says_what_is_wrong(change: dict[str, Any], says: str, fake: Fake, cli: Cli) -> None:
    fake.answers["status"] = lambda request: STATUS | change
    ran = cli("status --check")
    assert ran.code == 6
    assert says in ran.err
    assert ran.out  # a partial answer while degraded


def test_check_of_a_healthy_cluster_is_0(fake: Fake, cli: Cli) -> None:
    assert cli("status --check").code == 0


def test_client_verbs_import_nothing_heavy(fake: Fake, home: Path) -> None:
    """The time to an answer is mostly imports."""
    for line in (["status"], ["kill", "2"], ["events"], ["config", "get"]):
        fake.answers.setdefault("events", lambda request: ([], {"last_seq": 0}))
        fake.answers.setdefault(
            "config_get", lambda request: {"scope": "cluster", "znode": "/config/cluster", "config": {}}
        )
        code = (
            "import sys; from brokerdemo.__main__ import main; code = main(sys.argv[1:]);"
            "print(code, sorted({'trio', 'rich', 'structlog', 'kazoo', 'asyncio'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "0 []", line


def test_kill_json_is_the_contract(fake: Fake, cli: Cli) -> None:
    found = cli("kill controller --json").json
    assert found["schema"] == "brokerdemo.fault/1"
    assert set(found) >= {"fault", "kind", "target", "roles", "detected_by", "stages_ms", "recovered"}
    assert set(found["stages_ms"]) == {"detected", "controller", "reassigned", "serving"}


def test_kill_asks_and_waits(fake: Fake, cli: Cli) -> None:
    assert cli("kill 1,3 controller -s TERM --within 2s").code == 0
    asked = next(request for request in fake.requests if request["verb"] == "kill")
    assert asked == {
        "verb": "kill", "targets": ["1,3", "controller"], "signal": "TERM", "wait": True, "within_ms": 2000,
    }  # fmt: skip


def test_kill_draws_the_waterfall(fake: Fake, cli: Cli) -> None:
    out = cli("kill controller", COLUMNS="100").out
    assert out.startswith("SIGKILL -> broker 2 (controller, leads demo/1, demo/4)")
    for said in ("+11.8 ms  DETECTED", "by a death certificate", "broker 3, epoch 1 -> 2", "recovered in 31.4 ms"):
        assert said in out
    assert "session timeout (1500 ms)" in out  # never a number without it
    assert "brokerdemo restart 2" in out
    assert max(map(len, out.splitlines())) <= 100


def test_kill_of_several_is_an_array(fake: Fake, cli: Cli) -> None:
    fake.answers["kill"] = lambda request: [FAULT, {**FAULT, "fault": "f8", "target": 3}]
    assert [fault["fault"] for fault in cli("kill 2 3 --json").json] == ["f7", "f8"]


def test_a_deadline_missed_is_drawn_and_exit_5(fake: Fake, cli: Cli) -> None:
    slow = {**FAULT, "recovered": False, "stages_ms": {**FAULT["stages_ms"], "serving": None}}

    def late(request: object) -> object:
        raise Refusal(5, "not recovered within 50 ms", "waiting for SERVING", "brokerdemo timeline f7", slow)

    fake.answers["kill"] = late
    ran = cli("kill 2 --within 50ms")
    assert ran.code == 5
    assert "not recovered yet" in ran.out
    assert "?  SERVING" in ran.out
    assert ran.err.startswith(
        "error: not recovered within 50 ms.\n  waiting for SERVING\n  try: brokerdemo timeline f7"
    )


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("status", 3, 'error: no running cluster named "default".\n'),
        ("kill 1", 3, "  try: brokerdemo up -n 5 -d"),
        ("kil 1", 2, "Did you mean 'kill'?"),
        ("kill", 2, "Missing argument"),
        ("kill 1 -s HUP", 2, "'HUP' is not a signal this sends"),
        ("kill 1 --within 2", 2, "'2' has no unit: write 2ms or 2s"),
        ("up --session-timeout 1500", 2, "write 1500ms or 1500s"),
        ("up -n many", 2, "--brokers: 'many' is not a whole number"),
        ("up --topic a/b", 2, "'a/b' is not a topic"),
        ("up --session-timeout 5ms", 2, "out of bounds"),
        ("events --since yesterday", 2, "neither a sequence number nor last-fault"),
        ("config set cluster log.level", 2, "'log.level' is not KEY=VALUE"),
        ("topics create t -p 0", 2, "--partitions '0'"),
        ("topics describe t --format xml", 2, "there are table, kafka and json"),
        ("scenario run nothing_of_the_sort", 3, "there is no scenario 'nothing_of_the_sort'"),
        ("logs --level loud", 2, "there are debug, info, warning, error"),
        ("--cluster ../x status", 2, "cannot be the name of a cluster"),
    ],
)
def test_errors_say_what_why_and_what_to_do(line: str, code: int, says: str, cli: Cli) -> None:
    ran = cli(line)
    assert (ran.code, says in ran.err) == (code, True), ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""


def test_an_error_is_an_object_for_scripts(cli: Cli) -> None:
    ran = cli("status --json")
    assert ran.code == 3
    assert ran.json["schema"] == "brokerdemo.error/1"
    assert set(ran.json["error"]) == {"code", "what", "why", "do"}


def test_the_supervisors_refusal_keeps_its_code(fake: Fake, cli: Cli) -> None:
    def refuse(request: object) -> object:
        raise Refusal(3, "broker 9 does not exist", "valid targets: 1, 2, 3, controller, all", "brokerdemo status")

    fake.answers["kill"] = refuse
    ran = cli("kill 9")
    assert ran.code == 3
    assert ran.err == (
        "error: broker 9 does not exist.\n  valid targets: 1, 2, 3, controller, all\n  try: brokerdemo status\n"
    )


def test_a_bug_is_exit_1_and_says_how_to_report(fake: Fake, cli: Cli) -> None:
    fake.answers["status"] = lambda request: {"brokers": 7}
    ran = cli("status")
    assert ran.code == 1
    assert "this is a bug in brokerdemo" in ran.err
    assert "brokerdemo doctor --json" in ran.err


def test_several_clusters_need_a_name(start_fake: Callable[[str], Fake], cli: Cli) -> None:
    start_fake("a")
    start_fake("b")
    ran = cli("status")
    assert ran.code == 3
    assert "2 clusters are running: a, b" in ran.err
    assert cli("status --cluster b").code == 0  # a global flag may stand at the end
    assert cli("--cluster a status").code == 0
    assert cli("status", BROKERDEMO_CLUSTER="a").code == 0


@pytest.mark.parametrize(
    ("line", "environ", "coloured"),
    [
        ("status", {}, False),  # not a terminal
        ("status", {"FORCE_COLOR": "1"}, True),
        ("status", {"FORCE_COLOR": "1", "NO_COLOR": ""}, False),
        ("status --no-color", {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colour(line: str, environ: dict[str, str], coloured: bool, fake: Fake, cli: Cli) -> None:
    assert ("\x1b[" in cli(line, **environ).out) == coloured


def test_ascii(fake: Fake, shell: Cli) -> None:
    assert shell("kill 2 --ascii").out.isascii()
    assert shell("kill 2", PYTHONIOENCODING="ascii").out.isascii()


def test_a_closed_pipe_is_no_error(fake: Fake, home: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "brokerdemo", "status"],
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


def test_events(fake: Fake, cli: Cli) -> None:
    event = {
        "seq": 12,
        "t_ns": 5,
        "source": "broker 3",
        "event": "controller_elected",
        "broker": 3,
        "controller_epoch": 2,
    }
    fake.answers["events"] = lambda request: ([{"event": event}], {"last_seq": 12})
    assert cli("events --json").json == event
    shown = cli("events --since last-fault").out
    assert "controller_elected       broker 3 holds /master at epoch 2" in shown
    assert [r["since"] for r in fake.requests] == [0, "last-fault"]


def test_an_event_nobody_wrote_a_sentence_for_is_shown_whole(fake: Fake, cli: Cli) -> None:
    event = {"seq": 1, "t_ns": 5, "source": "x", "event": "brand_new", "colour": "blue"}
    fake.answers["events"] = lambda request: ([{"event": event}], {"last_seq": 1})
    assert cli("events").out.rstrip().endswith("brand_new                colour=blue")


def test_timeline_svg_is_one_whole_document(fake: Fake, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "f7.svg"
    ran = cli(["timeline", "f7", "--svg", str(file)])
    assert (ran.code, ran.out) == (0, "")
    root = ElementTree.fromstring(file.read_text())
    text = " ".join(root.itertext())
    for said in ("recovered in 31.4 ms", "+11.8 ms", "SERVING", "prefers-color-scheme: dark"):
        assert said in text
    assert "http" not in file.read_text().replace("http://www.w3.org/2000/svg", "")  # opens from disk, offline


def test_timeline_shows_the_events_it_was_measured_from(fake: Fake, cli: Cli) -> None:
    event = {"seq": 9, "t_ns": 1_011_800_000, "source": "supervisor", "event": "session_closed", "broker": 2}
    fake.answers["timeline"] = lambda request: {**FAULT, "events": [event]}
    assert "+11.8 ms" in next(line for line in cli("timeline").lines if "session_closed" in line)


def test_config_set_waits_and_shows_each_delay(fake: Fake, cli: Cli) -> None:
    fake.answers["config_set"] = lambda request: {
        "scope": "cluster", "znode": "/config/cluster", "version": 3, "settings": request["settings"],
        "applied": [{"broker": 1, "delay_ms": 2.5}, {"broker": 2, "delay_ms": 1.25}], "rejected": [],
    }  # fmt: skip
    ran = cli("config set cluster session.timeout=2s log.level=debug")
    assert ran.code == 0
    assert fake.requests[0]["settings"] == {"session.timeout.ms": "2000", "log.level": "debug"}
    assert ran.lines[1] == "  broker 2  applied after 1.2 ms"


def test_a_refused_setting_is_an_error_that_names_everything(fake: Fake, cli: Cli) -> None:
    fake.answers["config_set"] = lambda request: {
        "scope": "cluster", "znode": "/config/cluster", "version": 3, "settings": request["settings"], "applied": [],
        "rejected": [{"broker": 1, "key": "log.level", "value": "loud", "reason": "not a log level"}],
    }  # fmt: skip
    ran = cli("config set cluster log.level=loud")
    assert ran.code == 2
    assert "log.level='loud' was refused by broker 1" in ran.err
    assert "not a log level" in ran.err


def test_config_get_of_one_key(fake: Fake, cli: Cli) -> None:
    fake.answers["config_get"] = lambda request: {"scope": "cluster", "znode": "/config/cluster", "config": {"a": "1"}}
    assert cli("config get cluster a").out == "1\n"
    ran = cli("config get cluster b")
    assert ran.code == 3
    assert "b is not set in cluster" in ran.err


def test_topics(fake: Fake, cli: Cli) -> None:
    topic = {**STATUS["topics"][0], "config": {"reassign.delay.ms": "0"}}
    fake.answers["topics_list"] = lambda request: {"topics": [topic]}
    fake.answers["topics_describe"] = lambda request: topic
    fake.answers["topics_create"] = lambda request: {"name": request["name"]}
    fake.answers["topics_delete"] = lambda request: {}
    assert cli("topics list").lines[1] == "demo            6   3                 0        0"
    kafka = cli("topics describe demo --format kafka").lines
    assert kafka[0] == "Topic: demo\tTopicId: -\tPartitionCount: 6\tReplicationFactor: 3\tConfigs: reassign.delay.ms=0"
    assert kafka[2] == "\tTopic: demo\tPartition: 1\tLeader: 2\tReplicas: 1,2,3\tIsr: 1,2,3"
    assert cli("topics describe demo --format json").json == cli("topics describe demo --json").json
    assert cli("topics create t -p 2 -r 1 -c a=b").out == "topic t: 2 partitions, replication factor 1, all led\n"
    assert fake.requests[-1] == {
        "verb": "topics_create", "name": "t", "partitions": 2, "rf": 1, "configs": {"a": "b"}, "within_ms": 30_000,
    }  # fmt: skip
    assert cli("topics delete t").out == "topic t is gone\n"  # never asks without a terminal


def test_print_config_shows_where_each_value_comes_from(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "brokerdemo.toml").write_text('session_timeout = "3s"\nbrokers = 7\n')
    monkeypatch.chdir(tmp_path)
    found = cli("up --print-config --json --base-port auto", BROKERDEMO_BROKERS="3").json["settings"]
    assert found["base-port"] == {"value": "auto", "origin": "--base-port"}
    assert found["brokers"] == {"value": "3", "origin": "$BROKERDEMO_BROKERS"}
    assert found["session-timeout"] == {"value": "3s", "origin": str(tmp_path / "brokerdemo.toml")}
    assert found["name"] == {"value": "default", "origin": "default"}


def test_a_misspelt_setting_in_a_file_is_refused(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brokerdemo.toml").write_text('sesion_timeout = "3s"\n')
    monkeypatch.chdir(tmp_path)
    ran = cli("up --print-config")
    assert ran.code == 2
    assert "'sesion_timeout' is not a setting" in ran.err


@pytest.mark.parametrize(
    "line", ["--help", "up -h", "kill --help", "topics create --help", "scenario run --help", "config set --help"]
)
def test_help_fits_80_columns_and_shows_examples(line: str, cli: Cli) -> None:
    ran = cli(line, COLUMNS="80")
    assert ran.code == 0
    assert "Examples:" in ran.out
    assert max(map(len, ran.lines)) <= 80


def test_help_lists_every_exit_code(cli: Cli) -> None:
    out = cli("--help").out
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 130):
        assert f"\n  {code:>5}  " in out


def test_doctor(fake: Fake, cli: Cli) -> None:
    found = cli("doctor --json").json
    assert found["schema"] == "brokerdemo.doctor/1"
    assert found["passed"] is True
    assert {"python", "system", "open files", "state", "cluster"} <= {check["name"] for check in found["checks"]}


def test_doctor_without_a_home_is_exit_7(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    ran = cli("doctor", BROKERDEMO_HOME=str(file / "below"))
    assert ran.code == 7
    assert "[FAIL]" in ran.out


def test_version(cli: Cli) -> None:
    assert cli("version").lines[0] == "brokerdemo 0.1.0"
    assert cli("version --json").json["schema"] == "brokerdemo.version/1"


@pytest.mark.parametrize(
    ("verb", "targets", "signal", "said"),
    [
        ("kill", ["1"], None, "1 is still down.   brokerdemo restart 1"),
        ("kill", ["1", "2-3"], "KILL", "1, 2-3 is still down.   brokerdemo restart 1 2-3"),
        ("kill", ["controller"], None, "controller is still down.   brokerdemo status"),
        ("kill", ["2"], "STOP", "2 is still paused.   brokerdemo resume 2"),
        ("pause", ["leader:demo/0"], None, "leader:demo/0 is still paused.   brokerdemo resume all"),
    ],
)
def test_giving_up_waiting_says_what_stays_and_how_to_end_it(
    verb: str, targets: list[str], signal: str | None, said: str
) -> None:
    assert still(verb, targets, signal).endswith(said)


def test_a_start_refused_leaves_no_interpreter_for_the_next(cli: Cli) -> None:
    assert cli("up -n none").code == 2
    assert prestart._early is None
