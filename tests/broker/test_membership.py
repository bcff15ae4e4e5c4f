"""Registering, taking one's own id back, being fenced, coming back."""

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import coordination
from brokerdemo import znodes
from brokerdemo.broker.main import owner_of
from brokerdemo.broker.membership import Fence
from brokerdemo.broker.options import BrokerOptions
from brokerdemo.znodes import Master, MasterEpoch, Worker

STRANGER = Worker("h", 1, "", "somebody else", "i")


async def test_a_broker_registers_with_the_port_it_bound_and_leaves_without_a_trace(cluster: Any) -> None:
    running = cluster.start(1, rack="r1")
    said = await running.events.first(event="broker_registered")
    value, stat = await cluster.zk.get(znodes.worker_path(1))
    worker = Worker.decode(value)
    assert (said["zxid"], said["incarnation"]) == (stat.czxid, worker.incarnation)
    assert (worker.rack, worker.owner) == ("r1", "owner-1")
    async with await trio.open_tcp_stream(worker.host, worker.port) as client:
        await client.send_all(b"hello")
        assert await client.receive_some(10) == b"", "an end of file, not a reset"
    await running.events.first(event="controller_elected")
    assert await running.stopped() == 0
    assert await cluster.zk.exists(znodes.worker_path(1)) is None
    assert await cluster.zk.exists(znodes.MASTER) is None
    assert [e["event"] for e in running.events.heard][-1] == "controller_resigned"


async def test_a_restarted_broker_takes_its_id_and_its_mastership_back_at_once(cluster: Any) -> None:
    """Its old session lives on (10 s), as after a kill -9 without a certificate: KAFKA-14845's trap."""
    for path in (znodes.WORKERS, znodes.TOPICS):
        await cluster.zk.create(path)
    await cluster.zk.create(znodes.MASTER_EPOCH, MasterEpoch(4).encode())
    old = Worker("h", 1, "", "owner-1", "the incarnation before")
    await cluster.zk.create(znodes.worker_path(1), old.encode(), ephemeral=True)
    await cluster.zk.create(znodes.MASTER, Master(1, 4, "owner-1", old.incarnation).encode(), ephemeral=True)
    running = cluster.start(1)
    assert (await running.events.first(event="broker_registered"))["replaced"] is True
    assert (await running.events.first(event="controller_elected"))["controller_epoch"] == 5
    value, stat = await cluster.zk.get(znodes.MASTER)
    assert Master.decode(value).controller_epoch == 5
    assert stat.ephemeral_owner != cluster.zk.session_id


async def test_an_id_of_another_owner_is_refused_with_code_4(cluster: Any, capsys: pytest.CaptureFixture[str]) -> None:
    await cluster.zk.create(znodes.worker_path(1), STRANGER.encode(), ephemeral=True, makepath=True)
    running = cluster.start(1, session_timeout_ms=400)
    await running.ended.wait()
    assert running.code == 4
    assert "broker id 1 is taken" in capsys.readouterr().err
    assert Worker.decode((await cluster.zk.get(znodes.worker_path(1)))[0]) == STRANGER


async def test_a_stranger_that_goes_in_time_makes_room(cluster: Any) -> None:
    await cluster.zk.create(znodes.worker_path(1), STRANGER.encode(), ephemeral=True, makepath=True)
    running = cluster.start(1, session_timeout_ms=10_000)
    await cluster.events.until(lambda: True)
    await cluster.zk.delete(znodes.worker_path(1))
    await running.events.first(event="broker_registered")


async def test_a_newer_start_of_the_same_broker_ends_the_older(cluster: Any) -> None:
    older = cluster.start(1)
    await older.events.first(event="broker_registered")
    newer = cluster.start(1)
    await newer.events.first(event="broker_registered")
    await older.ended.wait()
    assert older.code == 4
    assert older.events.all(event="broker_fenced")


