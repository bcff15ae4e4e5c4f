"""The controller among brokers: elected once, fenced when deposed, answering deaths, requests and restarts."""

from typing import Any

import coordination
from brokerdemo import znodes
from brokerdemo.znodes import MasterEpoch, ReassignRequest, ReplicaAssignment, Topic, TopicRequest


async def test_one_controller_and_its_successor(cluster: Any) -> None:
    """K1: each controller epoch has one controller; the survivors answer its end."""
    await cluster.up(1, 2, 3)
    first = await cluster.events.first(event="controller_elected")
    await cluster.topic("t", (1, 2, 3), (2, 3, 1), (3, 1, 2))
    since = len(cluster.events.heard)
    gone = first["broker"]
    await cluster.brokers[gone].stopped()
    second = await cluster.events.first(since, event="controller_elected")
    assert (second["controller_epoch"], second["broker"] != gone) == (2, True)
    lost = await cluster.events.first(since, event="broker_lost", broker=gone)
    assert lost["controller_epoch"] == 2
    for partition in range(3):
        led = await cluster.events.first(since, event="leader_started", partition=partition)
        assert led["leader_epoch"] == 1
        state = await cluster.state("t", partition)
        assert (led["broker"], state.leader_epoch, state.controller_epoch) == (state.leader, 1, 2)
        assert gone not in state.isr
    planned = cluster.events.all(since, event="assignment_planned")[0]
    assert (planned["moves"], planned["lower_bound"], len(planned["partitions"])) == (0, 0, 3)
    written = await cluster.events.first(since, event="assignment_written")
    assert written["zxid"] > lost.get("zxid", 0)
    elected = cluster.events.all(event="controller_elected")
    assert len({e["controller_epoch"] for e in elected}) == len(elected)


async def test_a_stale_controllers_multi_is_refused(cluster: Any) -> None:
    """/master_epoch moves under it: its next write is refused whole, it resigns, and stands again."""
    await cluster.up(1, 2)
    await cluster.topic("t", (1, 2))
    before = await cluster.events.first(event="controller_elected")
    _, stat = await cluster.zk.get(znodes.MASTER_EPOCH)
    since = len(cluster.events.heard)
    await cluster.zk.set(znodes.MASTER_EPOCH, MasterEpoch(7).encode(), stat.version)
    # Something to write, so that the fence is met.
    await cluster.zk.create(znodes.topic_path("u"), Topic("u", {0: ReplicaAssignment((2, 1))}).encode())
    resigned = await cluster.events.first(since, event="controller_resigned")
    assert resigned["broker"] == before["broker"]
    assert "another controller" in resigned["reason"]
    again = await cluster.events.first(since, event="controller_elected")
    assert again["controller_epoch"] == 8
    await cluster.events.first(since, event="leader_started", topic="u")
    assert (await cluster.state("u", 0)).controller_epoch == 8


async def test_a_controller_whose_master_is_gone_resigns(cluster: Any) -> None:
    await cluster.up(1, 2)
    await cluster.events.first(event="controller_elected")
    since = len(cluster.events.heard)
    await cluster.zk.delete(znodes.MASTER)
    await cluster.events.first(since, event="controller_resigned")
    assert (await cluster.events.first(since, event="controller_elected"))["controller_epoch"] == 2


async def test_no_live_isr_member_is_offline_and_comes_back(cluster: Any) -> None:
    await cluster.up(1, 2, 3)
    await cluster.topic("t", (1, 2))
    await cluster.brokers[1].stopped()
    before = await cluster.becomes("t", 0, lambda s: s.leader == 2)
    since = len(cluster.events.heard)
    await cluster.brokers[2].stopped()
    offline = await cluster.events.first(since, event="partition_offline")
    assert (offline["topic"], offline["partition"], offline["isr"]) == ("t", 0, [2])
    state = await cluster.state("t", 0)
    assert (state.leader, state.isr) == (-1, (2,)), "the last ISR is kept"
    await cluster.up(1)
    await cluster.up(2)
    state = await cluster.becomes("t", 0, lambda s: s.leader == 1)
    assert set(state.isr) == {1, 2}

    # As written, for a broker may see only the last of several states that came quickly.
    def leaders() -> list[int]:
        written = [c for e in cluster.events.all(event="assignment_written") for c in e["changes"]]
        return [leader for _, _, leader, leader_epoch in written if leader_epoch > before.leader_epoch]

    await cluster.events.until(lambda: len(leaders()) == 3, "three writes")
    assert leaders() == [-1, 2, 1], "1 is not in the last ISR and must not lead first"


async def test_leadership_comes_back_with_the_broker(cluster: Any) -> None:
    await cluster.up(1, 2, 3)
    await cluster.topic("t", (3, 1, 2))
    await cluster.brokers[3].stopped()
    await cluster.becomes("t", 0, lambda s: s.leader == 1)
    await cluster.up(3)
    state = await cluster.becomes("t", 0, lambda s: s.leader == 3)
    assert state.leader_epoch == 3, "left, back in the ISR, leads again"


