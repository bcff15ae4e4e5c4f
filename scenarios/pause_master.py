"""The controller is paused for longer than its session: a zombie comes back."""

from brokerdemo.scenario import Cluster, scenario

SESSION_TIMEOUT_MS = 600


@scenario(
    brokers=5,
    topics={"demo": (6, 3)},
    session_timeout=f"{SESSION_TIMEOUT_MS}ms",
    thresholds={
        # Other work on the machine only adds: the least of two is what the code needs.
        "recovery_ms": [f"min<{SESSION_TIMEOUT_MS + 300}", f"max<{3 * SESSION_TIMEOUT_MS}"],
        "detect_ms": f"min>{SESSION_TIMEOUT_MS / 2}",
    },
    repeat=2,
)
async def pause_master(cluster: Cluster) -> None:
    """A stopped process keeps its sockets and says nothing: only the session timeout can tell, and no certificate.

    This is what a long garbage collection, a frozen machine or a cut network looks like. Nobody proves anything here;
    the server stops hearing heartbeats, waits for the session timeout, and deletes the ephemerals. A new controller
    takes over. Then the old one wakes up in the middle of whatever it was doing, sure that it is the controller. Its
    writes carry a check of /master_epoch and are refused; its session is over; it finds itself deposed, says so
    (`broker_fenced`) and registers again as an ordinary broker.

    Watch for: the recovery takes the session timeout plus a little. A shorter timeout makes this faster, and makes
    healthy brokers fall for a hiccup: that is the trade.
    """
    zombie, epoch = cluster.controller, cluster.controller_epoch

    async with cluster.paused("controller") as fault:
        recovery = await cluster.recovered(fault, within="5s")
        assert recovery.detected_by == "session_timeout", "a paused process must not be declared dead by proof"
        assert recovery.new_controller not in (None, zombie)
        assert cluster.controller_epoch == epoch + 1

    # It is awake again: it must notice, and it must not have been the controller for a moment.
    await cluster.event("broker_fenced", broker=zombie, since=fault.seq, within="5s")
    await cluster.event("broker_registered", broker=zombie, since=fault.seq, within="5s")
    await cluster.steady(within="5s")

    elected = [
        event["broker"] for event in await cluster.events(since=fault.seq) if event["event"] == "controller_elected"
    ]
    assert elected == [recovery.new_controller], f"elected: {elected}"
    assert cluster.controller == recovery.new_controller
    assert recovery.serving_ms < 3 * SESSION_TIMEOUT_MS
