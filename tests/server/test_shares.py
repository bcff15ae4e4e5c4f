"""Nobody gets more than their share: of a round, of the memory for what was not taken yet, of the log's lines, of the
searches; and who waits because the server is behind does not die of it.
"""

import io
import json
import time

import pytest

from coordination.auth.connection_auth import IDENTITIES_MAX, ConnectionAuth
from coordination.auth.settings import AuthSettings
from coordination.server import backlog, journal
from coordination.server.backlog import Backlog
from coordination.server.client import Client
from coordination.server.journal import Journal
from coordination.server.turns import COSTLY_NS, Turns
from coordination.state.data_tree import DataTree
from coordination.state.listings import KEPT_MAX, LONG, Listings
from coordination.state.pipeline import Pipeline
from coordination.state.ready import Settings
from coordination.state.txn import CreateTxn, DeleteTxn, TxnHeader
from coordination.wire import opcodes, requests
from coordination.wire.jute import put_strings
from coordination.wire.records import OPEN_ACL, ConnectRequest
from coordination.wire.replies import frame


def pipeline() -> Pipeline:
    made = Pipeline(Settings(), 1)
    made.at(0, 1)
    return made


def client(of: Pipeline, key: int) -> Client:
    connection = of.opened(key, "127.0.0.1")

    class Socket:
        def fileno(self) -> int:
            return key

    return Client(Socket(), "127.0.0.1", key, connection)  # type: ignore[arg-type]


# --- turns


def test_who_cost_much_rests_and_one_goes_on_per_round() -> None:
    machine, turns = pipeline(), Turns()
    cheap, costly, full = (client(machine, key) for key in (1, 2, 3))
    full.connection.stalled = True
    assert not turns.judge(cheap, COSTLY_NS - 1)
    assert turns.judge(costly, COSTLY_NS)
    assert turns.judge(full, 0)
    assert not turns.judge(costly, COSTLY_NS), "it rests already"
    assert turns
    assert [turns.next(), turns.next(), turns.next()] == [costly, full, None]
    assert not turns
    assert not any(each.resting for each in (costly, full))


def test_who_is_not_read_from_because_the_server_is_behind_does_not_expire() -> None:
    machine = pipeline()
    waits, silent = (machine.opened(key, "127.0.0.1") for key in (1, 2))
    for each in (waits, silent):
        machine.receive(each, frame(ConnectRequest(0, 0, 4000, 0, bytes(16)).encode()))
        machine.persisted(machine.take().last_zxid)
    machine.at(3999, 1)
    machine.heard([waits])
    machine.at(5000, 1)
    machine.tick()
    assert [fact.details["session_id"] for fact in machine.take().facts if fact.name == "session_expired"] == [
        silent.session_id
    ]


# --- what was not taken


def test_who_lets_events_pile_up_goes_but_a_large_answer_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "OUTPUT_BYTES_MAX", 100)
    held, slow = Backlog(), client(pipeline(), 1)
    held.keep(slow, b"x" * 5000, 0)
    assert list(held.too_slow(slow)) == []
    slow.connection.out += [b"event"] * 21
    held.keep(slow, b"x" * 4000, 0)
    assert slow.connection.out == []
    assert slow.held_bytes == 4105
    assert list(held.too_slow(slow)) == [slow]


def test_what_all_have_not_taken_is_bounded_and_the_longest_waiting_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "UNSENT_BYTES_MAX", 100)
    held, machine = Backlog(), pipeline()
    first, second, third = (client(machine, key) for key in (1, 2, 3))
    held.keep(first, b"x" * 40, 0)
    held.keep(second, b"x" * 40, 0)
    held.keep(first, b"x" * 30, 0)  # it took a little, and is still the one that waits longest
    held.keep(third, b"x" * 50, 0)
    gone = []
    for each in held.too_slow(third):
        gone.append(each)
        held.forget(each)
    assert gone == [first]
    held.taken(second)
    held.keep(first, b"x" * 50, 0)
    assert list(held.too_slow(first)) == []


# --- lines


