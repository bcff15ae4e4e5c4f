"""Many sockets sent to at once: nothing twice, nothing lost, trouble left to the ordinary way."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from coordination.server.broadcast import Broadcast, _Batch
from coordination.server.client import Client
from coordination.server.tls_socket import TlsSocket


@pytest.fixture(params=[0, 1, 3], ids=lambda helpers: f"{helpers} helpers")
def broadcast(request: pytest.FixtureRequest) -> Iterator[Broadcast]:
    before = threading.active_count()
    broadcast = Broadcast(request.param)
    yield broadcast
    broadcast.close()
    assert threading.active_count() == before


@pytest.fixture
def pairs() -> Iterator[list[tuple[Client, socket.socket]]]:
    pairs = []
    for key in range(100):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        pairs.append((Client(ours, "", 0, cast("Any", Output(key))), theirs))
    yield pairs
    for client, theirs in pairs:
        client.sock.close()
        theirs.close()


@dataclass(eq=False)
class Output:
    """The part of a connection that counts here."""

    key: int
    out: list[Any] = field(default_factory=list)


def send(broadcast: Broadcast, *clients: Client) -> int:
    return broadcast.send(
        {client.connection.key: client for client in clients}, [client.connection for client in clients]
    )


def test_each_gets_its_own_bytes_in_their_order(
    broadcast: Broadcast, pairs: list[tuple[Client, socket.socket]]
) -> None:
    for turn in range(30):
        for number, (client, _) in enumerate(pairs):
            client.connection.out += [b"%d:" % turn, b"%d." % number]
        sent = send(broadcast, *(client for client, _ in pairs))
        expected = [b"%d:%d." % (turn, number) for number in range(len(pairs))]
        assert [theirs.recv(100) for _, theirs in pairs] == expected
        assert sent == sum(map(len, expected))
        assert not any(client.connection.out for client, _ in pairs)


def test_what_a_socket_does_not_take_stays_in_its_output(
    broadcast: Broadcast, pairs: list[tuple[Client, socket.socket]]
) -> None:
    much = bytes(range(256)) * 8192
    (slow, peer), (fine, other) = pairs[:2]
    slow.connection.out += [much, b"end"]
    fine.connection.out += [b"hello"]
    sent = send(broadcast, slow, fine)
    rest = b"".join(slow.connection.out)
    assert other.recv(100) == b"hello"
    assert 0 < len(rest) < len(much)
    assert sent == len(much) + 3 - len(rest) + 5
    send(broadcast, slow)
    assert b"".join(slow.connection.out) == rest  # it is full: nothing moves, nothing is lost
    got = b""
    while len(got) + len(rest) < len(much) + 3:
        got += peer.recv(1 << 20)
    assert got + rest == much + b"end"


def test_a_broken_socket_is_left_to_the_ordinary_way(
    broadcast: Broadcast, pairs: list[tuple[Client, socket.socket]]
) -> None:
    (gone, peer), (fine, other) = pairs[:2]
    peer.close()
    gone.connection.out += [b"you there?"]
    fine.connection.out += [b"hello"]
    assert send(broadcast, gone, fine) == 5
    assert gone.connection.out == [b"you there?"]
    assert other.recv(100) == b"hello"


def test_any_other_error_comes_out(broadcast: Broadcast, pairs: list[tuple[Client, socket.socket]]) -> None:
    for client, _ in pairs:
        client.connection.out += [None]
    with pytest.raises(TypeError):
        send(broadcast, *(client for client, _ in pairs))


def test_who_is_not_plain_or_gone_or_has_something_unsent_is_left_alone(
    broadcast: Broadcast, pairs: list[tuple[Client, socket.socket]]
) -> None:
    clients = {client.connection.key: client for client, _ in pairs[:4]}
    first, second, third, fourth = clients.values()
    for client in clients.values():
        client.connection.out += [b"hello"]
    second.tls = cast("TlsSocket", object())
    third.unsent = b"before"
    connections = [client.connection for client in clients.values()] * 2
    del clients[fourth.connection.key]
    assert broadcast.send(clients, connections) == 5
    assert [client.connection.out for client in (first, second, third, fourth)] == [[], *[[b"hello"]] * 3]


def test_behind_an_error_nothing_is_sent(pairs: list[tuple[Client, socket.socket]]) -> None:
    """Whoever called has gone on by the time a thread comes late."""
    (bad, _), (fine, _) = pairs[:2]
    bad.connection.out += [None]
    fine.connection.out += [b"hello"]
    batch = _Batch({each.connection.key: each for each in (bad, fine)}, [bad.connection, fine.connection])
    batch.work()
    batch.work()  # the late one
    assert isinstance(batch.error, TypeError)
    assert fine.connection.out == [b"hello"]


def test_without_a_thread_the_caller_does_it(
    pairs: list[tuple[Client, socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, started = threading.Thread.start, []

    def one_and_no_more(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", one_and_no_more)
    broadcast = Broadcast(3)
    for _ in range(2):
        for client, _ in pairs:
            client.connection.out.append(b"hello")
        assert send(broadcast, *(client for client, _ in pairs)) == 5 * len(pairs)
    broadcast.close()
    assert not started[0].is_alive()
