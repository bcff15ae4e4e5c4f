"""The pipeline: what leaves, in which order, how late, and what must not be seen yet."""

import pytest

from coordination.state import final
from coordination.wire import opcodes, requests
from coordination.wire.records import OPEN_ACL
from coordination.wire.replies import WatcherEvent

from .conftest import Machine, create, xids

# --- durability and order


def test_nothing_of_a_write_shows_before_it_is_persisted(machine: Machine) -> None:
    writer, reader = machine.client(), machine.client()
    writer.send(create("/a", xid=1))
    assert writer.received() == []
    reader.send(requests.Exists(1, "/a", True))
    assert reader.answers()[0].header.err == -101
    machine.persist()
    assert xids(writer.received()) == [1]
    assert reader.received() == [WatcherEvent(opcodes.EVENT_CREATED, 3, "/a")]


def test_a_read_behind_an_own_write_waits_for_it_and_sees_it(machine: Machine) -> None:
    client = machine.client()
    client.send(
        create("/a", xid=1),
        requests.GetData(2, "/a", False),
        requests.SetData(3, "/a", b"new", -1),
        requests.GetData(4, "/a", False),
        requests.Ping(-2),
    )
    assert client.received() == []
    machine.persist()
    answers = client.answers()
    assert xids(answers) == [1, 2, 3, 4, -2]
    assert b"new" not in answers[1].body
    assert b"new" in answers[3].body


def test_a_prefix_may_be_persisted_first(machine: Machine) -> None:
    client = machine.client()
    first = machine.unpersisted_zxid
    client.send(
        create("/a", xid=1), requests.Exists(2, "/a", False), create("/b", xid=3), requests.Exists(4, "/b", False)
    )
    machine.take()
    machine.pipeline.persisted(first + 1)
    assert xids(client.received()) == [1, 2]
    machine.pipeline.persisted(first + 2)
    assert xids(client.received()) == [3, 4]


def test_the_event_precedes_the_reply_of_the_write_that_caused_it(machine: Machine) -> None:
    client = machine.client()
    client.call(create("/a"))
    client.call(requests.GetData(2, "/a", True))
    client.send(requests.SetData(3, "/a", b"w", -1), requests.GetData(4, "/a", False))
    machine.persist()
    assert xids(client.received()) == ["/a", 3, 4]


def test_another_reader_gets_the_event_before_the_data(machine: Machine) -> None:
    writer, reader = machine.client(), machine.client()
    writer.call(create("/a"))
    reader.call(requests.GetData(1, "/a", True))
    writer.send(requests.SetData(3, "/a", b"w", -1))
    machine.persist()
    reader.send(requests.GetData(2, "/a", False))
    assert xids(reader.received()) == ["/a", 2]


def test_a_failed_write_takes_a_zxid_and_is_logged(machine: Machine) -> None:
    client = machine.client()
    before = machine.unpersisted_zxid
    header, _ = client.call(create("/no/parent"))
    assert (header.err, header.zxid) == (-101, before + 1)
    header, _ = client.call(requests.GetData(2, "/none", False))
    assert (header.err, header.zxid) == (-101, before + 1)
    assert len(machine.log) == machine.unpersisted_zxid


def test_deletion_tells_data_and_child_watchers_once_each(machine: Machine) -> None:
    client, other = machine.client(), machine.client()
    client.call(create("/a"))
    other.call(requests.GetData(1, "/a", True))
    other.call(requests.GetChildren(2, "/a", True))
    other.call(requests.GetChildren(3, "/", True))
    client.call(requests.Delete(2, "/a", -1))
    assert other.received() == [
        WatcherEvent(opcodes.EVENT_DELETED, 3, "/a"),
        WatcherEvent(opcodes.EVENT_CHILDREN_CHANGED, 3, "/"),
    ]


def test_set_watches_tells_what_was_missed_before_its_reply(machine: Machine) -> None:
    client = machine.client()
    since = client.call(create("/changed", xid=1))[0].zxid
    client.call(create("/same", xid=2))
    client.call(requests.SetData(3, "/changed", b"w", -1))
    client.call(create("/new", xid=4))
    client.send(
        requests.SetWatches(-8, 101, since + 1, ["/changed", "/same", "/gone"], ["/new", "/never"], ["/same"], [], [])
    )
    assert xids(client.received()) == ["/changed", "/gone", "/new", -8]
    client.send(requests.SetData(5, "/same", b"w", -1), create("/never", xid=6))
    machine.persist()
    assert xids(client.received()) == ["/same", 5, "/never", 6]


