"""The server as a process, spoken to by kazoo and by raw frames: what only real sockets, disks and kills show."""

# mypy: disable-error-code="no-untyped-call"
import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError, NoNodeError, RolledBackError, RuntimeInconsistency
from kazoo.protocol.states import EventType, WatchedEvent

from coordination.state.sessions import password_of
from coordination.testing.server import Server, serve
from coordination.wire.records import OPEN_ACL, ConnectRequest, decode_connect_response
from coordination.wire.replies import frame
from coordination.wire.requests import CloseSession, Create, GetData, encode


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve(options=["--4lw", "all"]) as running:
        yield running


@pytest.fixture
def zk(server: Server) -> Iterator[KazooClient]:
    client = connected(server)
    yield client
    client.stop()
    client.close()


def connected(server: Server, timeout_s: float = 10.0, **options: object) -> KazooClient:
    client = KazooClient(server.connect, timeout=timeout_s, **options)
    client.start(10)
    return client


class Raw:
    """A client that is a socket."""

    def __init__(self, server: Server, *, session_id: int = 0, password: bytes = bytes(16), timeout_ms: int = 10_000):
        self.sock = socket.create_connection(("127.0.0.1", server.port), 10)
        self.sock.sendall(frame(ConnectRequest(0, 0, timeout_ms, session_id, password, False).encode()))
        raw = self.frame()
        self.welcome = decode_connect_response(raw, 0, len(raw))

    def frame(self) -> bytes:
        length = struct.unpack(">i", self._exactly(4))[0]
        return self._exactly(length)

    def _exactly(self, wanted: int) -> bytes:
        found = b""
        while len(found) < wanted:
            piece = self.sock.recv(wanted - len(found))
            if not piece:
                raise EOFError
            found += piece
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


def word(server: Server, text: str) -> str:
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.sendall(text.encode())
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()


# --- kazoo's own API


def test_the_life_of_a_znode(zk: KazooClient) -> None:
    assert zk.create("/life", b"1") == "/life"
    with pytest.raises(NodeExistsError):
        zk.create("/life", b"")
    data, stat = zk.get("/life")
    assert (data, stat.version, stat.dataLength) == (b"1", 0, 1)
    assert zk.set("/life", b"22", version=0).version == 1
    assert zk.create("/life/child-", sequence=True, ephemeral=True) == "/life/child-0000000000"
    assert zk.get_children("/life") == ["child-0000000000"]
    zk.delete("/life", recursive=True)
    assert zk.exists("/life") is None
    with pytest.raises(NoNodeError):
        zk.get("/life")


def test_a_transaction(zk: KazooClient) -> None:
    refused = zk.transaction()
    refused.create("/t", b"")
    refused.check("/nothing", 0)
    refused.create("/t2", b"")
    results = refused.commit()
    assert [type(each) for each in results] == [RolledBackError, NoNodeError, RuntimeInconsistency]
    assert zk.exists("/t") is None
    accepted = zk.transaction()
    accepted.create("/t", b"")
    accepted.set_data("/t", b"x")
    accepted.delete("/t")
    results = accepted.commit()
    assert results[0] == "/t"
    assert results[1].version == 1
    assert results[2] is True


def test_a_watch(zk: KazooClient) -> None:
    zk.create("/w", b"")
    heard = threading.Event()
    events: list[WatchedEvent] = []

    def hear(event: WatchedEvent) -> None:
        events.append(event)
        heard.set()

    zk.get("/w", watch=hear)
    zk.set("/w", b"x")
    assert heard.wait(10)
    assert (events[0].type, events[0].path) == (EventType.CHANGED, "/w")
    zk.delete("/w")


def test_a_large_value_and_many_children(zk: KazooClient) -> None:
    value = os.urandom(900_000)
    zk.create("/large", value)
    assert zk.get("/large")[0] == value
    zk.delete("/large")
    zk.ensure_path("/many")
    for answer in [zk.create_async(f"/many/{n:05d}", b"") for n in range(2000)]:
        answer.get(30)
    assert len(zk.get_children("/many")) == 2000
    zk.delete("/many", recursive=True)


# --- sessions


