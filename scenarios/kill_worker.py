"""A worker dies: the ordinary failure."""

from brokerdemo.scenario import Cluster, scenario


@scenario(
    brokers=5,
    topics={"demo": (6, 3)},
    # Other work on the machine only adds: the least of three is what the code needs, and the session timeout (1500 ms)
    # is what nobody may have waited for. The budgets themselves are judged by `make bench`.
    thresholds={"recovery_ms": ["min<200", "max<1200"], "elect_ms": "max==0"},
    repeat=3,
)
async def kill_worker(cluster: Cluster) -> None:
    """A broker that is not the controller is killed; its partitions get new leaders.

    The kernel tells the supervisor that the process is gone (pidfd). The supervisor closes the dead broker's session
    with the session's own id and password: its death certificate. The server deletes the ephemeral /workers/N on its
    normal path, the controller's watch fires, and the controller writes new leaders for what the dead broker led.
    Without the certificate the same would begin only when the session times out; try `brokerdemo up
    --no-certificates`.

    Watch for: the controller stays the same, so the election takes no time at all; only leadership moves, because
    replicas stay where they are until `reassign.delay.ms` has passed.
    """
    controller, epoch = cluster.controller, cluster.controller_epoch
    victim = cluster.random.choice([broker for broker in cluster.live if broker != controller])

    fault = await cluster.kill(victim)
    recovery = await cluster.recovered(fault, within="2s")

    assert recovery.detected_by == "certificate"
    assert (cluster.controller, cluster.controller_epoch) == (controller, epoch), (
        "the controller had no reason to change"
    )
    assert all(cluster.leader("demo", p) not in (None, victim) for p in range(6)), "every partition has a live leader"
    assert all(victim not in cluster.isr("demo", p) for p in range(6)), "a dead replica is in sync with nobody"

    await cluster.restart(victim)
    await cluster.in_sync(within="5s")
    assert recovery.serving_ms < 1200
