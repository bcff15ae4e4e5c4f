"""The controller and a leader die in the same instant."""

from brokerdemo.scenario import Cluster, scenario


@scenario(
    brokers=5,
    topics={"demo": (12, 3)},
    # Other work on the machine only adds: the least of three is what the code needs, and the session timeout (1500 ms)
    # is what nobody may have waited for. The budgets themselves are judged by `make bench`.
    thresholds={"recovery_ms": ["min<200", "max<1200"]},
    repeat=3,
)
async def kill_master_and_worker(cluster: Cluster) -> None:
    """Whoever would repair the loss of a worker is lost with it; a new controller repairs both.

    A new controller has not seen the worker go: when it comes to office, the worker is simply not there. It has to find
    that out by comparing what the partitions' states say with who is registered, not by waiting for a watch. Three
    replicas out of five brokers survive two deaths: every partition keeps at least one replica that was in sync.

    Watch for: both faults are recovered by the same election and the same plan.
    """
    master = cluster.controller
    worker = cluster.random.choice([broker for broker in cluster.live if broker != master])

    faults = await cluster.kill_together(master, worker)
    recoveries = [await cluster.recovered(fault, within="2s") for fault in faults]

    assert len({recovery.new_controller for recovery in recoveries}) == 1
    assert cluster.controller not in (master, worker)
    leaders = {cluster.leader("demo", p) for p in range(12)}
    assert leaders <= set(cluster.live), f"led by {leaders}, alive are {cluster.live}"

    await cluster.restart(f"{master},{worker}")
    await cluster.in_sync(within="5s")
    assert max(recovery.serving_ms for recovery in recoveries) < 500
