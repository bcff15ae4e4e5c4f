"""The pipeline, driven without socket, clock or disk: what leaves, in which order, and what must not be seen yet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from coordination.state.connection import Connection
from coordination.state.connection_throttle import ThrottleSettings
from coordination.state.pipeline import Pipeline
from coordination.state.ready import Settings
from coordination.state.sessions import LOOKED_AT_MAX, password_of
from coordination.wire import opcodes, requests
from coordination.wire.jute import unpack_int
from coordination.wire.records import OPEN_ACL, Acl, ConnectRequest, ConnectResponse, decode_connect_response
from coordination.wire.replies import ReplyHeader, WatcherEvent, decode_event, decode_header, frame
from coordination.wire.requests import encode

WALL_MS = 1_700_000_000_000


@dataclass
class Machine:
    """A pipeline and the log it believes in; nothing is persisted until the test says so."""

    settings: Settings = field(default_factory=lambda: Settings(min_session_timeout_ms=100))
    log: list[bytes] = field(default_factory=list)
    now_ms: int = 0

    def __post_init__(self) -> None:
        self.pipeline = Pipeline(self.settings, WALL_MS)
        self.keys = iter(range(1, 1000))
        self.facts: list[str] = []
        self.unpersisted_zxid = 0
        self.advance(0)

    def advance(self, ms: int) -> None:
        self.now_ms += ms
        self.pipeline.at(self.now_ms, WALL_MS + self.now_ms)

    def take(self) -> None:
        ready = self.pipeline.take()
        self.log += ready.persist
        self.unpersisted_zxid = ready.last_zxid
        self.facts += [fact.name for fact in ready.facts]

    def persist(self) -> None:
        """The log has everything; say so."""
        self.take()
        self.pipeline.persisted(self.unpersisted_zxid)
        self.take()

    def tick(self, ms: int) -> None:
        self.advance(ms)
        self.pipeline.tick()
        self.take()

    def client(self, **hello: Any) -> "Client":
        client = Client(self, self.pipeline.opened(next(self.keys), "127.0.0.1"))
        client.connect(**hello)
        return client

    def restart(self) -> "Machine":
        """What a server has after kill -9 that finds this log."""
        successor = Machine(self.settings, now_ms=self.now_ms)
        for payload in self.log:
            successor.pipeline.replay(payload)
        successor.pipeline.recovered()
        successor.log = list(self.log)
        return successor


class Answer(NamedTuple):
    header: ReplyHeader
    body: bytes


class Client:
    def __init__(self, machine: Machine, connection: Connection) -> None:
        self.machine = machine
        self.connection = connection
        self.session_id = 0
        self.xid = 0

    def connect(
        self, *, session_id: int = 0, password: bytes = bytes(16), timeout_ms: int = 1000, zxid: int = 0
    ) -> None:
        hello = ConnectRequest(0, zxid, timeout_ms, session_id, password, False)
        self.machine.pipeline.receive(self.connection, frame(hello.encode()))
        self.machine.persist()
        self.welcome: ConnectResponse | None = None
        raw = b"".join(self.connection.out)
        self.connection.out.clear()
        if raw:
            self.welcome = decode_connect_response(raw, 4, len(raw))
            self.session_id = self.welcome.session_id

    def send(self, *wanted: requests.Request) -> None:
        self.machine.pipeline.receive(self.connection, b"".join(encode(each) for each in wanted))

    def answers(self) -> list[Answer]:
        """What would have been sent by now; there must be no event in it."""
        received = self.received()
        found = [each for each in received if isinstance(each, Answer)]
        assert found == received
        return found

    def received(self) -> list[Answer | WatcherEvent]:
        """Everything that would have been sent by now."""
        raw = b"".join(self.connection.out)
        self.connection.out.clear()
        return list(self._frames(raw))

    def _frames(self, raw: bytes) -> Iterator[Answer | WatcherEvent]:
        pos = 0
        while pos < len(raw):
            end = pos + 4 + unpack_int(raw, pos)[0]
            header, after = decode_header(raw, pos + 4, end)
            yield decode_event(raw, after, end) if header.xid == -1 else Answer(header, raw[after:end])
            pos = end

    def call(self, request: requests.Request) -> Answer:
        """Send, persist, and the one answer."""
        self.send(request)
        self.machine.persist()
        answers = [each for each in self.received() if not isinstance(each, WatcherEvent)]
        assert len(answers) == 1
        return answers[0]


@pytest.fixture
def machine() -> Machine:
    return Machine()


def create(path: str, flags: int = 0, xid: int = 1, acl: tuple[Acl, ...] = OPEN_ACL) -> requests.Create:
    return requests.Create(xid, opcodes.CREATE, path, b"v", acl, flags)


def xids(received: Sequence[Answer | WatcherEvent]) -> list[int | str]:
    return [each.path if isinstance(each, WatcherEvent) else each.header.xid for each in received]


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
    assert [each.header.err for each in client.answers()][:2] == [0, 0]
    assert set(machine.pipeline.tree.nodes) == {"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"}


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
    client.send(create("/a"))  # never taken: the crash came first
    assert "/a" not in machine.restart().pipeline.tree.nodes


# --- refusals


def test_acls_are_enforced_and_events_filtered(machine: Machine) -> None:
    owner, stranger = machine.client(), machine.client()
    assert owner.call(requests.Auth(-4, "digest", b"bob:pw"))[0].err == 0
    secret = (Acl(31, "auth", ""),)
    assert owner.call(create("/s", acl=secret))[0].err == 0
    assert stranger.call(requests.GetData(1, "/s", False)).header.err == -102
    assert stranger.call(requests.SetData(2, "/s", b"x", -1))[0].err == -102
    assert stranger.call(create("/s/x"))[0].err == -102
    assert stranger.call(requests.GetAcl(4, "/s"))[0].err == -102
    stranger.call(requests.AddWatch(5, "/", opcodes.MODE_PERSISTENT_RECURSIVE))
    owner.call(requests.SetData(3, "/s", b"y", -1))
    assert stranger.received() == []


@pytest.mark.parametrize("opcode", [opcodes.DELETE_CONTAINER, opcodes.CREATE_SESSION, opcodes.ERROR, 999])
def test_internal_and_unknown_operations_are_refused_in_order(machine: Machine, opcode: int) -> None:
    client = machine.client()
    client.send(create("/a", xid=1))
    raw = frame((5).to_bytes(4, "big") + opcode.to_bytes(4, "big", signed=True))
    machine.pipeline.receive(client.connection, raw)
    machine.persist()
    answers = client.answers()
    assert [(each.header.xid, each.header.err) for each in answers] == [(1, 0), (5, -6)]
    assert answers[1].header.zxid == -1
    assert client.connection.closing


def test_a_record_that_cannot_be_read_is_answered_and_harms_nobody(machine: Machine) -> None:
    client = machine.client()
    machine.pipeline.receive(client.connection, frame(bytes.fromhex("00000007000000047fffffff")))
    assert client.answers()[0].header == ReplyHeader(7, machine.pipeline.tree.last_zxid, -5)
    assert client.call(create("/a"))[0].err == 0


NONSENSE = (-5).to_bytes(4, "big", signed=True)


def test_a_frame_that_cannot_be_ends_the_connection_in_the_read_that_opened_it(machine: Machine) -> None:
    connection = machine.pipeline.opened(1, "127.0.0.1")
    hello = ConnectRequest(0, 0, 1000, 0, bytes(16), False)
    machine.pipeline.receive(connection, frame(hello.encode()) + NONSENSE)
    assert connection.closing
    machine.persist()
    assert "protocol_violation" in machine.facts
    assert [each.connection for each in machine.pipeline.sessions.by_id.values()] == [None]


def test_a_frame_that_cannot_be_ends_the_connection_behind_a_write(machine: Machine) -> None:
    client = machine.client()
    raw = b"".join(encode(each) for each in (requests.Exists(1, "/", False), create("/a", xid=2), requests.Ping(-2)))
    machine.pipeline.receive(client.connection, raw + NONSENSE)
    assert client.connection.closing
    machine.persist()
    assert "protocol_violation" in machine.facts
    assert "/a" in machine.pipeline.tree.nodes


def test_set_watches_tells_what_was_missed_before_its_reply(machine: Machine) -> None:
    client = machine.client()
    since = client.call(create("/changed", xid=1))[0].zxid
    client.call(create("/same", xid=2))
    client.call(requests.SetData(3, "/changed", b"w", -1))
    now = client.call(create("/new", xid=4))[0].zxid
    client.send(
        requests.SetWatches(-8, 101, since + 1, ["/changed", "/same", "/gone"], ["/new", "/never"], ["/same"], [], [])
    )
    assert xids(client.received()) == ["/changed", "/gone", "/new", -8]
    client.send(requests.SetData(5, "/same", b"w", -1), create("/never", xid=6))
    machine.persist()
    assert xids(client.received()) == ["/same", 5, "/never", 6]
    assert now > since


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
    assert rounds == [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9], [10, 11]]
    assert not client.connection.waiting
    assert not client.connection.stalled


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


# --- what only a comparison with Apache ZooKeeper shows (tests/differential); its version is 3.9.5


def test_kinds_of_watch_and_modes_that_do_not_exist_are_marshalling_errors(machine: Machine) -> None:
    client = machine.client()
    client.send(requests.CheckWatches(1, "/", 0), requests.RemoveWatches(2, "/", 6), requests.AddWatch(3, "/", 2))
    assert [each.header.err for each in client.answers()] == [-5, -5, -5]


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
    client.call(requests.SetData(3, "/a", b"", -1))
    assert len(machine.pipeline.readable.data_watches) == len(machine.pipeline.readable.child_watches) == 0


@pytest.mark.parametrize(("opcode", "body"), [(opcodes.AUTH, b""), (opcodes.SASL, b""), (opcodes.SASL, b"\xff" * 4)])
def test_an_authentication_that_cannot_be_decoded_ends_the_connection_unanswered(
    machine: Machine, opcode: int, body: bytes
) -> None:
    client = machine.client()
    machine.pipeline.receive(client.connection, frame(b"\0\0\0\1" + opcode.to_bytes(4) + body))
    assert client.answers() == []
    assert client.connection.closing


@pytest.mark.parametrize("scheme", ["digest", ""])
def test_an_authentication_without_a_credential_fails(machine: Machine, scheme: str) -> None:
    client = machine.client()
    client.send(requests.Auth(-4, scheme, None))
    assert [each.header.err for each in client.answers()] == [-115]
    assert client.connection.closing
