"""What the shell says, as tables; the texts are what Apache ZooKeeper 3.9's shell printed."""

import pytest

from coordination import errors
from coordination.tools import words
from coordination.tools.client import path_fault
from coordination.tools.quotas import Limits
from coordination.tools.shell import split_line
from coordination.tools.verbs_read import client_config
from coordination.tools.watch_table import Event
from coordination.wire.records import Acl, Stat

PATHS = {
    "/": "",
    "/a": "",
    "/a/b.c/..d": "",
    "": "Path length must be > 0",
    "a": "Path must start with / character",
    "/a/": "Path must not end with / character",
    "//": "Path must not end with / character",
    "/a//b": 'Invalid path string "/a//b" caused by empty node name specified @3',
    "/a/./b": 'Invalid path string "/a/./b" caused by relative paths not allowed @3',
    "/a/../b": 'Invalid path string "/a/../b" caused by relative paths not allowed @4',
    "/a/..": 'Invalid path string "/a/.." caused by relative paths not allowed @4',
    "/a\x00": 'Invalid path string "/a\x00" caused by null character not allowed @2',
    "/a\x01b": 'Invalid path string "/a\x01b" caused by invalid character @2',
    "/\uf000": 'Invalid path string "/\uf000" caused by invalid character @1',
}


@pytest.mark.parametrize(("path", "fault"), PATHS.items())
def test_path_faults(path: str, fault: str) -> None:
    assert path_fault(path) == fault


def test_errors_are_said_as_zookeeper_says_them() -> None:
    assert words.keeper_error(errors.NoNodeError("/a")) == "Node does not exist: /a"
    assert words.keeper_error(errors.BadVersionError("/a")) == "version No is not valid : /a"
    assert words.keeper_error(errors.NoWatcherError("/a")) == "KeeperErrorCode = No such watcher for /a"
    assert words.keeper_error(errors.ReconfigDisabledError()) == "KeeperErrorCode = Reconfig is disabled"


@pytest.mark.parametrize("kind", errors.BY_CODE.values())
def test_every_error_has_words_and_a_code_for_scripts(kind: type[errors.KeeperError]) -> None:
    error = kind("/a")
    assert "Unknown error" not in words.keeper_error(error) or kind.code in (-12, -122)
    assert words.exit_code(error) in (words.EXIT_NO_NODE, words.EXIT_REFUSED, words.EXIT_NO_ANSWER)


def test_advice_names_the_next_command() -> None:
    assert words.advice(errors.NoNodeError("/a/b"), "create") == "make its parent first: create /a"
    assert words.advice(errors.NoNodeError("/a/b"), "get") == "what is there: ls /a"
    lost = errors.ConnectionLossError("/a", "not connected: h:1: connection refused")
    assert words.advice(lost, "ls").startswith("not connected: h:1: connection refused. Is the server up?")
    assert "deleteall /a" in words.advice(errors.NotEmptyError("/a"), "delete")


def test_acls_both_ways() -> None:
    acl, complaints = words.parse_acl("world:anyone:cdrwa,digest:u:h=:r,ip:10.0.0.0/8:w")
    assert acl == (Acl(31, "world", "anyone"), Acl(1, "digest", "u:h="), Acl(2, "ip", "10.0.0.0/8"))
    assert complaints == []
    assert words.acl_lines(acl[:1]) == "'world,'anyone\n: cdrwa"


def test_acls_that_are_none() -> None:
    assert words.parse_acl("bogus") == ((), ["bogus does not have the form scheme:id:perm"])
    assert words.parse_acl("digest:") == ((), ["digest: does not have the form scheme:id:perm"])
    assert words.parse_acl("world:anyone:rz") == ((Acl(1, "world", "anyone"),), ["Unknown perm type: z"])


def test_a_stat(monkeypatch: pytest.MonkeyPatch) -> None:
    stat = Stat(2, 3, 0, 1_000, 4, 5, 6, -(1 << 63), 7, 8, 9)
    lines = words.stat_lines(stat).splitlines()
    assert lines[0] == "cZxid = 0x2"
    assert lines[1].startswith("ctime = Thu Jan 01 ")
    assert lines[8] == "ephemeralOwner = 0x8000000000000000"
    assert words.stat_json(stat)["mZxid"] == "0x3"


def test_a_date_that_no_clock_shows_is_still_printed() -> None:
    assert words.java_date(1 << 90) == f"{1 << 90} ms since 1970"


def test_events() -> None:
    event = Event(3, "SyncConnected", "/a", 11)
    assert words.event_lines(event) == (
        "\nWATCHER::\n\nWatchedEvent state:SyncConnected type:NodeDataChanged path:/a zxid: 11"
    )
    assert words.event_lines(Event(-1, "Closed", None)).endswith("state:Closed type:None path:null zxid: -1")


def test_a_hex_dump() -> None:
    dump = words.hex_dump(b"hello\x00" + bytes(range(0x41, 0x50)))
    assert dump.splitlines()[1:] == [
        "         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |",
        "+--------+-------------------------------------------------+----------------+",
        "|00000000| 68 65 6c 6c 6f 00 41 42 43 44 45 46 47 48 49 4a |hello.ABCDEFGHIJ|",
        "|00000010| 4b 4c 4d 4e 4f                                  |KLMNO           |",
        "+--------+-------------------------------------------------+----------------+",
    ]
    assert words.hex_dump(b"") == ""


LINES = {
    "ls /": ["ls", "/"],
    "  create   /a  x ": ["create", "/a", "x"],
    'create "/with space" "a b"': ["create", "/with space", "a b"],
    "create /a 'it is'": ["create", "/a", "it is"],
    'create /a ""': ["create", "/a", ""],
    'set /a {"k":1}': ["set", "/a", '{"k":1}'],
    "": [],
    "   ": [],
}


@pytest.mark.parametrize(("line", "found"), LINES.items())
def test_lines_are_split_as_zookeepers_shell_splits_them(line: str, found: list[str]) -> None:
    assert split_line(line) == found


LIMITS = {
    b"count=2,bytes=1000=;byteHardLimit=-1;countHardLimit=10": "count=2,bytes=1000=;byteHardLimit=-1;countHardLimit=10",
    b"count=2,bytes=1000": "count=2,bytes=1000",
    b"": "count=-1,bytes=-1",
    b"count=,bytes=5": "count=-1,bytes=5",
}


@pytest.mark.parametrize(("data", "text"), LIMITS.items())
def test_quota_limits_keep_the_form_old_readers_need(data: bytes, text: str) -> None:
    assert str(Limits.parse(data)) == text


def test_what_a_client_needs_of_a_configuration() -> None:
    text = "server.1=a:2888:3888:participant;10.0.0.1:2181\nserver.2=b:2888:3888;2182\nversion=100000003"
    assert client_config(text) == "100000003 10.0.0.1:2181,0.0.0.0:2182"
    assert client_config("server.1=a:1:2:participant\nserver.2=b:1:2:observer\nversion=1") == "1 ,"
    assert client_config("") == " "
