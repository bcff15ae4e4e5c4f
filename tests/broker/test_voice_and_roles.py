"""The channel's order and patience, and the roles a broker takes: pure parts and one socketpair."""

import json
import socket
from typing import Any

import pytest
import trio
import trio.testing

from brokerdemo.broker.channel import Channel
from brokerdemo.broker.partitions_watch import Roles
from brokerdemo.znodes import PartitionState

# Several times what the socket takes at once.
EVENTS = 5_000


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


async def test_nothing_is_lost_or_turned_round_when_the_supervisor_reads_slowly() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        channel = Channel(3, ours.detach())
        for number in range(EVENTS):
            channel.emit("mark", label=number)
        heard = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.drain)
            reader = trio.socket.from_stdlib_socket(theirs)
            while heard.count(b"\n") < EVENTS:
                heard += await reader.recv(1 << 16)
            nursery.cancel_scope.cancel()
        channel.close()
    said = lines(heard)
    assert [one["label"] for one in said] == list(range(EVENTS))
    assert {(one["source"], one["broker"]) for one in said} == {("broker 3", 3)}
    stamps = [one["t_ns"] for one in said]
    assert stamps == sorted(stamps)


async def test_what_must_be_said_first_is_said_first() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        channel = Channel(3, ours.detach())
        fenced: list[bool] = []

        def before() -> None:
            if not fenced:
                fenced.append(True)
                channel.emit("broker_fenced", reason="paused")

        channel.before_emit = before
        channel.emit("leader_started", topic="t", partition=0, leader_epoch=1)
        channel.certificate(7, b"\x01\x02")
        said = lines(theirs.recv(1 << 16))
        channel.close()
    assert [one.get("event") for one in said] == ["broker_fenced", "leader_started", None]
    assert said[2] == {"certificate": {"session_id": 7, "password": "0102"}}


async def test_the_password_is_in_no_event_and_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    channel = Channel(3)
    heard: list[dict[str, object]] = []
    channel.listeners.append(heard.append)
    channel.certificate(7, b"\xab\xcd\xef")
    channel.emit("broker_registered", zxid=1, incarnation="i")
    channel.flush_log()
    captured = capsys.readouterr()
    assert "abcdef" not in repr(heard) + captured.out + captured.err


async def test_a_supervisor_may_ask_to_stop() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        channel, stop = Channel(3, ours.detach()), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.listen, stop)
            theirs.sendall(b'nonsense\n{"do":"wonder"}\n{"do":')
            await trio.testing.wait_all_tasks_blocked()
            assert not stop.is_set()
            theirs.sendall(b'"stop"}\n')
            await stop.wait()
            nursery.cancel_scope.cancel()
        channel.close()


# ---- roles -----------------------------------------------------------------------------------------------------------


def take(roles: Roles, leader: int, epoch: int, *, taken_in: dict[int, int] | None = None, topic_id: str = "x") -> None:
    state = PartitionState(leader, epoch, (1, 2), 1, taken_in or {})
    roles.take("t", topic_id, 0, state, broker_epoch=100)


def roles_of(broker_id: int) -> tuple[Roles, list[tuple[object, object]]]:
    channel, said = Channel(broker_id), list[tuple[object, object]]()
    channel.listeners.append(lambda one: said.append((one["event"], one["leader_epoch"])))
    return Roles(broker_id, channel), said


def test_roles_follow_the_epochs_and_never_go_back() -> None:
    roles, said = roles_of(1)
    take(roles, 1, 0)
    take(roles, 1, 0)
    take(roles, 2, 3)
    take(roles, 1, 2)
    take(roles, -1, 4)
    take(roles, 1, 5)
    assert said == [("leader_started", 0), ("follower_started", 3), ("leader_started", 5)]
    assert roles.leads == [("t", 0)]


def test_nothing_is_led_on_a_state_from_before_it_was_away() -> None:
    roles, said = roles_of(1)
    take(roles, 1, 4, taken_in={1: 50, 2: 60})
    assert (said, roles.leads) == ([], [])
    take(roles, 1, 5, taken_in={1: 100, 2: 60})
    assert said == [("leader_started", 5)]


def test_a_topic_made_again_starts_its_epochs_again() -> None:
    roles, said = roles_of(2)
    take(roles, 1, 9)
    roles.forget_topic("t")
    take(roles, 2, 0, topic_id="y")
    assert said == [("follower_started", 9), ("leader_started", 0)]
    roles.drop("t", 0)
    assert roles.held == {}
