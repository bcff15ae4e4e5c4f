"""Every broker is restarted, one after the other: an upgrade."""

from brokerdemo.scenario import Cluster, scenario


@scenario(
    brokers=5,
    topics={"demo": (6, 3)},
    thresholds={"rejoin_ms": "max<3000", "in_sync_ms": "max<5000", "offline": "count==0"},
    metrics={"offline": "count"},
    timeout="45s",
)
async def rolling_restart(cluster: Cluster) -> None:
    """Each broker leaves with a goodbye and comes back in sync before the next one goes.

    A broker told to stop (SIGTERM) resigns, hands its partitions over and closes its own session, so nobody has to
    detect anything: the ephemeral is gone at once. When it returns it takes its id back by the owner written in its
    data directory. Waiting for full ISRs in between is what keeps the cluster able to lose one more broker at any
    moment.

    Watch for: no partition is ever offline, and at the end every replica is in sync again.
    """
    start = await cluster.now()

    restarted = await cluster.restart("all", rolling=True, within="40s")

    assert sorted(str(one.process) for one in restarted) == sorted(str(broker) for broker in cluster.brokers)
    await cluster.in_sync(within="5s")
    offline = [event for event in await cluster.events(since=start) if event["event"] == "partition_offline"]
    cluster.metric("offline", len(offline))
    assert not offline, f"a partition was without a leader: {offline}"
    slowest_ms = max(one.in_sync_ms or one.registered_ms or 0.0 for one in restarted)
    assert slowest_ms < 5000