async def test_a_topic_is_placed_deleted_and_made_again(cluster: Any) -> None:
    await cluster.up(1, 2, 3)
    await cluster.zk.create(znodes.topic_path("t"), Topic("one", {}, TopicRequest(3, 2)).encode())
    for partition in range(3):
        await cluster.events.first(event="leader_started", topic="t", partition=partition, leader_epoch=0)
    since = len(cluster.events.heard)
    await cluster.zk.create(znodes.delete_topic_path("t"))
    await cluster.events.first(since, event="topic_deleted")
    assert await cluster.zk.exists(znodes.topic_path("t")) is None
    assert await cluster.zk.children(znodes.DELETE_TOPICS) == []
    await cluster.zk.create(znodes.topic_path("t"), Topic("two", {0: ReplicaAssignment((2,))}).encode())
    again = await cluster.events.first(since, event="leader_started", topic="t")
    assert (again["broker"], again["leader_epoch"]) == (2, 0)


async def test_a_topic_deleted_and_made_again_at_once_is_another(cluster: Any) -> None:
    """No look falls between: its znode has the same name and version, and only its zxid tells."""
    await cluster.up(1, 2)
    await cluster.topic("t", (1, 2))
    for path in (znodes.state_path("t", 0), znodes.partition_path("t", 0), znodes.partitions_path("t")):
        await cluster.zk.delete(path)
    since = len(cluster.events.heard)
    path = znodes.topic_path("t")
    again = Topic("another", {0: ReplicaAssignment((2, 1))})
    await cluster.zk.multi([coordination.Delete(path), coordination.Create(path, again.encode())])
    led = await cluster.events.first(since, event="leader_started", topic="t")
    assert (led["broker"], led["leader_epoch"]) == (2, 0)


async def test_a_requested_move(cluster: Any) -> None:
    await cluster.up(1, 2, 3)
    await cluster.topic("t", (1, 2))
    since = len(cluster.events.heard)
    await cluster.zk.create(znodes.REASSIGN_PARTITIONS, ReassignRequest({("t", 0): (3, 2)}).encode())
    led = await cluster.events.first(since, event="leader_started", broker=3)
    await cluster.becomes("t", 0, lambda s: set(s.isr) == {2, 3})
    assert cluster.events.all(since, event="assignment_planned")[0]["moves"] == 1
    assert led["leader_epoch"] > 0


async def test_an_unreadable_topic_stops_nobody(cluster: Any) -> None:
    await cluster.up(1, 2)
    await cluster.topic("good", (1, 2))
    since = len(cluster.events.heard)
    await cluster.zk.create(znodes.topic_path("bad"), b"not json")
    refused = await cluster.events.first(since, event="config_rejected", znode=znodes.topic_path("bad"))
    assert "not JSON" in refused["reason"]
    await cluster.topic("other", (2, 1))
    await cluster.zk.set(znodes.topic_path("bad"), Topic("mended", {0: ReplicaAssignment((1, 2))}).encode())
    await cluster.events.first(since, event="leader_started", topic="bad")


async def test_a_restart_of_the_coordination_server_moves_nothing(own_cluster: Any, own: Any) -> None:
    """kill -9 and restart: sessions, registrations and leaders are what they were."""
    cluster = own_cluster
    await cluster.up(1, 2, 3)
    await cluster.topic("t", (1, 2, 3), (2, 3, 1))
    await cluster.events.first(event="controller_elected")
    workers = {b: (await cluster.zk.exists(znodes.worker_path(b))).czxid for b in (1, 2, 3)}
    states = [await cluster.state("t", p) for p in (0, 1)]
    since = len(cluster.events.heard)
    own.kill()
    own.restart()
    await cluster.zk.wait_for(coordination.ConnectionState.CONNECTED)
    assert {b: (await cluster.zk.exists(znodes.worker_path(b))).czxid for b in (1, 2, 3)} == workers
    # The cluster is at work behind the restart: a new topic is led.
    await cluster.topic("after", (3, 1))
    assert [await cluster.state("t", p) for p in (0, 1)] == states
    moved = {"controller_elected", "controller_resigned", "broker_lost", "broker_registered"}
    assert [e for e in cluster.events.heard[since:] if e["event"] in moved] == []
    assert cluster.events.all(since, event="leader_started", topic="t") == []


async def test_a_deletion_that_cannot_be_holds_nobody_up(cluster: Any) -> None:
    """A foreign znode below a partition: the deletion is refused for as long as it is there, elections go on."""
    await cluster.up(1, 2, 3)
    await cluster.topic("t", (1, 2), (2, 1))
    await cluster.topic("u", (1, 2, 3))
    foreign = znodes.partition_path("t", 0) + "/foreign"
    await cluster.zk.create(foreign)
    await cluster.zk.create(znodes.delete_topic_path("t"))
    await cluster.brokers[1].stopped()
    await cluster.becomes("u", 0, lambda s: s.leader == 2)
    assert await cluster.zk.exists(znodes.topic_path("t")) is not None
    await cluster.zk.delete(foreign)
    await cluster.events.first(event="topic_deleted", topic="t")