def test_a_silent_client_expires_in_its_time(server: Server, zk: KazooClient) -> None:
    """T + one bucket, seen by a watcher; EOF alone would not have ended it."""
    with Raw(server, timeout_ms=300) as raw:
        raw.sock.sendall(encode(Create(1, 1, "/silent", b"", OPEN_ACL, 1)))
        raw.frame()
    gone = threading.Event()
    assert zk.exists("/silent", watch=lambda _: gone.set()) is not None
    assert gone.wait(5)
    with Raw(server, session_id=raw.welcome.session_id, password=raw.welcome.password) as late:
        assert late.welcome.timeout_ms == 0


def test_a_death_certificate(server: Server, zk: KazooClient) -> None:
    with Raw(server, timeout_ms=60_000) as victim:
        victim.sock.sendall(encode(Create(1, 1, "/victim", b"", OPEN_ACL, 1)))
        victim.frame()
        gone = threading.Event()
        assert zk.exists("/victim", watch=lambda _: gone.set()) is not None
        with Raw(server, session_id=victim.welcome.session_id, password=victim.welcome.password) as undertaker:
            undertaker.sock.sendall(encode(CloseSession(1)))
            undertaker.frame()
        assert gone.wait(5)
        assert victim.sock.recv(1) == b""


# --- durability


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        client = connected(server)
        session_id, password = client.client_id
        for n in range(50):
            client.create(f"/n-{n}", b"x")
        client.create("/mine", b"", ephemeral=True)
        assert password == password_of(session_id)
        server.kill()
        server.restart()
        with Raw(server, session_id=session_id, password=password) as again:
            assert again.welcome.session_id == session_id
            again.sock.sendall(encode(GetData(1, "/mine", False)))
            assert struct.unpack(">iqi", again.frame()[:16])[2] == 0
        client.stop()
        client.close()
        reader = connected(server)
        assert sum(name.startswith("n-") for name in reader.get_children("/")) == 50
        reader.stop()
        reader.close()


def test_sigterm_ends_with_0_and_keeps_everything(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        client = connected(server)
        client.create("/kept", b"x")
        client.stop()
        client.close()
        assert server.stop() in (0, None)
        server.serve()
        client = connected(server)
        assert client.get("/kept")[0] == b"x"
        client.stop()
        client.close()


# --- words and abuse


def test_words(server: Server) -> None:
    assert word(server, "ruok") == "imok"
    assert word(server, "isro") == "rw"
    assert word(server, "srvr").startswith("Zookeeper version: ")
    assert "Mode: standalone" in word(server, "stat")
    assert all(line.startswith("zk_") for line in word(server, "mntr").splitlines())
    for each in ("conf", "cons", "dump", "envi", "wchs", "dirs"):
        assert word(server, each)
    for each in ("wchc", "wchp"):
        assert "whitelist" not in word(server, each)


def test_a_word_outside_the_whitelist_is_refused_as_by_the_real_one() -> None:
    with serve() as server:
        assert word(server, "srvr").startswith("Zookeeper version: ")
        assert word(server, "ruok").strip() == "ruok is not executed because it is not in the whitelist."


@pytest.mark.parametrize(
    "nonsense",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\0\0\0\2ab",
        b"\0\0\0\0",
    ],
)
def test_nonsense_closes_its_connection_and_harms_nobody(server: Server, zk: KazooClient, nonsense: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.sendall(nonsense)
        try:
            assert sock.recv(10) == b""
        except ConnectionResetError:
            pass  # unread bytes were lying there when it closed
    assert zk.exists("/") is not None


def test_a_reader_that_does_not_read_costs_no_memory_and_harms_nobody(server: Server, zk: KazooClient) -> None:
    """Ten thousand requests for half a megabyte each: five gigabytes, if they were answered into memory."""
    zk.create("/big", bytes(500_000))
    with Raw(server) as lazy:
        lazy.sock.sendall(b"".join(encode(GetData(xid, "/big", False)) for xid in range(10_000)))
        assert zk.get("/big")[1].dataLength == 500_000
        assert resident_kib(server) < 100_000
        for xid in range(20):  # and when it does read, it gets its answers, in order
            assert struct.unpack(">i", lazy.frame()[:4])[0] == xid
    zk.delete("/big")


def resident_kib(server: Server) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    import subprocess
    import sys

    with serve(tmp_path):
        command = [sys.executable, "-m", "coordination", "serve", "--port", "0", "--data", str(tmp_path)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode != 0
    assert "in use" in second.stderr


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_from_the_moment_it_is_ready(ending: signal.Signals) -> None:
    for _ in range(3):
        with serve() as server:
            os.kill(server.pid, ending)
            assert server.ended_within(10)
            assert server.stop() == 0
