"""The small commands: four letter words, digests; and what starting any of them costs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from coordination.storage import TxnSnapLog
from coordination.testing import server
from coordination.tools import commands, four_letter_words
from coordination.wire import opcodes

from .conftest import Run


def test_a_word_and_its_answer(run: Run, zk: server.Server) -> None:
    assert run("4lw", "ruok", zk.connect).out == "imok\n"
    assert "Mode: standalone" in run("4lw", "srvr", zk.connect).out


@pytest.mark.parametrize("arguments", [("mntr", "--json", "{}"), ("--json", "mntr", "{}"), ("mntr", "{}", "--json")])
def test_the_fields_of_an_answer(run: Run, zk: server.Server, arguments: tuple[str, ...]) -> None:
    found = json.loads(run("4lw", *(each.format(zk.connect) for each in arguments)).out)
    assert found["word"] == "mntr"
    assert found["fields"]["zk_server_state"] == "standalone"
    assert found["fields"]["zk_znode_count"] >= 4


def test_a_word_that_is_not_allowed(run: Run, zk: server.Server) -> None:
    ran = run("4lw", "dump", zk.connect)
    assert ran.code == 4
    assert "not in the whitelist" in ran.out
    assert ran.err.splitlines()[-1].startswith("  try: ")


def test_nobody_to_ask(run: Run) -> None:
    ran = run("4lw", "ruok", "127.0.0.1:1", "--timeout", "1s")
    assert (ran.code, ran.out) == (5, "")
    assert "connection refused" in ran.err


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
def test_a_name_no_host_has(run: Run, host: str) -> None:
    ran = run("4lw", "ruok", f"{host}:2181")
    assert (ran.code, "that is no host name" in ran.err) == (5, True)
    ran = run("cli", "-c", f"{host}:2181", "--connect-timeout", "200ms", "ls", "/")
    assert (ran.code, "that is no host name" in ran.err) == (5, True)


@pytest.mark.parametrize("duration", ["9" * 400 + "s", "2147484s"])
def test_a_time_longer_than_javas(run: Run, duration: str) -> None:
    assert run("4lw", "ruok", "--timeout", duration).code == 2
    assert run("cli", "--session-timeout", duration, "ls", "/").code == 2


def test_several_servers(run: Run, zk: server.Server) -> None:
    ran = run("4lw", "ruok", f"{zk.connect},127.0.0.1:1")
    assert ran.code == 5
    assert ran.out == f"== {zk.connect}\nimok\n"


def test_a_word_no_server_knows(run: Run, zk: server.Server) -> None:
    ran = run("4lw", "xxxx", zk.connect)
    assert (ran.code, ran.out) == (4, "")
    assert "the server does not know the word" in ran.err


def test_errors_as_json(run: Run, zk: server.Server) -> None:
    """One server, one object; each of several has its own error."""
    refused = json.loads(run("4lw", "--json", "dump", zk.connect).out)
    assert (refused["word"], refused["error"]["exit_code"]) == ("dump", 4)
    gone = run("4lw", "--json", "ruok", "127.0.0.1:1")
    assert gone.code == json.loads(gone.out)["error"]["exit_code"] == 5
    good, bad = json.loads(run("4lw", "--json", "ruok", f"{zk.connect},127.0.0.1:1").out)
    assert "error" not in good
    assert bad["server"] == "127.0.0.1:1"
    assert bad["error"]["exit_code"] == 5


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_a_usage_error_as_json(run: Run, name: str) -> None:
    ran = run(name, "--json", "--no-such-option")
    assert ran.code == json.loads(ran.out)["error"]["exit_code"] == 2


@pytest.mark.parametrize("word", ["RUOK", "ru", "ruokk", "../a"])
def test_what_is_no_word(run: Run, word: str) -> None:
    assert run("4lw", word).code == 2


def test_fields_of_every_form() -> None:
    assert four_letter_words.fields("conf", "clientPort=2181\ndataDir=/a=b\n") == {
        "clientPort": 2181,
        "dataDir": "/a=b",
    }
    srvr = "Zookeeper version: 3.9\nLatency min/avg/max: 0/0.5/3\nZxid: 0x2\nMode: standalone\n"
    assert four_letter_words.fields("srvr", srvr)["Latency min/avg/max"] == "0/0.5/3"
    assert four_letter_words.fields("mntr", "zk_avg_latency\t0.5\nzk_x\t-3\n") == {"zk_avg_latency": 0.5, "zk_x": -3}
    assert four_letter_words.fields("ruok", "imok") == {"answer": "imok"}


DIGEST = [sys.executable, "-m", "coordination", "digest", "alice:secret"]
# ZooKeeper's own generateDigest gave these.
DIGESTS = {
    "super:x": "super:eXJov8znpQ4dl1Mi6FnyKh1mSgw=",
    "user:secret": "user:5w9W4eL3797Y4Wq8AcKUPPk8ha4=",
}


@pytest.mark.parametrize(("text", "digest"), DIGESTS.items())
def test_digests(run: Run, text: str, digest: str) -> None:
    assert run("digest", text).out == f"{digest}\n"
    assert run("digest", stdin=f"{text}\n").out == f"{digest}\n"
    assert json.loads(run("digest", "--json", "-", stdin=text).out)["acl"] == f"digest:{digest}:cdrwa"


def test_what_has_no_digest(run: Run) -> None:
    assert run("digest", "nocolon").code == 2
    assert run("digest", "a:b", "--algorithm", "ROT13").code == 2
    assert "nocolon" not in run("digest", "nocolon").err


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_command_has_help(run: Run, name: str) -> None:
    ran = run(name, "--help")
    assert ran.code == 0
    assert f"usage: coordination {name}" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 120


HEAVY = ("trio", "kazoo", "structlog", "typer", "rich", "pydantic")
STARTS = [
    ("import coordination.cli", (*HEAVY, "coordination.tools.cli", "coordination.tools.shell", "ssl")),
    ("import coordination.tools.cli, coordination.tools.line", HEAVY),
    ("import coordination.tools.four_letter_words, coordination.tools.digest", (*HEAVY, "coordination.storage")),
    ("import coordination.tools.logs, coordination.tools.snapshots, coordination.tools.doctor", (*HEAVY, "ssl")),
]


@pytest.mark.parametrize(("statement", "unwanted"), STARTS)
def test_starting_stays_cheap(statement: str, unwanted: tuple[str, ...]) -> None:
    code = f"{statement}, sys; print([each for each in {unwanted!r} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("what", ["log", "snapshot"])
def test_a_full_disk_is_no_damage(what: str, tmp_path: Path) -> None:
    """Exit code 6 would tell a script that its logs or snapshots are not sound."""
    store = TxnSnapLog.open(tmp_path)
    store.begin_snapshot(0, {}, {}, [("/", b"", -1, (0,) * 9)]).write_all()
    store.log.append([bytes(12) + (1).to_bytes(8) + bytes(8) + opcodes.CLOSE_SESSION.to_bytes(4, signed=True)])
    store.close()
    command = [sys.executable, "-m", "coordination", what, "verify", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    with open("/dev/full", "w") as full:
        assert subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False).returncode == 7


def test_output_that_cannot_be_written() -> None:
    """A full disk is no bug of ours, and says so; a closed stdout is nobody's."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(DIGEST, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 7
    assert done.stderr.startswith("error: the output could not be written: No space left on device\n  try: ")
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *DIGEST], capture_output=True, text=True, check=False)
    assert (closed.returncode, closed.stderr) == (0, "")


def test_the_command_knows_them() -> None:
    done = subprocess.run([sys.executable, "-m", "coordination", "--help"], capture_output=True, text=True, check=True)
    for name, (_, what) in commands.COMMANDS.items():
        assert name in done.stdout
        assert what.split(":")[0] in " ".join(done.stdout.split())
