"""Clients that do everything wrong, many at once; beside them one that must not notice, and the server's memory.

Scaled down here. `ABUSE_SIZE=1 pytest tests/server/test_abuse.py` is all of it: 5,000 connections, 10,000 watches.
"""

import os
import resource
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from coordination.server.broadcast import CONNECTIONS_MIN
from coordination.server.client_port import WAITING_MAX
from coordination.testing.server import Server, serve
from coordination.wire import opcodes, requests
from coordination.wire.records import OPEN_ACL, ConnectRequest
from coordination.wire.replies import decode_header, frame
from tests.server.test_limits import Client, journal

SIZE = float(os.environ.get("ABUSE_SIZE", "0.04"))
CONNECTIONS = int(5000 * SIZE)
WATCHERS = int(10_000 * SIZE)
# A connection that is answered within this was not harmed; a loaded machine is slow, too.
UNHARMED_S = 5.0
BYTES_PER_CONNECTION = 24 << 10
SESSIONLESS_MS = 700


@pytest.fixture(scope="module", autouse=True)
def room_for_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("abused") / "zoo.cfg"
    config.write_text(f"maxClientCnxns=0\nnio.sessionlessCnxnTimeout={SESSIONLESS_MS}\n")
    with serve(options=["--config", str(config), "--4lw", "all"]) as running:
        yield running


def rss_bytes(server: Server) -> int:
    fields = Path(f"/proc/{server.pid}/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize()


def create(client: Client, path: str, data: bytes = b"") -> None:
    assert client.ask(requests.Create(1, opcodes.CREATE, path, data, OPEN_ACL, 0)) == [0]


def assert_unharmed(client: Client) -> None:
    begin = time.monotonic()
    assert client.ask(requests.SetData(1, "/", b"", -1), requests.GetData(2, "/", False)) == [0, 0]
    assert time.monotonic() - begin < UNHARMED_S


def plain(server: Server, stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 20))


