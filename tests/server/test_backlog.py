"""What clients have not taken: its order, its sum, and what it costs to keep one more."""

import socket
import time
from collections.abc import Iterator

import pytest

from coordination.auth.connection_auth import ConnectionAuth
from coordination.auth.settings import AuthSettings
from coordination.server import backlog as backlog_module
from coordination.server.backlog import Backlog
from coordination.server.client import Client
from coordination.state.connection import Connection


@pytest.fixture
def client() -> Iterator[Client]:
    with socket.socket() as sock:
        connection = Connection(sock.fileno(), ConnectionAuth(AuthSettings(), "127.0.0.1", ""), 1 << 20, 0)
        yield Client(sock, "127.0.0.1", 1, connection)


def keep(backlog: Backlog, client: Client, event: bytes) -> None:
    """Its socket is still full."""
    client.connection.out.append(event)
    backlog.keep(client, client.unsent, 0)


def test_what_is_kept_stands_in_its_order_and_is_counted(client: Client) -> None:
    backlog = Backlog()
    backlog.keep(client, b"begun", 0)
    for event in (b"first", b"second"):
        keep(backlog, client, event)
    assert (client.unsent, bytes(client.behind), client.connection.out) == (b"begun", b"firstsecond", [])
    assert client.held_bytes == 16
    backlog.taken(client)
    assert client.held_bytes == 11  # what stands behind it is not sent yet
    backlog.forget(client)
    assert client.held_bytes == 0


def test_too_much_behind_what_it_is_sent_is_too_slow(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog_module, "OUTPUT_BYTES_MAX", 10)
    backlog = Backlog()
    backlog.keep(client, b"a large answer", 0)
    keep(backlog, client, b"0123456789")
    assert list(backlog.too_slow(client)) == []
    keep(backlog, client, b"+")
    assert list(backlog.too_slow(client)) == [client]


def test_one_more_event_costs_the_same_however_many_are_kept(client: Client) -> None:
    backlog = Backlog()
    took_s = []
    for _ in range(100):
        begin = time.process_time()
        for _ in range(100):
            keep(backlog, client, b"an event")
        took_s.append(time.process_time() - begin)
    assert min(took_s[-10:]) < 8 * min(took_s[:10])
