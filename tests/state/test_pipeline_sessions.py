"""Sessions: who gets one, who takes it over, how it ends, what a restart keeps; and containers, which go with time."""

import pytest

from coordination.state import containers
from coordination.state.connection_throttle import ThrottleSettings
from coordination.state.ready import Settings
from coordination.state.sessions import LOOKED_AT_MAX, password_of
from coordination.wire import opcodes, requests
from coordination.wire.records import OPEN_ACL, ConnectResponse
from coordination.wire.replies import WatcherEvent

from .conftest import Machine, create, xids

# --- sessions


def test_expiry_deletes_ephemerals_and_closes_the_connection(machine: Machine) -> None:
    client, other = machine.client(timeout_ms=1000), machine.client(timeout_ms=10_000)
    client.call(create("/e", opcodes.EPHEMERAL))
    other.call(requests.Exists(1, "/e", True))
    machine.tick(990)
    assert "/e" in machine.pipeline.tree.nodes
    machine.tick(30)
    client.send(requests.GetData(9, "/e", False))  # closing, not yet closed
    assert client.answers()[0].header.err == -112
    machine.persist()
    assert client.connection.closing
    assert other.received() == [WatcherEvent(opcodes.EVENT_DELETED, 3, "/e")]
    assert "session_expired" in machine.facts
    late = machine.client(session_id=client.session_id, password=password_of(client.session_id))
    assert late.welcome == ConnectResponse(0, 0, 0, bytes(16), False)


def test_sessions_with_many_ephemerals_end_in_turns(machine: Machine) -> None:
    for number in range(3):
        client = machine.client(timeout_ms=1000)
        for n in range(2 * LOOKED_AT_MAX):
            client.send(create(f"/{number}-{n}", opcodes.EPHEMERAL))
        machine.persist()
    machine.advance(1020)
    left = []
    while machine.pipeline.sessions:
        machine.tick(0)
        machine.persist()
        left.append(len(machine.pipeline.sessions))
    assert left == [2, 1, 0]


def test_pings_keep_a_session(machine: Machine) -> None:
    client = machine.client(timeout_ms=1000)
    for _ in range(10):
        machine.tick(500)
        client.send(requests.Ping(-2))
    assert client.session_id in machine.pipeline.sessions.by_id


def test_eof_does_not_end_a_session(machine: Machine) -> None:
    client = machine.client()
    client.call(create("/e", opcodes.EPHEMERAL))
    machine.pipeline.closed(client.connection)
    assert "/e" in machine.pipeline.tree.nodes
    again = machine.client(session_id=client.session_id, password=password_of(client.session_id))
    assert again.session_id == client.session_id


def test_reattaching_takes_the_new_timeout_and_the_old_connection_ends(machine: Machine) -> None:
    client = machine.client(timeout_ms=40_000)
    again = machine.client(session_id=client.session_id, password=password_of(client.session_id), timeout_ms=200)
    assert again.welcome is not None
    assert again.welcome.timeout_ms == 200
    assert client.connection.closing
    machine.tick(220)
    machine.persist()
    assert len(machine.pipeline.sessions) == 0


def test_a_wrong_password_gets_no_session_but_ends_the_connection_as_the_real_one_does(machine: Machine) -> None:
    client = machine.client()
    thief = machine.client(session_id=client.session_id, password=b"x" * 16)
    assert thief.welcome == ConnectResponse(0, 0, 0, bytes(16), False)
    assert thief.connection.closing
    assert client.connection.closing
    assert client.session_id in machine.pipeline.sessions.by_id


def test_a_client_from_the_future_is_closed_without_a_word(machine: Machine) -> None:
    client = machine.client(zxid=1 << 40)
    assert client.welcome is None
    assert client.connection.closing


def test_timeouts_are_clamped(machine: Machine) -> None:
    for asked, given in ((1, 100), (777, 777), (10**7, 40_000)):
        client = machine.client(timeout_ms=asked)
        assert client.welcome is not None
        assert client.welcome.timeout_ms == given


def test_a_death_certificate_closes_the_session_of_somebody_else(machine: Machine) -> None:
    """Design section 6: re-attach with id and password, then closeSession."""
    broker, watcher = machine.client(), machine.client()
    broker.call(create("/w", opcodes.EPHEMERAL))
    watcher.call(requests.Exists(1, "/w", True))
    undertaker = machine.client(session_id=broker.session_id, password=password_of(broker.session_id))
    header, _ = undertaker.call(requests.CloseSession(1))
    assert header.err == 0
    assert undertaker.connection.closing
    assert watcher.received() == [WatcherEvent(opcodes.EVENT_DELETED, 3, "/w")]


