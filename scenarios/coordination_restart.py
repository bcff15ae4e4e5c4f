"""The coordination server is killed and started again."""

from brokerdemo.scenario import Cluster, scenario


@scenario(
    brokers=5,
    topics={"demo": (6, 3)},
    session_timeout="6s",
    thresholds={"registrations": "max==0", "leader_moves": "max==0", "epoch_changes": "max==0", "back_ms": "max<2000"},
    metrics={"back_ms": "ms"},
    repeat=2,
)
async def coordination_restart(cluster: Cluster) -> None:
    """kill -9 of the server that everybody depends on, and nothing moves: the sessions are in its log.

    The server writes every change to its log, and syncs it, before it answers; sessions are changes like any other.
    After the restart it knows each session, gives it its full timeout again and waits for its client. The brokers
    reconnect with their session id and password, and find their ephemerals where they were. No ephemeral went, so no
    watch fired, so nobody was elected and nothing was reassigned.

    Watch for: no registration, no new leader, no new controller. What would have gone wrong without durable sessions is
    all five brokers lost in one instant.
    """
    before, controller = cluster.view.assignment(), (cluster.controller, cluster.controller_epoch)
    brokers = {broker: cluster.view.broker(broker)["epoch"] for broker in cluster.brokers}
    start = await cluster.now()

    await cluster.restart("coordinator")
    await cluster.event("coordination_resumed", since=start, within="5s")
    await cluster.steady(within="5s")

    # The proof that the cluster still works, and not only looks the same: everybody hears of a change.
    change = await cluster.config.set("cluster", {"reassign.delay.ms": "9000"})
    assert sorted(change.applied_ms) == sorted(cluster.brokers)

    assert cluster.view.assignment() == before, "nothing moved"
    assert (cluster.controller, cluster.controller_epoch) == controller
    assert {broker: cluster.view.broker(broker)["epoch"] for broker in cluster.brokers} == brokers, "the same sessions"
    events = await cluster.events(since=start)
    resumed = next(event for event in events if event["event"] == "coordination_resumed")
    exited = next(event for event in events if event["event"] == "process_exited")
    back_ms = (resumed["t_ns"] - exited["t_ns"]) / 1e6
    cluster.metric("back_ms", back_ms)
    assert back_ms < 2000
