"""The tools' client against a server of ours: every operation, watches, reconnects; and against strangers."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from coordination import errors
from coordination.errors import ConnectionLossError, KeeperError
from coordination.testing import server
from coordination.tools.answers import WriteResult
from coordination.tools.client import Client, LocalPathError
from coordination.tools.connect_string import parse
from coordination.tools.connection import Connection, State
from coordination.tools.watch_table import Event
from coordination.wire import opcodes
from coordination.wire.frames import FrameBuffer
from coordination.wire.records import OPEN_ACL, READ_ACL, Acl, ConnectResponse
from coordination.wire.replies import frame, reply
from coordination.wire.requests import CheckVersion, Create, Delete, GetChildren, GetData, Ping, SetData, encode

WAIT_S = 20.0


class Heard:
    """Events, and a way to wait for one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._more = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._more:
            self.events.append(event)
            self._more.notify_all()

    def wait_for(self, wanted: Callable[[Event], bool]) -> Event:
        with self._more:
            assert self._more.wait_for(lambda: any(map(wanted, self.events)), WAIT_S), self.events
            return next(filter(wanted, self.events))

    @property
    def of_watches(self) -> list[tuple[int, str | None]]:
        return [(each.type, each.path) for each in self.events if each.type != -1]


def test_what_is_written_is_read(client: Client, top: str) -> None:
    path, created = client.create(f"{top}/a", b"one")
    assert path == f"{top}/a"
    assert client.get(path) == (b"one", created)
    changed = client.set(path, b"two", 0)
    assert changed.version == 1
    assert client.exists(path) == changed
    assert client.children(top)[0] == client.child_names(top) == ["a"]
    assert client.all_children_number(top) == 1
    client.sync(path)
    client.delete(path, 1)
    assert client.exists(path) is None


def test_a_value_of_null_is_not_an_empty_one(client: Client, top: str) -> None:
    client.create(f"{top}/null", None)
    client.create(f"{top}/empty", b"")
    assert client.get(f"{top}/null")[0] is None
    assert client.get(f"{top}/empty")[0] == b""


def test_every_kind_of_znode(client: Client, top: str) -> None:
    session = client.connection.session_id
    assert client.create(f"{top}/e", b"", flags=opcodes.EPHEMERAL)[1].ephemeral_owner == session
    first, _ = client.create(f"{top}/s-", b"", flags=opcodes.PERSISTENT_SEQUENTIAL)
    assert first == f"{top}/s-0000000001"
    assert client.create(f"{top}/es-", b"", flags=opcodes.EPHEMERAL_SEQUENTIAL)[0] == f"{top}/es-0000000002"
    assert client.create(f"{top}/c", b"", flags=opcodes.CONTAINER)[1].ephemeral_owner == 0
    path, _ = client.create(f"{top}/t", b"", flags=opcodes.PERSISTENT_WITH_TTL, ttl_ms=60_000)
    assert path == f"{top}/t"
    kind = opcodes.PERSISTENT_SEQUENTIAL_WITH_TTL
    assert client.create(f"{top}/ts-", b"", flags=kind, ttl_ms=60_000)[0] == f"{top}/ts-0000000005"
    # A sequential znode may be asked for with a name that is empty but for its number.
    assert client.create(f"{top}/", b"", flags=opcodes.PERSISTENT_SEQUENTIAL)[0] == f"{top}/0000000006"
    assert sorted(client.ephemerals(top)) == [f"{top}/e", f"{top}/es-0000000002"]
    assert client.ephemerals("/nowhere") == []


def test_acls_and_identities(client: Client, top: str) -> None:
    client.add_auth("digest", b"alice:secret")
    assert ("digest", "alice") in client.who_am_i()
    client.create(f"{top}/a", b"", (Acl(31, "auth", ""),))
    acl, _ = client.get_acl(f"{top}/a")
    assert acl[0].scheme == "digest"
    assert client.set_acl(f"{top}/a", READ_ACL).aversion == 1
    with pytest.raises(errors.NoAuthError) as raised:
        client.set(f"{top}/a", b"x")
    assert raised.value.path == f"{top}/a"


def test_a_refused_identity_ends_the_client(zk: server.Server) -> None:
    heard = Heard()
    client = Client(parse(zk.connect), on_event=heard).start()
    with pytest.raises(errors.AuthFailedError):
        client.add_auth("nosuchscheme", b"x")
    heard.wait_for(lambda event: event.state == "AuthFailed")
    with pytest.raises(errors.AuthFailedError):
        client.exists("/")
    client.close()