def to_the_end(sock: socket.socket) -> bytes:
    """All the server had to say; a reset is an error."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


# --- the last answer


def test_the_answer_to_close_session_comes_and_then_the_end_not_a_reset(server: Server) -> None:
    with Client(server.port) as client:
        assert client.ask(requests.CloseSession(1)) == [0]
        client.sock.sendall(requests.encode(requests.Ping(opcodes.XID_PING)) * 1000)
        assert to_the_end(client.sock) == b""
        client.sock.sendall(b"more")
        assert to_the_end(client.sock) == b""


def test_an_expired_session_is_told_so_whatever_else_was_sent(server: Server) -> None:
    with ExitStack() as stack:
        sock = plain(server, stack)
        hello = frame(ConnectRequest(0, 0, 10_000, 0x1234, bytes(16), read_only=False).encode())
        sock.sendall(hello + requests.encode(requests.Ping(opcodes.XID_PING)) * 20_000)
        said = to_the_end(sock)
        assert len(said) == 4 + 37
        assert struct.unpack(">iq", said[8:20]) == (0, 0)  # timeout 0, session 0: expired


def test_a_failed_authentication_is_answered_before_the_end(server: Server) -> None:
    with Client(server.port) as client:
        client.sock.sendall(
            requests.encode(requests.Auth(opcodes.XID_AUTH, "nonsense", b"x"))
            + requests.encode(requests.Ping(opcodes.XID_PING)) * 20_000
        )
        said = to_the_end(client.sock)
        assert decode_header(said, 4, len(said))[0].err == -115


# --- other tongues, lying lengths


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "TLS"),
        (struct.pack(">i", -1), "-1"),
        (struct.pack(">i", 0x7FFFFFFF) + b"x" * 100_000, "2147483647"),
        (struct.pack(">i", 3) + b"abc", ""),
    ],
)
def test_what_is_no_frame_is_refused_with_a_reason(server: Server, said: bytes, reason: str) -> None:
    with Client(server.port, 60_000) as other, ExitStack() as stack:
        before = rss_bytes(server)
        sock = plain(server, stack)
        sock.sendall(said)
        assert to_the_end(sock) == b""
        assert_unharmed(other)
        told = [line for line in journal(server) if line["event"] == "protocol_violation"][-1]
        assert reason in told["reason"]
        assert rss_bytes(server) - before < 8 << 20


def test_lying_counts_inside_a_record_allocate_nothing(server: Server) -> None:
    with Client(server.port) as client:
        before = rss_bytes(server)
        for count in (0x7FFFFFFF, -2, 0x10000000):
            body = struct.pack(">qi", 0, count)  # setWatches with so many paths
            client.sock.sendall(frame(struct.pack(">ii", -8, opcodes.SET_WATCHES) + body))
            answer = client.frame()
            assert answer is not None
            assert decode_header(answer, 0, len(answer))[0].err == -5
        assert_unharmed(client)
        assert rss_bytes(server) - before < 8 << 20


def test_frames_byte_by_byte(server: Server) -> None:
    with ExitStack() as stack:
        sock = plain(server, stack)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        said = frame(ConnectRequest(0, 0, 10_000, 0, bytes(16), read_only=False).encode())
        said += requests.encode(requests.Create(1, opcodes.CREATE, "/slow", b"", OPEN_ACL, 0))
        said += requests.encode(requests.CloseSession(2))
        for n in range(len(said)):
            sock.sendall(said[n : n + 1])
        answers = to_the_end(sock)
        assert decode_header(answers, 41 + 4, len(answers))[0].err == 0


# --- many


def test_a_flood_of_connections_that_say_nothing_is_waited_out(server: Server) -> None:
    with Client(server.port, 60_000) as other, ExitStack() as stack:
        before = rss_bytes(server)
        silent = [plain(server, stack) for _ in range(CONNECTIONS)]
        for n, sock in enumerate(silent):
            sock.sendall((b"", b"\0", b"\0\0\0\x2c", b"\0\0\0\x2c" + bytes(20))[n % 4])
        assert_unharmed(other)
        for sock in silent:
            assert to_the_end(sock) == b""
        assert_unharmed(other)
        assert rss_bytes(server) - before < (8 << 20) + CONNECTIONS * BYTES_PER_CONNECTION


def test_connections_that_come_and_go_leave_nothing(server: Server) -> None:
    with ExitStack() as stack:
        plain(server, stack)  # the one at the head of those that have said nothing
        other = stack.enter_context(Client(server.port))
        for _ in range(CONNECTIONS):
            socket.create_connection(("127.0.0.1", server.port), 20).close()
        assert_unharmed(other)
        before = rss_bytes(server)
        for _ in range(CONNECTIONS * 3):
            socket.create_connection(("127.0.0.1", server.port), 20).close()
        assert_unharmed(other)
        assert rss_bytes(server) - before < 4 << 20


def test_one_znode_watched_by_many(server: Server) -> None:
    with Client(server.port, 60_000) as other, ExitStack() as stack:
        create(other, "/hot")
        before = rss_bytes(server)
        watchers = [stack.enter_context(Client(server.port, 60_000)) for _ in range(WATCHERS)]
        for watcher in watchers:
            assert watcher.ask(requests.GetData(1, "/hot", True)) == [0]
        assert_unharmed(other)
        assert other.ask(requests.SetData(3, "/hot", b"x", -1)) == [0]
        for watcher in watchers:
            event = watcher.frame()
            assert event is not None
            assert decode_header(event, 0, len(event))[0].xid == -1
        assert rss_bytes(server) - before < (8 << 20) + WATCHERS * BYTES_PER_CONNECTION


def test_a_client_with_much_behind_its_write_is_read_from_again_after_a_broadcast(server: Server) -> None:
    """It is not read from while that much waits; its answers leave together with those of many others."""
    with Client(server.port, 60_000) as writer, ExitStack() as stack:
        create(writer, "/shouted")
        for _ in range(CONNECTIONS_MIN):
            watcher = stack.enter_context(Client(server.port, 60_000))
            assert watcher.ask(requests.AddWatch(1, "/shouted", opcodes.MODE_PERSISTENT)) == [0]
        behind = [requests.Ping(opcodes.XID_PING)] * (WAITING_MAX + 10)
        for _ in range(5):
            assert set(writer.ask(requests.SetData(1, "/shouted", b"", -1), *behind)) == {0}


def test_clients_that_do_not_read(server: Server) -> None:
    with Client(server.port, 60_000) as other, ExitStack() as stack:
        create(other, "/large", b"x" * 500_000)
        before = rss_bytes(server)
        ask = requests.encode(requests.GetData(1, "/large", False)) * 200
        for _ in range(10):
            stack.enter_context(Client(server.port)).sock.sendall(ask)
        assert_unharmed(other)
        # 10 x 200 x 500,000 bytes were asked for.
        assert rss_bytes(server) - before < 60 << 20
        assert_unharmed(other)


def test_many_small_requests_for_one_large_answer_each(server: Server) -> None:
    """A multiRead may ask for one znode thousands of times; and a hundred connections for a little less each."""
    with Client(server.port, 60_000) as other, ExitStack() as stack:
        create(other, "/larger", b"x" * 700_000)
        before = rss_bytes(server)
        read = requests.GetData(0, "/larger", False)
        assert other.ask(requests.MultiRead(1, [read] * 20_000)) == [-5]
        ask = requests.encode(requests.MultiRead(1, [read] * 20)) * 5
        for _ in range(max(25, int(300 * SIZE))):
            stack.enter_context(Client(server.port)).sock.sendall(ask)
        assert_unharmed(other)
        # 25 x 5 x 14 MB were asked for; 256 MiB may be held.
        assert rss_bytes(server) - before < 330 << 20
        assert_unharmed(other)
        assert other.ask(requests.Delete(1, "/larger", -1)) == [0]


def test_a_watcher_that_does_not_read_is_not_waited_for(server: Server) -> None:
    path = "/" + "p" * 20_000
    with Client(server.port, 60_000) as other, Client(server.port, 60_000) as watcher:
        create(other, path)
        assert watcher.ask(requests.AddWatch(1, path, opcodes.MODE_PERSISTENT)) == [0]
        before = rss_bytes(server)
        for _ in range(30):
            assert other.ask(*[requests.SetData(1, path, b"", -1)] * 100) == [0] * 100
        assert rss_bytes(server) - before < 40 << 20  # of 60 MB
        assert_unharmed(other)
        assert other.ask(requests.Delete(1, path, -1)) == [0]
        assert "slow_reader_closed" in [line["event"] for line in journal(server)]


def test_a_flood_of_nonsense_is_not_a_flood_of_lines(server: Server) -> None:
    with Client(server.port, 60_000) as client:
        before = server.output.stat().st_size
        nonsense = frame(struct.pack(">iii", 1, opcodes.GET_DATA, 0x7FFFFFFF)) * 1000
        for _ in range(5):
            client.sock.sendall(nonsense)
            for _ in range(1000):
                answer = client.frame()
                assert answer is not None
                assert decode_header(answer, 0, len(answer))[0].err == -5
        assert server.output.stat().st_size - before < 200_000  # a line of each is 800,000
        assert_unharmed(client)


def test_a_write_behind_searches_that_cost_much_is_carried_out_at_once(server: Server) -> None:
    """What was put off goes on without a word from anybody."""
    with Client(server.port, 60_000) as client:
        owned = [
            requests.Create(1, opcodes.CREATE, f"/owned{n}", b"", OPEN_ACL, opcodes.EPHEMERAL) for n in range(1000)
        ]
        assert client.ask(*owned) == [0] * 1000
        searches = [requests.GetEphemerals(1, "/none")] * 100
        for _ in range(3):
            assert client.ask(*searches, requests.SetData(2, "/owned1", b"", -1)) == [0] * 101
        assert client.ask(requests.CloseSession(1)) == [0]


HANGING_DISK = """
import os, sys
from coordination.server import client_port, log_writer
from coordination.storage import txn_log
hang, gate, sync = sys.argv[1], sys.argv[2], txn_log._datasync
client_port.GATHERED_BYTES_MAX = 4 << 20
# The sync runs in the thread, from the second one on.
log_writer.TRIAL, log_writer.TO_THREAD_ABOVE_US, log_writer.TO_INLINE_BELOW_US = 1, 0.0, 0.0

