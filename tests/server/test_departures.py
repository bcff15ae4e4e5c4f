"""How a connection ends, and what happens when no more can begin: without sockets' chance, on socket pairs and a fake
listener.
"""

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from coordination.server import departures
from coordination.server.client import Listener
from coordination.server.departures import DRAIN_MS, Departures
from coordination.server.doors import RETRY_MS, Doors
from coordination.server.poller import Poller


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_the_client_reads_to_the_end_and_may_go_on_talking(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    leaving = Departures(poller)
    ours.send(b"the last answer")
    theirs.sendall(b"unread")
    leaving.add(ours, 0)
    fd = ours.fileno()
    assert fd in leaving
    leaving.drain(fd)
    theirs.sendall(b"and more")
    leaving.drain(fd)
    assert theirs.recv(100) == b"the last answer"
    assert theirs.recv(100) == b""
    theirs.close()
    leaving.drain(fd)
    assert fd not in leaving
    assert ours.fileno() == -1


def test_a_client_that_never_closes_is_waited_for_only_so_long(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    freed: list[bool] = []
    leaving = Departures(poller, lambda: freed.append(True))
    assert leaving.next_deadline() is None
    leaving.add(pair[0], 1000)
    assert leaving.next_deadline() == 1000 + DRAIN_MS
    leaving.tick(1000 + DRAIN_MS - 1)
    assert len(leaving) == 1
    leaving.tick(1000 + DRAIN_MS)
    assert len(leaving) == 0
    assert freed == [True]


def test_a_client_that_never_stops_talking_is_not_listened_to_for_ever(
    poller: Poller, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departures, "DRAIN_BYTES_MAX", 3000)
    leaving = Departures(poller)
    leaving.add(pair[0], 0)
    fd = pair[0].fileno()
    for n in range(3):
        assert fd in leaving, n
        pair[1].sendall(bytes(1000))
        leaving.drain(fd)
    assert fd not in leaving


def test_the_oldest_goes_when_too_many_are_leaving(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "DEPARTING_MAX", 2)
    leaving = Departures(poller)
    pairs = [socket.socketpair() for _ in range(3)]
    for now_ms, (ours, _) in enumerate(pairs):
        leaving.add(ours, now_ms)
    assert [ours.fileno() == -1 for ours, _ in pairs] == [True, False, False]
    leaving.close()
    assert all(ours.fileno() == -1 for ours, _ in pairs)
    for _, theirs in pairs:
        theirs.close()


class FullListener(socket.socket):
    """One that cannot accept for want of descriptors, until it can."""

    full = True

    def accept(self) -> tuple[socket.socket, Any]:
        if self.full:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.mark.parametrize("comes_back_by", ["time", "room"])
def test_accepting_goes_on_after_a_lack_of_descriptors_though_nobody_is_connected(
    poller: Poller, comes_back_by: str
) -> None:
    listener = FullListener()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    refused: list[str] = []
    doors = Doors([Listener(listener)], poller, refused.append)
    doors.open()
    with listener, socket.create_connection(listener.getsockname(), 10):
        assert [fd for fd, _ in poller.ready()] == [listener.fileno()]
        assert list(doors.accept(listener.fileno(), 5000)) == []
        assert refused == ["Too many open files"]
        assert poller.ready() == []  # a listener that is always readable would keep the server busy
        assert doors.next_deadline() == 5000 + RETRY_MS
        listener.full = False
        if comes_back_by == "room":
            doors.room()
        else:
            doors.tick(5000 + RETRY_MS - 1)
            assert poller.ready() == []
            doors.tick(5000 + RETRY_MS)
        assert doors.next_deadline() is None
        assert [fd for fd, _ in poller.ready()] == [listener.fileno()]
        ((sock, _, _),) = doors.accept(listener.fileno(), 6000)
        sock.close()
