"""Settings change while the cluster runs, and a bad one is refused."""

from brokerdemo.scenario import Cluster, scenario


@scenario(
    brokers=5,
    topics={"demo": (6, 3)},
    thresholds={"config_delay_ms": ["min<50", "max<1000"], "leader_moves": "max==0"},
)
async def config_change(cluster: Cluster) -> None:
    """One write to /config/cluster reaches every broker; a value that makes no sense reaches none.

    Settings live in znodes, and every broker watches them: a watch means "look again", so a broker that missed a change
    while it was disconnected still ends up with the last one. Each broker says when it has applied what. Anyone with a
    ZooKeeper client can write nonsense there, so a value is checked where it is used: the broker keeps its last good
    settings and names znode, key, value and reason. One bad key must not take the good ones down with it.

    Watch for: five acknowledgements with their delays; then five refusals, and behaviour unchanged.
    """
    change = await cluster.config.set("cluster", {"log.level": "debug", "reassign.delay.ms": "8000"})
    assert sorted(change.applied_ms) == sorted(cluster.brokers)
    assert change.rejected == ()

    start = await cluster.now()
    refused = await cluster.config.set("cluster", {"reassign.delay.ms": "soon"})
    assert sorted(one["broker"] for one in refused.rejected) == sorted(cluster.brokers)
    assert {one["key"] for one in refused.rejected} == {"reassign.delay.ms"}
    assert all(one["reason"] for one in refused.rejected), "a refusal says why"
    said = await cluster.event("config_rejected", since=start, key="reassign.delay.ms", value="soon")
    assert said["znode"] == "/config/cluster"
    await cluster.steady()

    corrected = await cluster.config.set("cluster", {"reassign.delay.ms": "10000", "log.level": "info"})
    assert sorted(corrected.applied_ms) == sorted(cluster.brokers)
    assert corrected.slowest_ms < 1000