def test_a_multi_is_all_or_nothing(client: Client, top: str) -> None:
    done: list[WriteResult] = client.multi(
        [
            Create(0, opcodes.CREATE2, f"{top}/a", b"", OPEN_ACL, 0),
            Create(0, opcodes.CREATE, f"{top}/b", b"", OPEN_ACL, 0),
            SetData(0, f"{top}/a", b"x", 0),
            CheckVersion(0, f"{top}/a", 1),
            Delete(0, f"{top}/b", 0),
        ]
    )
    created, path, stat, checked, deleted = done
    assert isinstance(created, tuple)
    assert created[0] == f"{top}/a"
    assert path == f"{top}/b"
    assert stat == client.exists(f"{top}/a")
    assert checked is deleted is None
    refused = client.multi([SetData(0, f"{top}/a", b"y", 1), Delete(0, f"{top}/no", -1), Delete(0, f"{top}/a", -1)])
    assert refused[0] is None
    assert [type(each) for each in refused[1:]] == [errors.NoNodeError, errors.RuntimeInconsistencyError]
    assert client.get(f"{top}/a")[0] == b"x"


def test_a_multi_read_answers_each_for_itself(client: Client, top: str) -> None:
    value, missing, names = client.multi_read(
        [GetData(0, top, False), GetData(0, f"{top}/no", False), GetChildren(0, top, False)]
    )
    assert value == client.get(top)
    assert isinstance(missing, errors.NoNodeError)
    assert names == []


def test_the_ensembles_configuration(client: Client) -> None:
    assert client.get_config()[0] is not None
    with pytest.raises(KeeperError):
        client.reconfigure("server.2=h:1:2;3", None, None)


def test_one_shot_watches_fire_once_before_the_reply(zk: server.Server, top: str) -> None:
    heard = Heard()
    with Client(parse(zk.connect), on_event=heard).start() as client:
        client.get(top, watch=True)
        client.child_names(top, watch=True)
        client.exists(f"{top}/a", watch=True)
        client.set(top, b"1")
        # The event of our own write is here when the write returns.
        assert heard.of_watches == [(opcodes.EVENT_DATA_CHANGED, top)]
        client.set(top, b"2")
        client.create(f"{top}/a", b"")
        client.create(f"{top}/b", b"")
        assert heard.of_watches[1:] == [
            (opcodes.EVENT_CREATED, f"{top}/a"),
            (opcodes.EVENT_CHILDREN_CHANGED, top),
        ]
        assert len(client.connection.watches) == 0


def test_persistent_watches_and_their_removal(zk: server.Server, top: str) -> None:
    heard = Heard()
    with Client(parse(zk.connect), on_event=heard).start() as client:
        client.add_watch(top, recursive=True)
        client.create(f"{top}/a", b"")
        client.set(f"{top}/a", b"x")
        client.delete(f"{top}/a")
        kinds = [kind for kind, _ in heard.of_watches]
        assert kinds == [opcodes.EVENT_CREATED, opcodes.EVENT_DATA_CHANGED, opcodes.EVENT_DELETED]
        client.check_watches(top, opcodes.WATCHES_PERSISTENT_RECURSIVE)
        client.remove_watches(top, opcodes.WATCHES_PERSISTENT_RECURSIVE)
        assert heard.of_watches[-1] == (7, top)
        client.create(f"{top}/b", b"")
        assert len(heard.of_watches) == 4
        with pytest.raises(errors.NoWatcherError):
            client.remove_watches(top)
        client.add_watch(top, recursive=False)
        client.set(top, b"y")
        client.create(f"{top}/c", b"")
        assert [kind for kind, _ in heard.of_watches[4:]] == [
            opcodes.EVENT_DATA_CHANGED,
            opcodes.EVENT_CHILDREN_CHANGED,
        ]


def test_a_chroot_is_seen_nowhere(zk: server.Server, top: str) -> None:
    heard = Heard()
    with Client(parse(f"{zk.connect}{top}"), on_event=heard).start() as client:
        client.add_watch("/", recursive=True)
        assert client.create("/a", b"")[0] == "/a"
        assert client.create("/e", b"", flags=opcodes.EPHEMERAL)[0] == "/e"
        assert client.ephemerals("/") == ["/e"]
        assert heard.of_watches == [(opcodes.EVENT_CREATED, "/a"), (opcodes.EVENT_CREATED, "/e")]
        with pytest.raises(errors.NoNodeError) as raised:
            client.get("/no")
        assert raised.value.path == "/no"
        assert client.get_config()[1] is not None
        assert [type(each) for each in client.multi([Delete(0, "/a", -1)])] == [type(None)]
    with Client(parse(zk.connect)).start() as outside:
        assert outside.child_names(top) == []


def test_a_path_that_is_none_is_not_sent(client: Client) -> None:
    with pytest.raises(LocalPathError, match="must start with"):
        client.get("a")


def test_closing_ends_the_session(zk: server.Server, top: str, client: Client) -> None:
    heard = Heard()
    other = Client(parse(zk.connect), on_event=heard).start()
    other.create(f"{top}/e", b"", flags=opcodes.EPHEMERAL)
    other.close()
    assert client.exists(f"{top}/e") is None
    assert [event.state for event in heard.events] == ["SyncConnected", "Closed"]
    other.close()
    with pytest.raises(ConnectionLossError, match="closed"):
        other.exists("/")


