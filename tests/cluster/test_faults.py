"""Faults on real processes: every kind, measured, recovered; what the supervisor says about each."""

import os
import signal
from typing import Any

import pytest

from brokerdemo.cluster.errors import ClusterError, Code
from tests.cluster.conftest import Cluster, Up

STAGES = ("detected", "controller", "reassigned", "serving")


def check_stages(fault: dict[str, Any], most_ms: float) -> None:
    times = [fault["stages_ms"][stage] for stage in STAGES]
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < most_ms
    assert fault["recovered"] is True


def leaders(cluster: Cluster) -> dict[str, int]:
    found = cluster.call("status")
    return {f"{t['name']}/{p['partition']}": p["leader"] for t in found["topics"] for p in t["partitions"]}


def states(cluster: Cluster) -> dict[int, str]:
    return {b["id"]: b["state"] for b in cluster.call("status")["brokers"]}


def test_kill_restart_and_kill_again(cluster: Cluster) -> None:
    before = leaders(cluster)
    controller = cluster.call("status")["controller"]["id"]
    worker = next(b for b in before.values() if b != controller)

    fault = cluster.call("kill", targets=worker)
    check_stages(fault, 10_000)
    assert fault["detected_by"] == "certificate"
    assert fault["roles"] == ["leader", "follower"]
    assert fault["led"] == sorted(name for name, leader in before.items() if leader == worker)
    assert {f"{m['topic']}/{m['partition']}" for m in fault["moved"]} == set(fault["led"])
    assert fault["new_controller"]["id"] == controller
    assert fault["degraded"]["offline"] == 0
    assert fault["degraded"]["under_replicated"] > 0
    assert worker not in leaders(cluster).values()
    assert states(cluster)[worker] == "dead"

    with pytest.raises(ClusterError, match=f"broker {worker} is already dead") as caught:
        cluster.call("kill", targets=worker)
    assert caught.value.code == Code.CONFLICT

    port = next(b["port"] for b in cluster.call("status")["brokers"] if b["id"] == worker)
    done = cluster.call("restart", targets=worker)["restarted"][0]
    assert done["in_sync_ms"] >= done["registered_ms"] > 0
    status = cluster.call("status")
    assert next(b["port"] for b in status["brokers"] if b["id"] == worker) == port
    assert [b["state"] for b in status["brokers"]] == ["live"] * 5
    assert all(set(p["isr"]) == set(p["replicas"]) for p in status["topics"][0]["partitions"])

    fault = cluster.call("kill", targets="controller")
    check_stages(fault, 10_000)
    assert fault["detected_by"] == "certificate"
    assert fault["target"] == controller
    assert "controller" in fault["roles"]
    assert fault["new_controller"]["epoch"] == fault["controller_before"]["epoch"] + 1
    assert cluster.call("timeline", fault="last")["stages_ms"] == fault["stages_ms"]


def test_controller_and_worker_in_one_shot(cluster: Cluster) -> None:
    steps: list[dict[str, Any]] = []
    faults = cluster.client.call("kill", steps.append, targets=["controller", "random"])
    assert len(faults) == 2
    for fault in faults:
        check_stages(fault, 10_000)
    gone = {fault["target"] for fault in faults}
    assert not gone & set(leaders(cluster).values())
    told = {(s["step"]["fault"], s["step"]["stage"]) for s in steps}
    assert told == {(fault["fault"], stage) for fault in faults for stage in STAGES}


def test_without_certificates_the_session_timeout_detects(up: Up) -> None:
    cluster = up(brokers=3, session_timeout_ms=600, certificates=False)
    fault = cluster.call("kill", targets="leader")
    assert fault["detected_by"] == "session_timeout"
    # Its last sign of life may be up to a third of the timeout old when it is killed.
    assert fault["stages_ms"]["detected"] > 600 * 0.5
    check_stages(fault, 5_000)


def test_pause_is_detected_by_timeout_and_the_zombie_is_fenced(up: Up) -> None:
    cluster = up(brokers=3, session_timeout_ms=600)
    fault = cluster.call("pause", targets="controller", wait=True)
    paused = fault["target"]
    assert fault["kind"] == "pause"
    assert fault["detected_by"] == "session_timeout"
    check_stages(fault, 5_000)
    assert states(cluster)[paused] == "paused"
    with pytest.raises(ClusterError, match="already paused"):
        cluster.call("pause", targets=paused)
    since = cluster.call("events")["last_seq"]
    resumed = cluster.call("resume", targets="all")
    assert resumed["resumed"] == [paused]
    assert resumed["fenced"][str(paused)]["registered_ms"] > 0
    fenced = cluster.call("await", event={"event": "broker_fenced", "broker": paused}, since=since, within_ms=5_000)
    assert fenced["event"]["broker"] == paused
    assert states(cluster)[paused] == "live"


def test_a_short_pause_is_noticed_by_nobody(cluster: Cluster) -> None:
    fault = cluster.call("pause", targets=2, for_ms=150, wait=True)
    assert fault["recovered"] is True
    assert fault["detected_by"] is None
    assert fault["healed_ms"] >= 150
    assert states(cluster)[2] == "live"


def test_goodbye(cluster: Cluster) -> None:
    fault = cluster.call("kill", targets="leader", signal="TERM")
    assert fault["detected_by"] == "goodbye"
    check_stages(fault, 10_000)


