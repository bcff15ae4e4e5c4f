"""`coordination cli`: the verbs against ZooKeeper's own words, JSON, exit codes, streams of lines."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from coordination.testing import server
from coordination.tools.client import Client
from coordination.wire import opcodes

from .conftest import LINES, PROPERTIES, Run


def masked(text: str) -> str:
    """`text` without what no two runs have in common."""
    text = re.sub(r"0x[0-9a-f]+", "0xN", text)
    text = re.sub(r"time = .*", "time = T", text)
    return re.sub(r"zxid: \d+", "zxid: N", text)


def test_a_long_conversation_is_word_for_word_zookeepers(tmp_path: Path, run: Run) -> None:
    """The expected words are what Apache ZooKeeper 3.9.5 gave; test_real_zookeeper asks it again."""
    properties = tmp_path / "props"
    properties.write_text(PROPERTIES)
    with server.serve(options=["--props", str(properties)]) as fresh:
        ran = run("cli", "-c", fresh.connect, stdin=LINES.read_text())
    expected = LINES.with_name("zkcli_stdout.txt").read_text(), LINES.with_name("zkcli_stderr.txt").read_text()
    assert masked(ran.out) == expected[0]
    assert masked(ran.words) == expected[1]


EXITS = [
    ("ls {top}", 0),
    ("ls {top}/no", 3),
    ("create {top}", 4),
    ("create {top}/no/a", 3),
    ("delete -v 7 {top}", 4),
    ("set {top} x -v 9", 4),
    ("ls", 2),
    ("ls nopath", 2),
    ("get -q {top}", 2),
    ("bogus", 2),
    ("create -e -c {top}/x", 2),
    ("setquota -n 1 {top}/no", 3),
    ("listquota {top}", 3),
    ("removewatches {top}", 4),
    ("reconfig -add server.2=h:1:2;3", 4),
    ("set -v x {top} y", 2),
    ("set -v 2147483648 {top} y", 2),
    ("delete -v 1_0 {top}", 2),
    ("setquota -n 9223372036854775808 {top}", 2),
    ("reconfig -v 10000000000000000 -add server.2=h:1:2;3", 2),
    ("set -b {top} !!!", 2),
    ("version", 0),
    ("help", 0),
    ("help ls", 0),
    ("help lx", 2),
    ("quit", 0),
]


@pytest.mark.parametrize(("command", "code"), EXITS)
def test_exit_codes(cli: Run, top: str, command: str, code: int) -> None:
    ran = cli(*command.format(top=top).split())
    assert ran.code == code, ran
    assert bool(ran.err) == bool(code)
    if code in (3, 4):
        assert ran.err.splitlines()[-1].startswith("  try: ")


@pytest.mark.parametrize(("command", "code"), [each for each in EXITS if each[0] != "quit"])
def test_json_is_one_object_whatever_happens(cli: Run, top: str, command: str, code: int) -> None:
    ran = cli("--json", *command.format(top=top).split())
    assert ran.code == code
    found = json.loads(ran.out)
    assert ("error" in found) == bool(code)
    if code:
        assert found["error"]["exit_code"] == code


def test_json_holds_more_than_the_text(cli: Run, top: str) -> None:
    cli("create", f"{top}/a", "text", "world:anyone:cr")
    found = json.loads(cli("get", "--json", f"{top}/a").out)
    assert found["path"] == f"{top}/a"
    assert found["data"] == "text"
    assert found["stat"]["dataLength"] == 4
    assert found["stat"]["cZxid"].startswith("0x")
    assert json.loads(cli("ls", "-R", top, "--json").out)["paths"] == [top, f"{top}/a"]
    assert json.loads(cli("--json", "getAcl", f"{top}/a").out)["acl"] == [
        {"scheme": "world", "id": "anyone", "perms": "cr"}
    ]
    made = json.loads(cli("create", "-s", f"{top}/s-", "--json").out)
    assert made["path"] == f"{top}/s-0000000001"
    assert json.loads(cli("--json", "whoami").out)["identities"][0]["scheme"] == "ip"


def test_a_session_closed_and_opened_as_json(run: Run, zk: server.Server) -> None:
    ran = run("cli", "-c", zk.connect, "--json", stdin=f"close\nls /\nconnect {zk.connect}\n")
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert [each for each in found if "connected" in each] == [
        {"connected": False, "server": zk.connect},
        {"connected": True, "server": zk.connect},
    ]
    assert [each["error"]["exit_code"] for each in found if "error" in each] == [5]


def test_values_that_are_not_text(cli: Run, client: Client, top: str) -> None:
    client.set(top, b"\xff\x00")
    assert json.loads(cli("get", "--json", top).out)["data_base64"] == "/wA="
    assert cli("get", "-b", top).out == "/wA=\n"
    assert "ff 00" in cli("get", "-x", top).out
    cli("set", "-b", top, "gA==")
    assert client.get(top)[0] == b"\x80"


def test_a_word_that_is_json_behind_two_dashes_is_data(cli: Run, client: Client, top: str) -> None:
    assert cli("set", top, "--", "--json").code == 0
    assert client.get(top)[0] == b"--json"


def test_nobody_there_says_what_to_do(run: Run) -> None:
    ran = run("cli", "-c", "127.0.0.1:1", "--connect-timeout", "200ms", "ls", "/")
    assert ran.code == 5
    assert "connection refused" in ran.err
    assert ran.err.splitlines()[-1].startswith("  try: ")
    ran = run("cli", "-c", "127.0.0.1:1", "--connect-timeout", "200ms", "--json", "ls", "/")
    assert json.loads(ran.out)["error"]["exit_code"] == 5


@pytest.mark.parametrize(
    "arguments", [["-c", "a:b", "ls", "/"], ["--connect-timeout", "10", "ls", "/"], ["--nonsense"]]
)
def test_a_bad_command_line(run: Run, arguments: list[str]) -> None:
    ran = run("cli", *arguments)
    assert ran.code == 2
    assert ran.err.splitlines()[-1].startswith("  try: ")


def test_zkclis_own_options_are_taken(run: Run, zk: server.Server) -> None:
    ran = run("cli", "-server", zk.connect, "-timeout", "5000", "-waitforconnection", "-r", "ls", "/zookeeper")
    assert ran.out == "[config, quota]\n"


def test_identities_on_the_command_line(cli: Run) -> None:
    ran = cli("--auth", "digest:alice:secret", "--auth", "digest:bob:secret", "whoami")
    assert "digest: alice\ndigest: bob\n" in ran.out
    assert "secret" not in ran.out + ran.err


def test_a_chroot(run: Run, zk: server.Server, top: str) -> None:
    ran = run("cli", "-c", zk.connect + top, stdin="create /a x\nls /\nget /no\n")
    assert ran.out.endswith("[a]\n")
    assert "Node does not exist: /no" in ran.err
    assert top not in ran.out + ran.err


def test_deleteall_in_batches(cli: Run, client: Client, top: str) -> None:
    for number in range(25):
        client.create(f"{top}/{number}", b"")
        client.create(f"{top}/{number}/below", b"")
    ran = cli("deleteall", "-b", 3, top, "--json")
    assert json.loads(ran.out)["deleted"] == 51
    assert client.exists(top) is None


def test_deleteall_says_what_stands_in_the_way(cli: Run, client: Client, top: str) -> None:
    client.create(f"{top}/a", b"")
    client.create(f"{top}/a/b", b"")
    cli("setAcl", f"{top}/a", "world:anyone:r")
    ran = cli("deleteall", top)
    assert ran.code == 4
    assert ran.err.startswith("Failed to delete some node(s) in the subtree!\n")
    assert f"{top}/a/b" in ran.err


def test_setacl_under_a_tree(cli: Run, client: Client, top: str) -> None:
    client.create(f"{top}/a", b"")
    assert json.loads(cli("setAcl", "-R", top, "world:anyone:cdra", "--json").out)["changed"] == 2
    assert client.get_acl(f"{top}/a")[0][0].perms == opcodes.PERM_ALL - opcodes.PERM_WRITE


def test_events_come_as_they_happen(cli: Run, top: str) -> None:
    lines = f"get -w {top}\nset {top} x\nprintwatches off\nget -w {top}\nset {top} y\n"
    ran = cli(stdin=lines)
    assert ran.out.count(f"type:NodeDataChanged path:{top}") == 1


def test_watch_stays_until_it_has_seen_enough(cli: Run, zk: server.Server, top: str) -> None:
    lines = f"addWatch {top}\ncreate {top}/a\nset {top}/a x\nwatch -n 0x {top}\n"
    ran = cli(stdin=lines)
    assert ran.code == 2
    assert "type:NodeCreated" in ran.out


def test_the_exit_code_is_the_last_lines(cli: Run, top: str) -> None:
    assert cli(stdin=f"ls {top}/no\nls {top}\n").code == 0
    assert cli(stdin=f"ls {top}\nls {top}/no\n").code == 3
    assert cli(stdin=f"ls {top}/no\nquit\nls /").code in (0, 3)


def test_closing_and_connecting_again(cli: Run, zk: server.Server, top: str) -> None:
    lines = f"close\nls {top}\nclose\nconnect {zk.connect}\nls {top}\nconnect 127.0.0.1:1/\nls {top}\n"
    ran = cli("--connect-timeout", "1s", stdin=lines)
    assert ran.err.count("Not connected") == 3
    assert "[]\n" in ran.out
    assert "state:Closed" in ran.out


def test_history_and_redo(cli: Run, top: str) -> None:
    ran = cli(stdin=f"create {top}/a\nhistory\nredo 0\nredo 2\nredo x\nredo\nredo 99\n")
    assert f"0 - create {top}/a\n1 - history\n" in ran.out
    assert f"Node already exists: {top}/a" in ran.err
    assert "Command index out of range" in ran.err


def test_lines_that_are_no_command(cli: Run, top: str) -> None:
    ran = cli(stdin=f'"\nls -z /\nredo 0\nredo 1\nget {top}\n')
    assert ran.err.count("No command entered") == 1
    assert ran.err.count("Unrecognized option: -z\n  try: ls ") == 2
    assert ran.code == 0


def test_the_history_shows_no_credential(cli: Run) -> None:
    ran = cli(stdin="addauth digest alice:secret\nhistory\nredo 0\nwhoami\n")
    assert "0 - addauth digest ***\n" in ran.out
    assert "secret" not in ran.out + ran.err
    assert "digest: alice" in ran.out


def test_bytes_are_kept_as_they_were_given(cli: Run, client: Client, top: str) -> None:
    cli("create", f"{top}/a", os.fsdecode(b"\xff\xfe"))
    cli("set", top, "gr\u00fc\u00df")
    assert client.get(f"{top}/a")[0] == b"\xff\xfe"
    assert client.get(top)[0] == "gr\u00fc\u00df".encode()


def test_words_that_are_not_utf8(cli: Run, zk: server.Server, top: str) -> None:
    """A value and a credential are bytes, whatever the terminal's encoding; anything else is text."""
    odd = os.fsdecode(b"u:\xff")
    assert cli("addauth", "digest", odd).code == 0
    assert cli("--auth", f"digest:{odd}", "whoami").out.endswith("digest: u\n")
    assert cli("setAcl", top, f"digest:{odd}:r").code == 2
    assert cli("addauth", odd, "x").code == 2
    command = [sys.executable, "-m", "coordination", "cli", "-c", zk.connect]
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    lines = b"set " + top.encode() + b" \xff\nget -b " + top.encode() + b"\n"
    ran = subprocess.run(command, input=lines, capture_output=True, env=strict, timeout=30, check=False)
    assert b"\n/w==\n" in ran.stdout, ran.stderr


def test_an_unknown_verb_is_guessed(cli: Run) -> None:
    assert "try: getAcl" in cli("getacl", "/").err
    assert "try: deleteall" in cli("deletall", "/").err
    assert "try: help" in cli("qqqqqq", "/").err