def test_an_ephemeral_still_under_way_goes_with_its_session(machine: Machine) -> None:
    client = machine.client()
    client.send(create("/e", opcodes.EPHEMERAL), requests.CloseSession(2), create("/late", xid=3))
    machine.persist()
    assert xids(client.answers()) == [1, 2]
    assert set(machine.pipeline.tree.nodes) == {"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"}


# --- a storm of ConnectRequests


def test_who_finds_no_token_is_closed_and_may_come_back() -> None:
    machine = Machine(Settings(connection_throttle=ThrottleSettings(tokens=1, fill_ms=1000)))
    first, second = machine.client(), machine.client()
    assert first.welcome is not None
    assert second.welcome is None
    assert second.connection.closing
    assert machine.facts.count("connection_refused") == 1
    counters = machine.pipeline.counters
    assert (counters.connections_throttled, counters.connect_requests, counters.token_deficit.most) == (1, 1, 1)
    machine.advance(2001)
    assert machine.client().welcome is not None


# --- restart


def test_a_restart_keeps_znodes_sessions_and_zxids(machine: Machine) -> None:
    client = machine.client(timeout_ms=5000)
    client.call(create("/a"))
    client.call(create("/e", opcodes.EPHEMERAL))
    gone = machine.client()
    gone.call(requests.CloseSession(1))
    successor = machine.restart()
    assert {"/a", "/e"} <= set(successor.pipeline.tree.nodes)
    assert list(successor.pipeline.sessions.by_id) == [client.session_id]
    successor.tick(4900)
    again = successor.client(session_id=client.session_id, password=password_of(client.session_id), timeout_ms=5000)
    assert again.session_id == client.session_id
    header, _ = again.call(create("/b"))
    assert header.zxid == len(successor.log)
    assert successor.client().session_id not in (client.session_id, gone.session_id)


def test_what_was_decided_but_not_in_the_log_did_not_happen(machine: Machine) -> None:
    client = machine.client()
    client.send(create("/a", xid=1), create("/b", xid=2))
    machine.take()
    assert client.received() == []
    machine.log.pop()  # the crash came in the middle of the batch
    successor = machine.restart()
    assert "/a" in successor.pipeline.tree.nodes
    assert "/b" not in successor.pipeline.tree.nodes
    again = successor.client(session_id=client.session_id, password=password_of(client.session_id))
    header, _ = again.call(create("/b"))
    assert (header.err, header.zxid) == (0, len(successor.log))


# --- containers


def test_an_emptied_container_is_removed_and_a_new_one_is_not(machine: Machine) -> None:
    client = machine.client(timeout_ms=40_000)
    for path in ("/c", "/fresh"):
        client.call(requests.Create(1, opcodes.CREATE_CONTAINER, path, b"", OPEN_ACL, opcodes.CONTAINER))
    client.call(create("/c/x"))
    client.call(requests.Delete(3, "/c/x", -1))
    due = machine.pipeline.next_deadline()
    assert due is not None
    for _ in range(100):
        client.send(requests.Ping(-2))
        machine.tick(1000)
    machine.persist()
    assert "/c" not in machine.pipeline.tree.nodes
    assert "/fresh" in machine.pipeline.tree.nodes


def test_a_container_that_is_never_used_goes_when_that_is_wanted_and_few_at_a_time() -> None:
    settings = Settings(container_never_used_ms=1000, containers_per_minute=120, container_check_ms=5000)
    machine = Machine(settings)
    client = machine.client(timeout_ms=40_000)
    for number in range(5):
        client.call(requests.Create(1, opcodes.CREATE_CONTAINER, f"/c{number}", b"", OPEN_ACL, opcodes.CONTAINER))
    machine.pipeline.next_deadline()
    left = []
    for waited_ms in (999, 4001, 999, 1, 1000):
        machine.tick(waited_ms)
        machine.persist()
        machine.pipeline.next_deadline()
        left.append(len(machine.pipeline.tree.containers))
    assert left == [5, 3, 3, 1, 0]


def test_a_look_at_many_ttl_nodes_is_many_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "LOOKED_AT_MAX", 4)
    machine = Machine(Settings(extended_types=True, container_check_ms=1000))
    client = machine.client(timeout_ms=40_000)
    for number, ttl_ms in enumerate([500, 100_000, 500, 100_000, 100_000, 500]):
        client.call(requests.CreateTtl(1, f"/t{number}", b"", OPEN_ACL, opcodes.PERSISTENT_WITH_TTL, ttl_ms))
    left = []
    for waited_ms in (0, 1000, containers.REST_MS, 999, 1):
        machine.tick(waited_ms)
        machine.persist()
        left.append(list(machine.pipeline.tree.ttls))
        machine.pipeline.next_deadline()
    some, rest = ["/t1", "/t3", "/t4", "/t5"], ["/t1", "/t3", "/t4"]
    assert left == [[f"/t{number}" for number in range(6)], some, rest, rest, rest]
    assert machine.pipeline.next_deadline() == machine.now_ms + 1000