async def test_a_registration_deleted_by_hand_is_made_again(cluster: Any) -> None:
    running = cluster.start(1)
    first = await running.events.first(event="broker_registered")
    await running.events.first(event="controller_elected")  # all it has to say for now
    since = len(running.events.heard)
    await cluster.zk.delete(znodes.worker_path(1))
    again = await running.events.first(since, event="broker_registered")
    assert again["zxid"] > first["zxid"]
    assert running.events.heard[since]["event"] == "broker_fenced"


async def test_an_expired_session_is_told_and_a_new_one_made(cluster: Any) -> None:
    """The certificate that the broker hands over is good: with it, anybody ends the session."""
    child = cluster.child(1)
    first = await child.events.first(event="broker_registered")
    await child.events.first(event="controller_elected")
    since = len(child.events.heard)
    assert child.certificate is not None
    outcome = await coordination.close_session(
        cluster.connect, child.certificate["session_id"], bytes.fromhex(child.certificate["password"])
    )
    assert outcome is coordination.CloseOutcome.CLOSED
    again = await child.events.first(since, event="broker_registered")
    assert again["zxid"] > first["zxid"]
    assert child.events.heard[since]["event"] == "broker_fenced"


async def test_a_paused_controller_is_fenced_before_anything_else(cluster: Any) -> None:
    """SIGSTOP beyond the session timeout, then SIGCONT: the zombie of failover.md B.5."""
    zombie = cluster.child(1)
    await zombie.events.first(event="controller_elected", controller_epoch=1)
    await cluster.up(2, 3)
    await cluster.topic("t", (1, 2, 3))
    since, said = len(zombie.events.heard), len(cluster.events.heard)
    zombie.signal(signal.SIGSTOP)
    await cluster.events.first(said, event="controller_elected", controller_epoch=2)
    led = await cluster.events.first(said, event="leader_started", topic="t")
    assert (led["broker"], led["leader_epoch"]) == (2, 1)
    zombie.signal(signal.SIGCONT)
    await zombie.events.first(since, event="broker_registered")
    first, *later = zombie.events.heard[since:]
    assert (first["event"], first["broker"]) == ("broker_fenced", 1)
    assert [e for e in later if e["event"] == "controller_resigned"]
    state = await cluster.becomes("t", 0, lambda s: s.leader == 1)
    assert state.leader_epoch > 1
    leader = await zombie.events.first(since, event="leader_started")
    assert leader["leader_epoch"] == state.leader_epoch


async def test_a_short_pause_fences_and_a_proof_lifts_it(cluster: Any) -> None:
    """Longer than 2/3 of the session timeout by the broker's own clock, and yet the session lives."""
    child = cluster.child(1, session_timeout_ms=20_000)
    first = await child.events.first(event="broker_registered")
    await child.events.first(event="controller_elected")  # all it has to say for now
    # Its own clock cannot be turned; a session timeout that shrinks makes a pause of any length too long.
    value = znodes.Config({"session.timeout.ms": "1000"}).encode()
    await cluster.zk.create(znodes.CONFIG_CLUSTER, value, makepath=True)
    await child.events.first(event="config_applied", znode=znodes.CONFIG_CLUSTER)
    since = len(child.events.heard)
    child.signal(signal.SIGSTOP)
    with trio.move_on_after(0.8):
        await cluster.events.first(event="never")  # 800 ms of silence are the fault injected here
    child.signal(signal.SIGCONT)
    fenced = await child.events.first(since, event="broker_fenced")
    assert child.events.heard[since] == fenced
    after = await child.events.first(since, event=["broker_unfenced", "broker_registered"])
    assert after["zxid"] >= first["zxid"]


async def test_a_broker_killed_and_started_again_does_not_wait_for_its_old_session(cluster: Any) -> None:
    """kill -9 and no certificate: the old session lives on for a minute, longer than any wait of this test; the new
    process is a member and master at once.
    """
    killed = cluster.child(1, session_timeout_ms=60_000)
    first = await killed.events.first(event="broker_registered")
    await killed.events.first(event="controller_elected", controller_epoch=1)
    killed.signal(signal.SIGKILL)
    await killed.ended()
    again = cluster.child(1, session_timeout_ms=60_000)
    registered = await again.events.first(event="broker_registered")
    await again.events.first(event="controller_elected", controller_epoch=2)
    assert registered["replaced"] is True
    assert registered["zxid"] > first["zxid"]