def test_coordinator_killed_sessions_survive(cluster: Cluster) -> None:
    before = cluster.call("status")
    fault = cluster.call("kill", targets="coordinator")
    assert fault["recovered"] is True
    assert fault["target"] == "coordinator"
    assert fault["detected_by"] == "exit"
    assert fault["stages_ms"]["serving"] > fault["stages_ms"]["detected"] > 0
    assert fault["notes"] == ["sessions survived: no leader and no controller changed before it answered"]
    after = cluster.call("status")
    assert after["topics"] == before["topics"]
    assert after["controller"] == before["controller"]
    assert [b["epoch"] for b in after["brokers"]] == [b["epoch"] for b in before["brokers"]]
    assert after["coordination"]["connect"] == before["coordination"]["connect"]
    assert after["coordination"]["pid"] != before["coordination"]["pid"]
    done = cluster.call("restart", targets="coordinator")["restarted"][0]
    assert done["ready_ms"] > 0
    assert cluster.call("status")["topics"] == before["topics"]


def test_rolling_restart_keeps_ids_ports_and_owners(cluster: Cluster) -> None:
    before = cluster.call("status")["brokers"]
    steps: list[dict[str, Any]] = []
    since = cluster.call("events")["last_seq"]
    done = cluster.client.call("restart", steps.append, targets="all", rolling=True)["restarted"]
    assert [one["broker"] for one in done] == [1, 2, 3, 4, 5]
    assert [s["step"]["name"] for s in steps] == ["stopped", "in sync"] * 5
    after = cluster.call("status")["brokers"]
    assert [(b["id"], b["port"]) for b in after] == [(b["id"], b["port"]) for b in before]
    assert all(new["epoch"] > old["epoch"] for new, old in zip(after, before, strict=True))
    lost = [e["event"] for e in read_events(cluster, since) if e["event"]["event"] == "broker_lost"]
    assert {e["by"] for e in lost} <= {"goodbye", "bounced"}


def read_events(cluster: Cluster, since: int) -> list[dict[str, Any]]:
    with cluster.client.request("events", since=since) as lines:
        return list(lines)


def test_waiting_ends_in_time_with_what_was_seen(up: Up) -> None:
    cluster = up(brokers=3, session_timeout_ms=5_000, certificates=False)
    with pytest.raises(ClusterError) as caught:
        cluster.call("kill", targets="leader", within_ms=200)
    assert caught.value.code == Code.TIMED_OUT
    assert "DETECTED" in caught.value.why
    (fault,) = (caught.value.result or {})["faults"]
    assert fault["recovered"] is False
    assert states(cluster)[fault["target"]] == "suspect"  # gone, and the service does not know yet


def test_a_broker_killed_from_outside_is_a_fault_too(cluster: Cluster) -> None:
    pid = cluster.processes()["broker 2"][0]
    since = cluster.call("events")["last_seq"]
    os.kill(pid, signal.SIGKILL)
    recovered = cluster.call("await", event={"event": "fault_recovered"}, since=since, within_ms=10_000)["event"]
    fault = cluster.call("timeline", fault=recovered["fault"])
    assert fault["kind"] == "exit"
    assert fault["target"] == 2
    assert fault["detected_by"] == "certificate"
    assert "from outside" in fault["notes"][-1]


def test_config_reaches_every_broker_and_a_bad_value_is_named(cluster: Cluster) -> None:
    done = cluster.call("config_set", scope="cluster", settings={"reassign.delay.ms": "2500"})
    assert [one["broker"] for one in done["applied"]] == [1, 2, 3, 4, 5]
    assert all(one["delay_ms"] > 0 for one in done["applied"])
    bad = cluster.call("config_set", scope="broker:2", settings={"log.level": "loud"})
    assert bad["applied"] == []
    assert [(one["broker"], one["key"], one["value"]) for one in bad["rejected"]] == [(2, "log.level", "loud")]
    assert cluster.call("status")["config_rejected"][0]["znode"] == "/config/brokers/2"
    cluster.call("config_set", scope="broker:2", settings={"log.level": None})
    assert cluster.call("status")["config_rejected"] == []
    assert cluster.call("config_get", scope="cluster")["config"] == {"reassign.delay.ms": "2500"}
    with pytest.raises(ClusterError, match="not a scope"):
        cluster.call("config_get", scope="everything")


def test_topics(cluster: Cluster) -> None:
    assert [t["name"] for t in cluster.call("topics_list")["topics"]] == ["demo"]
    made = cluster.call("topics_create", name="orders", partitions=4, rf=2)
    assert len(made["partitions"]) == 4
    for wrong, code in (
        ({"name": "orders"}, Code.CONFLICT),
        ({"name": "a/b"}, Code.USAGE),
        ({"name": "big", "rf": 6}, Code.USAGE),
    ):
        with pytest.raises(ClusterError) as caught:
            cluster.call("topics_create", **wrong)
        assert caught.value.code == code
    assert cluster.call("topics_describe", name="orders")["partitions"] == made["partitions"]
    cluster.call("topics_delete", name="orders")
    with pytest.raises(ClusterError, match="no topic orders") as caught:
        cluster.call("topics_describe", name="orders")
    assert caught.value.code == Code.NOT_FOUND
