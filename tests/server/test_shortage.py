"""A server that lacks something itself: a disk that syncs, time, descriptors.  It serves again when it is there."""

import errno
import os
import resource
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from coordination.testing.server import Server
from coordination.wire import opcodes, requests
from coordination.wire.records import ConnectRequest
from coordination.wire.replies import decode_header, frame
from tests.server.test_limits import Client, journal

from .conftest import assert_unharmed, create, plain, rss_bytes

pytestmark = pytest.mark.usefixtures("room_for_descriptors")

# --- the disk

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
            assert rss_bytes(running) - before < 40 << 20  # of 60 MB; the rest waits in sockets and with the clients
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


# --- descriptors


def test_more_connections_than_descriptors(abused: Server) -> None:
    """The limit falls under what is open now: nobody can come in, and later somebody can."""
    soft, hard = resource.prlimit(abused.pid, resource.RLIMIT_NOFILE)
    with Client(abused.port) as other, ExitStack() as stack:
        lines = len(journal(abused))
        resource.prlimit(abused.pid, resource.RLIMIT_NOFILE, (3, hard))
        try:
            sock = plain(abused, stack)
            sock.sendall(frame(ConnectRequest(0, 0, 10_000, 0, bytes(16), read_only=False).encode()))
            for _ in range(2):  # who comes before the second was seen before it is answered
                assert_unharmed(other)
            told = [line["reason"] for line in journal(abused)[lines:] if line["event"] == "connection_refused"]
            assert os.strerror(errno.EMFILE) in told
        finally:
            resource.prlimit(abused.pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert len(sock.recv(100)) == 41


def test_clients_get_no_descriptors_the_server_needs_itself(tmp_path: Path) -> None:
    """A server with few descriptors refuses connections and still writes its log and its snapshots."""
    config = tmp_path / "zoo.cfg"
    config.write_text("maxClientCnxns=0\nsnapCount=20\n")
    limit = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)); "
    running = Server(tmp_path / "data", tmp_path / "out", ["--config", str(config)])
    running.command[1:3] = ["-c", limit + "runpy.run_module('coordination', run_name='__main__', alter_sys=True)"]
    running.serve()
    try:
        with Client(running.port) as other, ExitStack() as stack:
            for _ in range(150):
                plain(running, stack)
            for n in range(5000):
                create(other, f"/n{n}")
                if n >= 100 and len(list((tmp_path / "data/version-2").glob("snapshot.*"))) > 1:
                    break
            else:
                pytest.fail("no snapshot was written")
            assert_unharmed(other)
        told = [line for line in journal(running) if line["event"] == "connection_refused"]
        assert "ulimit" in told[0]["reason"]
        assert len(told) < 20
    finally:
        running.stop()