async def test_a_dead_supervisor_ends_the_broker_at_once(cluster: Any) -> None:
    child = cluster.child(1)
    await child.events.first(event="broker_registered")
    child.channel.shutdown(socket.SHUT_RDWR)
    assert await child.ended() == 0


@pytest.mark.parametrize("how", ["signal", "channel"])
async def test_a_graceful_stop_says_goodbye(cluster: Any, how: str) -> None:
    child = cluster.child(1)
    await child.events.first(event="controller_elected")
    if how == "signal":
        child.signal(signal.SIGTERM)
    else:
        await child.channel.send(json.dumps({"do": "stop"}).encode() + b"\n")
    assert await child.ended() == 0
    assert await cluster.zk.exists(znodes.worker_path(1)) is None
    await child.events.first(event="controller_resigned", reason="stopping")
    assert child.events.all(event="broker_fenced") == []


async def test_a_port_in_use_is_told_with_code_7(cluster: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        running = cluster.start(1, port=taken.getsockname()[1])
        await running.ended.wait()
    assert running.code == 7
    assert "cannot start" in capsys.readouterr().err


def test_the_owner_is_kept_with_the_data(tmp_path: Path) -> None:
    options = BrokerOptions(broker_id=1, data_dir=str(tmp_path / "b1"))
    assert owner_of(options) == owner_of(options)
    assert owner_of(BrokerOptions(broker_id=1, data_dir=str(tmp_path / "b2"))) != owner_of(options)
    assert owner_of(BrokerOptions(broker_id=1, owner="me", data_dir=str(tmp_path / "b1"))) == "me"


@pytest.mark.parametrize("wrong", [{"broker_id": -1}, {"port": 70000}, {"session_timeout_ms": 1}, {"connect": ""}])
def test_options_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="broker"):
        BrokerOptions(**{"broker_id": 1, **wrong})


# ---- the fence, by a clock of its own --------------------------------------------------------------------------------


class Session:
    """As much of a client as a fence looks at."""

    def __init__(self) -> None:
        self.session_timeout_ms = 900
        self.state = coordination.ConnectionState.CONNECTED
        self.heard_s = 0.0

    def last_heard(self) -> float:
        return self.heard_s


FENCES = [
    # now, last heard, last look, state, the reason begins with
    (0.5, 0.5, 0.4, "connected", None),
    (0.7, 0.65, 0.0, "connected", "stood still for 700 ms"),
    (0.7, 0.05, 0.6, "connected", "coordination service not heard for 650 ms"),
    (0.1, 0.1, 0.1, "lost", "the session expired"),
]


@pytest.mark.parametrize(("now", "heard", "looked", "state", "reason"), FENCES)
def test_what_fences(now: float, heard: float, looked: float, state: str, reason: str | None) -> None:
    clock, said, session = [0.0], list[str](), Session()
    fence = Fence(said.append, now_s=lambda: clock[0])
    fence.attach(session)  # type: ignore[arg-type]
    clock[0] = session.heard_s = looked
    fence.tick()
    clock[0], session.heard_s, session.state = now, heard, coordination.ConnectionState(state)
    fence.check()
    fence.check()
    assert fence.fenced == (reason is not None)
    assert len(said) == (reason is not None)
    assert reason is None or said[0].startswith(reason)


async def test_a_fence_lets_through_only_when_lifted() -> None:
    fence = Fence(lambda _: None, now_s=lambda: 0.0)
    fence.attach(Session())  # type: ignore[arg-type]
    await fence.until_lifted()
    fence.fence("because")
    assert fence.fenced
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fence.until_lifted)
        await trio.testing.wait_all_tasks_blocked()
        fence.lift()
    assert not fence.fenced
