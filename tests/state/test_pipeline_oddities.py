"""What only a comparison with Apache ZooKeeper shows: answers that no documentation tells, as 3.9.5 gives them.

`tests/differential` is where they come from; here they are seen without a JVM.
"""

import pytest

from coordination.state.ready import Settings
from coordination.state.tree_digest import digest_of
from coordination.wire import opcodes, requests
from coordination.wire.records import OPEN_ACL
from coordination.wire.replies import WatcherEvent

from .conftest import Answer, Machine, create, xids

# --- paths and order


@pytest.mark.parametrize("path", ["", "no path", "/nul\0l", "/a/"])
def test_any_string_may_be_watched(machine: Machine, path: str) -> None:
    client = machine.client()
    assert client.call(requests.AddWatch(1, path, opcodes.MODE_PERSISTENT_RECURSIVE)).header.err == 0
    assert client.call(requests.CheckWatches(2, path, opcodes.WATCHES_PERSISTENT_RECURSIVE)).header.err == 0


def test_the_empty_path_reads_the_root(machine: Machine) -> None:
    client = machine.client()
    client.call(requests.SetData(1, "/", b"at the root", -1))
    client.send(requests.GetData(2, "", False), requests.Exists(3, "", False), requests.GetChildren2(4, "", False))
    client.send(requests.GetAcl(5, ""), requests.GetAllChildrenNumber(6, ""), requests.SetData(7, "", b"", -1))
    machine.persist()
    answers = client.answers()
    assert [each.header.err for each in answers] == [0, 0, 0, 0, 0, -8]
    assert b"at the root" in answers[0].body
    client.send(requests.SetWatches(8, opcodes.SET_WATCHES, 0, [""], [], [], [], []))
    assert [type(each) for each in client.received()] == [WatcherEvent, Answer]


def test_exists_refuses_a_path_with_nul_with_and_without_a_watch(machine: Machine) -> None:
    client = machine.client()
    client.send(requests.Exists(1, "a\0b", True), requests.Exists(2, "a\0b", False))
    assert [each.header.err for each in client.answers()] == [-8, -8]


def test_characters_beyond_the_basic_plane_are_in_no_path(machine: Machine) -> None:
    client = machine.client()
    for request in (
        create("/\U0001f600"),
        requests.SetAcl(2, "/\U0001f600", OPEN_ACL, -1),
        requests.SetData(3, "/\U0001f600", b"", -1),
    ):
        assert client.call(request).header.err == -8


def test_a_read_accepted_before_its_session_closes_is_answered(machine: Machine) -> None:
    client = machine.client()
    client.send(create("/a", xid=1), requests.GetData(2, "/none", False), requests.CloseSession(3))
    machine.persist()
    assert [(each.header.xid, each.header.err) for each in client.answers()] == [(1, 0), (2, -101), (3, 0)]


# --- multi


def test_a_multi_that_cannot_be_decoded_takes_a_zxid(machine: Machine) -> None:
    client = machine.client()
    before = machine.unpersisted_zxid
    header, body = client.call(requests.Multi(1, [create("/a"), create("/b", flags=opcodes.PERSISTENT_WITH_TTL)]))
    assert (header.err, header.zxid, body) == (-5, before + 1, b"")
    header, body = client.call(requests.Multi(2, [create("/a", flags=7)]))
    assert (header.err, header.zxid, body) == (-5, before + 2, b"")
    assert "/a" not in machine.pipeline.tree.nodes
    restarted = machine.restart()
    assert restarted.pipeline.tree.last_zxid == before + 2


def test_a_ttl_part_without_a_mode_is_a_part_refused(machine: Machine) -> None:
    client = machine.client()
    part = requests.CreateTtl(0, "/a", b"", OPEN_ACL, 7, 1000)
    assert client.call(requests.Multi(1, [part])).body.hex() == "ffffffff00" + "fffffff8" * 2 + "ffffffff01ffffffff"


def test_in_a_multi_the_mode_goes_before_the_opcode(machine: Machine) -> None:
    client = machine.client()
    parts: list[requests.WriteOperation] = [
        create("/container", flags=opcodes.CONTAINER),
        requests.Create(0, opcodes.CREATE2, "/plain", b"", OPEN_ACL, 0),
        requests.Create(0, opcodes.CREATE_CONTAINER, "/too", b"", OPEN_ACL, 0),
    ]
    body = client.call(requests.Multi(1, parts)).body
    types = []
    for path in (b"/container", b"/plain", b"/too"):
        at = body.index(path) - 4 - 9  # a header of 9 bytes and the length of the path stand in front
        types.append(int.from_bytes(body[at : at + 4]))
    assert types == [opcodes.CREATE2] * 3
    assert set(machine.pipeline.tree.containers) == {"/container", "/too"}


def test_a_part_that_a_quota_cannot_judge_fails_the_multi_as_a_whole() -> None:
    machine = Machine(Settings(min_session_timeout_ms=100, enforce_quota=True))
    client = machine.client()
    client.call(create("/a"))
    for path, data in (("", b""), ("/zookeeper_limits", b"nonsense"), ("/zookeeper_stats", b"")):
        client.call(requests.Create(1, opcodes.CREATE, "/zookeeper/quota/a" + path, data, OPEN_ACL, 0))
    header, body = client.call(requests.Multi(2, [create("/b"), create("/a/b")]))
    assert (header.err, body) == (-5, b"")
    assert "/b" not in machine.pipeline.tree.nodes
    assert client.call(create("/b")).header.err == 0


def test_a_multi_read_sets_no_watches(machine: Machine) -> None:
    client = machine.client()
    client.call(create("/a"))
    client.call(requests.MultiRead(2, [requests.GetData(0, "/a", True), requests.GetChildren(0, "/a", True)]))
    assert len(machine.pipeline.readable.data_watches) == len(machine.pipeline.readable.child_watches) == 0
    client.send(requests.SetData(3, "/a", b"", -1), requests.Delete(4, "/a", -1))
    machine.persist()
    assert xids(client.received()) == [3, 4]


# --- counters at their end


@pytest.mark.parametrize("digests", [False, True])
def test_the_last_sequence_number_is_2147483647(digests: bool) -> None:
    """Behind it the count of creations stays, and the name with it; what is still under way counts on from below."""
    machine = Machine(Settings(min_session_timeout_ms=100, digest_enabled=digests))
    machine.pipeline.recovered()
    client = machine.client()
    client.call(create("/seq"))
    machine.pipeline.tree.nodes["/seq"].creations = 2**31 - 2
    digest = machine.pipeline.digest
    if digest is not None:
        digest.loaded(machine.pipeline.tree.last_zxid, None)
        machine.pipeline.recovered()

    def sequential(*numbers: int) -> list[tuple[int, str]]:
        client.send(*(create("/seq/s-", opcodes.PERSISTENT_SEQUENTIAL, xid) for xid in numbers))
        machine.persist()
        return [(each.header.err, each.body[4:].decode()) for each in client.answers()]

    assert sequential(1) == [(0, "/seq/s-2147483646")]
    assert sequential(2, 3) == [(0, "/seq/s-2147483647"), (0, "/seq/s--2147483648")]
    assert sequential(4) == [(-110, "")]
    node = machine.pipeline.tree.nodes["/seq"]
    assert (node.creations, node.child_count) == (2**31 - 1, 3)
    assert client.call(create("/seq/named")).header.err == 0
    if digest is not None:
        assert digest.latest().digest == digest_of(machine.pipeline.tree.nodes.items())
