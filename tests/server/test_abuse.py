"""Clients that do everything wrong, many at once; beside them one that must not notice, and the server's memory.

Scaled down here. `ABUSE_SIZE=1 pytest tests/server/test_abuse.py` is all of it: 5,000 connections, 10,000 watches.
"""

import os
import socket
from contextlib import ExitStack, suppress

from coordination.server.broadcast import CONNECTIONS_MIN
from coordination.server.client_port import WAITING_MAX
from coordination.testing.server import Server
from coordination.wire import opcodes, requests
from coordination.wire.records import OPEN_ACL, decode_connect_response
from coordination.wire.replies import decode_header
from tests.server.test_limits import Client, journal

from .conftest import assert_unharmed, create, plain, rss_bytes, to_the_end

SIZE = float(os.environ.get("ABUSE_SIZE", "0.04"))
CONNECTIONS = int(5000 * SIZE)
WATCHERS = int(10_000 * SIZE)
BYTES_PER_CONNECTION = 24 << 10

# --- connections


def test_a_flood_of_connections_that_say_nothing_is_waited_out(abused: Server) -> None:
    with Client(abused.port, 60_000) as other, ExitStack() as stack:
        before = rss_bytes(abused)
        silent = []
        for n in range(CONNECTIONS):  # each at once: the server ends it soon
            silent.append(plain(abused, stack))
            silent[-1].sendall((b"", b"\0", b"\0\0\0\x2c", b"\0\0\0\x2c" + bytes(20))[n % 4])
        assert_unharmed(other)
        for sock in silent:
            assert to_the_end(sock) == b""
        assert_unharmed(other)
        assert rss_bytes(abused) - before < (8 << 20) + CONNECTIONS * BYTES_PER_CONNECTION


def test_connections_that_come_and_go_leave_nothing(abused: Server) -> None:
    with ExitStack() as stack:
        plain(abused, stack)  # the one at the head of those that have said nothing
        other = stack.enter_context(Client(abused.port))
        for _ in range(CONNECTIONS):
            socket.create_connection(("127.0.0.1", abused.port), 20).close()
        assert_unharmed(other)
        before = rss_bytes(abused)
        for _ in range(CONNECTIONS * 3):
            socket.create_connection(("127.0.0.1", abused.port), 20).close()
        assert_unharmed(other)
        assert rss_bytes(abused) - before < 4 << 20


# --- many watchers, many requests


def test_one_znode_watched_by_many(abused: Server) -> None:
    with Client(abused.port, 60_000) as other, ExitStack() as stack:
        create(other, "/hot")
        before = rss_bytes(abused)
        watchers = [stack.enter_context(Client(abused.port, 60_000)) for _ in range(WATCHERS)]
        for watcher in watchers:
            assert watcher.ask(requests.GetData(1, "/hot", True)) == [0]
        assert_unharmed(other)
        assert other.ask(requests.SetData(3, "/hot", b"x", -1)) == [0]
        for watcher in watchers:
            event = watcher.frame()
            assert event is not None
            assert decode_header(event, 0, len(event))[0].xid == -1
        assert rss_bytes(abused) - before < (8 << 20) + WATCHERS * BYTES_PER_CONNECTION


def test_a_client_with_much_behind_its_write_is_read_from_again_after_a_broadcast(abused: Server) -> None:
    """It is not read from while that much waits; its answers leave together with those of many others."""
    with Client(abused.port, 60_000) as writer, ExitStack() as stack:
        create(writer, "/shouted")
        for _ in range(CONNECTIONS_MIN):
            watcher = stack.enter_context(Client(abused.port, 60_000))
            assert watcher.ask(requests.AddWatch(1, "/shouted", opcodes.MODE_PERSISTENT)) == [0]
        behind = [requests.Ping(opcodes.XID_PING)] * (WAITING_MAX + 10)
        for _ in range(5):
            assert set(writer.ask(requests.SetData(1, "/shouted", b"", -1), *behind)) == {0}


def test_a_write_behind_searches_that_cost_much_is_carried_out_at_once(abused: Server) -> None:
    """What was put off goes on without a word from anybody."""
    with Client(abused.port, 60_000) as client:
        owned = [
            requests.Create(1, opcodes.CREATE, f"/owned{n}", b"", OPEN_ACL, opcodes.EPHEMERAL) for n in range(1000)
        ]
        assert client.ask(*owned) == [0] * 1000
        searches = [requests.GetEphemerals(1, "/none")] * 100
        for _ in range(3):
            assert client.ask(*searches, requests.SetData(2, "/owned1", b"", -1)) == [0] * 101
        assert client.ask(requests.CloseSession(1)) == [0]


# --- slow readers


def await_answer(client: Client) -> None:
    """Until an answer begins to come, which is left where it is: now the server holds what it will hold for it."""
    client.sock.recv(1, socket.MSG_PEEK)


def test_clients_that_do_not_read(abused: Server) -> None:
    with Client(abused.port, 60_000) as other, ExitStack() as stack:
        create(other, "/large", b"x" * 500_000)
        before = rss_bytes(abused)
        ask = requests.encode(requests.GetData(1, "/large", False)) * 200
        readers = [stack.enter_context(Client(abused.port)) for _ in range(10)]
        for reader in readers:
            reader.sock.sendall(ask)
        for reader in readers:
            await_answer(reader)
        assert_unharmed(other)
        # 10 x 200 x 500,000 bytes were asked for.
        assert rss_bytes(abused) - before < 60 << 20
        assert_unharmed(other)


def test_a_watcher_that_does_not_read_is_not_waited_for(abused: Server) -> None:
    path = "/" + "p" * 20_000
    with Client(abused.port, 60_000) as other, Client(abused.port, 60_000) as watcher:
        create(other, path)
        assert watcher.ask(requests.AddWatch(1, path, opcodes.MODE_PERSISTENT)) == [0]
        before = rss_bytes(abused)
        for _ in range(30):
            assert other.ask(*[requests.SetData(1, path, b"", -1)] * 100) == [0] * 100
        assert rss_bytes(abused) - before < 40 << 20  # of 60 MB
        assert_unharmed(other)
        assert other.ask(requests.Delete(1, path, -1)) == [0]
        assert watcher.hello is not None
        closed = decode_connect_response(watcher.hello, 0, len(watcher.hello)).session_id
        told = [line["session_id"] for line in journal(abused) if line["event"] == "slow_reader_closed"]
        assert f"0x{closed:x}" in told


def test_many_small_requests_for_one_large_answer_each(abused: Server) -> None:
    """A multiRead may ask for one znode thousands of times; and a hundred connections for a little less each."""
    with Client(abused.port, 60_000) as other, ExitStack() as stack:
        create(other, "/larger", b"x" * 700_000)
        before = rss_bytes(abused)
        read = requests.GetData(0, "/larger", False)
        assert other.ask(requests.MultiRead(1, [read] * 20_000)) == [-5]
        ask = requests.encode(requests.MultiRead(1, [read] * 20)) * 5
        readers = [stack.enter_context(Client(abused.port)) for _ in range(max(25, int(300 * SIZE)))]
        for reader in readers:
            reader.sock.sendall(ask)
        for reader in readers:
            with suppress(ConnectionError):  # one that holds too much is closed
                await_answer(reader)
        assert_unharmed(other)
        # 25 x 5 x 14 MB were asked for; 256 MiB may be held.
        assert rss_bytes(abused) - before < 330 << 20
        assert_unharmed(other)
        assert other.ask(requests.Delete(1, "/larger", -1)) == [0]