def test_a_restart_keeps_session_identities_and_watches(tmp_path: Path) -> None:
    heard = Heard()
    with server.serve(tmp_path / "data") as running:
        client = Client(parse(running.connect), on_event=heard, session_timeout_ms=20_000).start()
        client.add_auth("digest", b"u:p")
        client.create("/a", b"", (Acl(31, "auth", ""),))
        client.create("/e", b"", flags=opcodes.EPHEMERAL)
        client.get("/a", watch=True)
        client.add_watch("/", recursive=True)
        session = client.connection.session_id
        running.kill()
        heard.wait_for(lambda event: event.state == "Disconnected")
        with pytest.raises(ConnectionLossError, match=r"not connected|connection lost"):
            client.exists("/")
        running.serve()
        client.connection.wait_connected(WAIT_S)
        assert client.connection.session_id == session
        assert client.ephemerals() == ["/e"]
        client.set("/a", b"x")
        changed = [path for kind, path in heard.of_watches if kind == opcodes.EVENT_DATA_CHANGED]
        # One event per watch or one for both: ZooKeeper sends one. What counts is that it came before the reply.
        assert changed[:1] == ["/a"]
        client.close()


def test_a_session_that_is_gone_is_expired(zk: server.Server) -> None:
    heard = Heard()
    connection = Connection(parse(zk.connect), session=(0x1234, b"wrong".ljust(16)), on_event=heard)
    with pytest.raises(errors.SessionExpiredError):
        connection.start(WAIT_S)
    assert [event.state for event in heard.events] == ["Expired"]


def test_another_server_of_the_list_is_taken(zk: server.Server) -> None:
    with Client(parse(f"127.0.0.1:1,{zk.connect},127.0.0.1:1")).start(WAIT_S) as client:
        assert client.state is State.CONNECTED


@contextmanager
def listener(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does `behave` with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run() -> None:
            while True:
                try:
                    accepted, _ = listening.accept()
                except OSError:
                    return
                with accepted, suppress(ConnectionError):
                    behave(accepted)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(WAIT_S)


STRANGERS = [
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not ZooKeeper's protocol"),
    (b"\x15\x03\x03\x00\x02\x02\x32", "not ZooKeeper's protocol"),
    (b"\xff\xff\xff\xff", "not ZooKeeper's protocol"),
    (b"\x00\x00\x00\x04abcd", "at least"),
    (b"", "closed the connection at once"),
]


@pytest.mark.parametrize(("answer", "reason"), STRANGERS)
def test_a_stranger_is_told_apart(answer: bytes, reason: str) -> None:
    def behave(accepted: socket.socket) -> None:
        accepted.recv(4096)
        if answer:
            accepted.sendall(answer)
            accepted.recv(4096)

    with listener(behave) as where, pytest.raises(ConnectionLossError, match=reason):
        Client(parse(where)).start(0.5)


def test_nobody_there() -> None:
    with pytest.raises(ConnectionLossError, match="connection refused"):
        Client(parse("127.0.0.1:1")).start(0.3)


def speak(answer_pings: bool, pings: list[int], enough: threading.Event) -> Callable[[socket.socket], None]:
    """A server that takes every session for 300 ms, and answers pings or nothing at all."""

    def behave(accepted: socket.socket) -> None:
        frames = FrameBuffer()
        first = True
        while data := accepted.recv(4096):
            for buffer, start, end in frames.frames(data):
                if first:
                    accepted.sendall(frame(ConnectResponse(0, 300, 7, bytes(16)).encode()))
                    first = False
                elif buffer[start:end] == encode(Ping(opcodes.XID_PING))[4:]:
                    pings.append(1)
                    if answer_pings:
                        accepted.sendall(reply(opcodes.XID_PING, 1))
                    if len(pings) == 4:
                        enough.set()

    return behave


def test_pings_keep_an_idle_session() -> None:
    heard, enough = Heard(), threading.Event()
    with listener(speak(True, [], enough)) as where:
        client = Client(parse(where), on_event=heard).start()
        assert enough.wait(WAIT_S)
        assert [event.state for event in heard.events] == ["SyncConnected"]
        client.connection.close(timeout_s=0)


def test_a_server_that_falls_silent_is_left() -> None:
    heard = Heard()
    with listener(speak(False, [], threading.Event())) as where:
        client = Client(parse(where), on_event=heard).start()
        with pytest.raises(ConnectionLossError, match="has not answered for"):
            client.exists("/")
        heard.wait_for(lambda event: event.state == "Disconnected")
        client.connection.close(timeout_s=0)


def test_an_answer_nobody_asked_for_ends_the_connection() -> None:
    def behave(accepted: socket.socket) -> None:
        accepted.recv(4096)
        accepted.sendall(frame(ConnectResponse(0, 30_000, 7, bytes(16)).encode()) + reply(99, 1))
        accepted.recv(4096)

    heard = Heard()
    with listener(behave) as where:
        client = Client(parse(where), on_event=heard).start()
        heard.wait_for(lambda event: event.state == "Disconnected")
        client.connection.close(timeout_s=0)