def hanging(fd):
    if os.path.exists(hang):
        open(gate).close()  # until somebody opens the other end
    sync(fd)

txn_log._datasync = hanging
from coordination.__main__ import main
sys.exit(main(sys.argv[3:]))
"""


def test_a_disk_that_hangs_does_not_fill_the_memory(tmp_path: Path) -> None:
    hang, gate = tmp_path / "hang", tmp_path / "gate"
    os.mkfifo(gate)
    config = tmp_path / "zoo.cfg"
    config.write_text("maxClientCnxns=0\n")
    running = Server(tmp_path / "data", tmp_path / "out", ["--config", str(config)])
    running.command[1:3] = ["-c", HANGING_DISK, str(hang), str(gate)]
    running.serve()
    try:
        with Client(running.port, 60_000) as other, ExitStack() as stack:
            create(other, "/a")
            create(other, "/b")
            crowd = [stack.enter_context(Client(running.port, 60_000)) for _ in range(6)]
            before = rss_bytes(running)
            hang.touch()
            write = requests.encode(requests.SetData(1, "/a", b"x" * 500_000, -1)) * 20
            left = {client.sock.fileno(): (client.sock, memoryview(write)) for client in crowd}
            poll = select.poll()
            for fd, (sock, _) in left.items():
                sock.setblocking(False)
                poll.register(fd, select.POLLOUT)
            while ready := poll.poll(1000):  # until the server takes no more of any of them
                for fd, _ in ready:
                    sock, rest = left[fd]
                    left[fd] = sock, rest[sock.send(rest) :]
                    if not left[fd][1]:
                        poll.unregister(fd)
            assert sum(len(rest) for _, rest in left.values()) > 20 << 20  # of 60 MB
            assert rss_bytes(running) - before < 40 << 20
            hang.unlink()
            gate.open("wb").close()
            for client in crowd:
                client.sock.setblocking(True)
                client.sock.settimeout(20)
                threading.Thread(target=client.sock.sendall, args=[left[client.sock.fileno()][1]]).start()
            for client in crowd:
                for _ in range(20):
                    answer = client.frame()
                    assert answer is not None
                    assert decode_header(answer, 0, len(answer))[0].err == 0
            assert_unharmed(other)
    finally:
        running.stop()


# --- the time


CROWDED = """
import sys
from coordination.server import client_port, poller, turns
poller.READY_MAX = client_port.READY_MAX = 10
client_port.ROUNDS_MS = 0
if sys.argv.pop(1) == "never done":
    turns.Turns.__bool__ = lambda self: True