def test_a_multi_is_all_or_nothing_and_a_later_request_sees_neither_half(machine: Machine) -> None:
    client = machine.client()
    client.send(
        requests.Multi(1, [create("/a"), create("/a/b"), requests.CheckVersion(0, "/a", 7)]),
        create("/a", xid=2),
        requests.Multi(3, [requests.SetData(0, "/a", b"x", 0), requests.Delete(0, "/a", -1)]),
    )
    machine.persist()
    answers = client.answers()
    assert answers[0].body.hex() == (
        "ffffffff00"
        + "00000000" * 2
        + "ffffffff00"
        + "00000000" * 2
        + "ffffffff00"
        + "ffffff99" * 2
        + "ffffffff01ffffffff"
    )
    assert [each.header.err for each in answers] == [0, 0, 0]
    assert "/a" not in machine.pipeline.tree.nodes
    machine.pipeline.tree.check_invariants()


def test_sequence_numbers_are_never_reused(machine: Machine) -> None:
    client = machine.client()
    names = []
    for xid in range(4):
        _, body = client.call(create("/q-", opcodes.PERSISTENT_SEQUENTIAL, xid))
        names.append(body[4:].decode())
        client.call(requests.Delete(100 + xid, names[-1], -1))
    assert names == [f"/q-{n:010d}" for n in range(4)]


def test_small_requests_for_large_values_wait_for_room(machine: Machine) -> None:
    """What a client asks for may be a thousand times larger than its request: it is answered as it is taken."""
    client = machine.client()
    client.call(requests.Create(1, opcodes.CREATE, "/big", bytes(400_000), OPEN_ACL, 0))
    client.send(
        *(requests.GetData(xid, "/big", False) for xid in range(8)),
        requests.SetData(8, "/big", b"small", -1),
        *(requests.GetData(xid, "/big", False) for xid in range(9, 12)),
    )
    machine.persist()
    rounds = []
    while got := [each.header.xid for each in client.answers()]:
        rounds.append(got)
        machine.pipeline.resume(client.connection)
        machine.persist()
    assert rounds == [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert not client.connection.waiting
    assert not client.connection.stalled


@pytest.mark.parametrize("kind", ["getData", "multiRead"])
def test_what_a_write_makes_large_is_read_as_it_is_taken_too(machine: Machine, kind: str) -> None:
    client = machine.client()
    client.call(create("/a"))
    client.send(
        requests.SetData(0, "/a", bytes(400_000), -1),
        *(
            requests.GetData(xid, "/a", False)
            if kind == "getData"
            else requests.MultiRead(xid, [requests.GetData(0, "/a", False)])
            for xid in range(1, 7)
        ),
    )
    machine.persist()
    rounds = []
    while got := [each.header.xid for each in client.answers()]:
        rounds.append(got)
        machine.pipeline.resume(client.connection)
    assert rounds == [[0, 1, 2, 3], [4, 5, 6]]


def test_who_gets_unexpectedly_large_answers_behind_a_write_gets_only_so_many(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(final, "HELD_BYTES_MAX", 1000)
    client = machine.client()
    client.call(requests.Create(1, opcodes.CREATE, "/a", bytes(600), OPEN_ACL, 0))
    client.send(
        requests.SetData(1, "/", b"", -1),
        *(requests.GetData(xid, "/a", False) for xid in range(2, 6)),
        create("/behind", xid=6),
    )
    machine.persist()
    assert xids(client.answers()) == [1, 2, 3]
    assert client.connection.closing
    assert "answers_too_large" in machine.facts
    assert "/behind" in machine.pipeline.tree.nodes


# --- how long requests took


def test_reads_are_counted_and_those_of_a_slow_round_timed(machine: Machine) -> None:
    client, counters = machine.client(), machine.pipeline.counters
    counters.reset()
    client.send(*[requests.GetData(each, "/", False) for each in (1, 2, 3)])
    assert (counters.reads, counters.read_latency_ms().count, counters.read_latency_ms().most) == (3, 3, 0)
    machine.pipeline.answered_late(7, 3, [client.connection])
    latency_ms = counters.read_latency_ms()
    assert (latency_ms.count, latency_ms.least, latency_ms.most, latency_ms.total) == (3, 7, 7, 21)
    assert (client.connection.last_latency_ms, client.connection.latency_total_ms) == (7, 21)


def test_a_read_behind_a_write_took_what_the_write_took(machine: Machine) -> None:
    client, counters = machine.client(), machine.pipeline.counters
    counters.reset()
    client.send(create("/a"), requests.GetData(2, "/a", False))
    machine.advance(9)
    machine.persist()
    assert [each.header.err for each in client.answers()] == [0, 0]
    latency_ms = counters.read_latency_ms()
    assert (latency_ms.count, latency_ms.most, counters.update_latency_ms.most) == (1, 9, 9)
