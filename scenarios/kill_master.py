"""The controller dies: an election, then everything a dead worker needs."""

from brokerdemo.scenario import Cluster, scenario


@scenario(
    brokers=5,
    topics={"demo": (6, 3)},
    # Other work on the machine only adds: the least of three is what the code needs, and the session timeout (1500 ms)
    # is what nobody may have waited for. The budgets themselves are judged by `make bench`.
    thresholds={"recovery_ms": ["min<200", "max<1200"], "elect_ms": "max<1000", "epoch_changes": "max==1"},
    repeat=3,
)
async def kill_master(cluster: Cluster) -> None:
    """The controller is killed; exactly one other broker takes over, at a higher epoch, and finishes the work.

    Every broker contends for /master, an ephemeral znode; the losers watch it. When the dead controller's session is
    closed the znode goes, they all try again, and one create succeeds. The winner raises /master_epoch in the same
    multi, so that every write of the old controller is refused from then on. Then it re-reads everything: what the
    old one had planned is not trusted.

    Watch for: one new epoch, not two. A herd of contenders must not make a herd of elections.
    """
    old, epoch = cluster.controller, cluster.controller_epoch

    fault = await cluster.kill("controller")
    recovery = await cluster.recovered(fault, within="2s")

    assert recovery.new_controller not in (None, old)
    assert cluster.controller == recovery.new_controller
    assert cluster.controller_epoch == epoch + 1, "one death, one election"

    await cluster.restart(old)
    await cluster.in_sync(within="5s")
    assert cluster.controller == recovery.new_controller, "coming back is no reason to become the controller again"
    assert recovery.serving_ms < 1200