from coordination.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@contextmanager
def crowded(tmp_path: Path, how: str) -> Iterator[Server]:
    """A server to which a hundred clients are as ten thousand."""
    config = tmp_path / "zoo.cfg"
    config.write_text("maxClientCnxns=0\n")
    running = Server(None, tmp_path / "out", ["--config", str(config)])
    running.command[1:3] = ["-c", CROWDED, how]
    running.serve()
    try:
        yield running
    finally:
        running.stop()


def test_who_spoke_while_the_server_was_held_up_lives(tmp_path: Path) -> None:
    ping = requests.encode(requests.Ping(opcodes.XID_PING))
    timeout_ms = 1500
    with crowded(tmp_path, "at times done") as running, ExitStack() as stack:
        clients = [stack.enter_context(Client(running.port, timeout_ms)) for _ in range(100)]
        os.kill(running.pid, signal.SIGSTOP)
        for client in reversed(clients):  # those who are due first are found last
            client.sock.sendall(ping)
        time.sleep(timeout_ms / 1000 + 0.1)  # not to wait for anything: this is the time it stands still
        os.kill(running.pid, signal.SIGCONT)
        assert [client.frame() is not None for client in clients] == [True] * len(clients)
        assert "session_expired" not in [line["event"] for line in journal(running)]


def test_sessions_end_in_time_though_there_is_always_more_to_do(tmp_path: Path) -> None:
    with crowded(tmp_path, "never done") as running:
        for _ in range(3):
            with Client(running.port, 200) as silent:
                assert silent.hello is not None
                assert silent.frame() is None


def test_more_connections_than_descriptors(server: Server) -> None:
    """The limit falls under what is open now: nobody can come in, and later somebody can."""
    held = len(os.listdir(f"/proc/{server.pid}/fd"))
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (held, hard))
    with ExitStack() as stack:
        sock = plain(server, stack)
        sock.sendall(frame(ConnectRequest(0, 0, 10_000, 0, bytes(16), read_only=False).encode()))
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert len(sock.recv(100)) == 41


def test_clients_get_no_descriptors_the_server_needs_itself(tmp_path: Path) -> None:
    """A server with few descriptors refuses connections and still writes its log and its snapshots."""
    config = tmp_path / "zoo.cfg"
    config.write_text("maxClientCnxns=0\nsnapCount=20\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)); "
    running = Server(tmp_path / "data", tmp_path / "out", ["--config", str(config)])
    running.command[1:3] = ["-c", limit + "runpy.run_module('coordination', run_name='__main__', alter_sys=True)"]
    running.serve()
    try:
        with Client(running.port) as other, ExitStack() as stack:
            crowd = [plain(running, stack) for _ in range(150)]
            for n in range(100):
                create(other, f"/n{n}")
            assert crowd
            assert_unharmed(other)
        told = [line for line in journal(running) if line["event"] == "connection_refused"]
        assert "ulimit" in told[0]["reason"]
        assert len(told) < 20
        assert len(list((tmp_path / "data/version-2").glob("snapshot.*"))) > 1
    finally:
        running.stop()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