def test_a_flood_of_what_anybody_can_provoke_is_told_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    stream = io.StringIO()
    told = Journal(stream=stream)
    for _ in range(500):
        told.write("protocol_violation", reason="x")
        told.write("serving")
    now[0] += 1
    told.write("protocol_violation", reason="y")
    told.write("protocol_violation", reason="z")
    lines = [json.loads(each) for each in stream.getvalue().splitlines()]
    violations = [each for each in lines if each["event"] == "protocol_violation"]
    assert len(lines) - len(violations) == 500
    assert len(violations) == journal.PROVOKED_PER_S + 2
    assert violations[-2]["not_told"] == 500 - journal.PROVOKED_PER_S
    assert "not_told" not in violations[-1]


# --- identities, lists, searches, deep trees


def test_a_connection_has_so_many_identities_and_no_more() -> None:
    auth = ConnectionAuth(AuthSettings(), "127.0.0.1")
    verdicts = [auth.auth("digest", b"u%d:p" % number) for number in range(IDENTITIES_MAX)]
    assert [each.code for each in verdicts] == [0] * (IDENTITIES_MAX - 1) + [-115]  # the first one is its address
    assert verdicts[-1].close
    assert "no more are taken" in verdicts[-1].why


def tree_of(*paths: str) -> DataTree:
    tree = DataTree()
    for zxid, path in enumerate(paths, 1):
        tree.apply(TxnHeader(0, 0, zxid, 0, opcodes.CREATE), CreateTxn(path, b"", OPEN_ACL, False, -1), [])
    return tree


def test_a_long_list_is_encoded_once_until_a_child_comes_or_goes() -> None:
    names = [f"c{number}" for number in range(LONG)]
    tree, listings = tree_of("/a", *(f"/a/{name}" for name in names)), Listings()
    node = tree.nodes["/a"]
    first = listings.of("/a", node)
    assert first == put_strings(names)
    assert listings.of("/a", node) is first
    header = TxnHeader(0, 0, tree.last_zxid + 1, 0, opcodes.DELETE)
    tree.apply(header, DeleteTxn("/a/c0"), [])
    assert listings.of("/a", node) == put_strings(names[1:])
    tree.apply(header._replace(zxid=header.zxid + 1), CreateTxn("/a/d", b"", OPEN_ACL, False, -1), [])
    assert listings.of("/a", node) == put_strings([*names[1:], "d"])
    for number in range(KEPT_MAX + 3):
        listings.of(f"/{number}", node)
    assert len(listings._kept) == KEPT_MAX


@pytest.mark.parametrize("searched", [requests.GetAllChildrenNumber(2, "/none"), requests.GetEphemerals(2, "/none")])
def test_searches_have_a_price(searched: requests.Request) -> None:
    """Two thousand of them fit into one receive; each looks through everything and answers next to nothing."""
    machine = pipeline()
    connection = machine.opened(1, "127.0.0.1")
    machine.receive(connection, frame(ConnectRequest(0, 0, 10_000, 0, bytes(16)).encode()))
    machine.persisted(machine.take().last_zxid)
    for number in range(2000):
        create = requests.Create(1, opcodes.CREATE, f"/{number}", b"", OPEN_ACL, opcodes.EPHEMERAL)
        machine.receive(connection, requests.encode(create))
        machine.persisted(machine.take().last_zxid)
    connection.out.clear()
    machine.receive(connection, requests.encode(searched) * 2000)
    assert connection.stalled
    assert len(connection.deferred) > 1900


def test_a_deep_subtree_of_a_fuzzy_snapshot_is_dropped_without_recursion() -> None:
    paths = ["/a"]
    for _ in range(3000):
        paths.append(paths[-1] + "/x")
    tree = tree_of(*paths)
    assert tree.descendants("/a") == 3000
    tree.apply(TxnHeader(0, 0, 5000, 0, opcodes.DELETE), DeleteTxn("/a"), [])
    assert [path for path in tree.nodes if path.startswith("/a")] == []
    tree.check_invariants()
