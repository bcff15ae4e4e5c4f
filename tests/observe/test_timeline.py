"""Stages of recorded faults: real event logs of real processes, cut at the fault, times moved to start at 1 s."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from brokerdemo.observe.events import problems
from brokerdemo.observe.timeline import FaultTimeline, faults_in

GOLDEN = Path(__file__).parent / "golden"


def load(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / f"{name}.ndjson").read_text().splitlines()]


# file, fault, target, detected_by, stages, moved partitions
FAULTS = [
    ("kill_controller", "f1", 1, "certificate", (11.338, 15.764, 30.257, 38.241), {"0": 2, "5": 3}),
    ("kill_worker", "f9", 1, "certificate", (14.004, 14.004, 24.544, 25.926), {"0": 2, "5": 3}),
    ("kill_controller_and_worker", "f3", 5, "certificate", (11.921, 17.387, 31.04, 32.608), {"3": 1}),
    ("kill_controller_and_worker", "f4", 4, "certificate", (10.973, 17.321, 30.974, 35.003), {"1": 1}),
    ("pause_controller", "f5", 5, "session_timeout", (1371.662, 1371.662, 1395.998, 1400.27), {"3": 1}),
    ("goodbye", "f7", 1, "goodbye", (12.957, 12.957, 18.576, 25.116), {"0": 2, "3": 2, "5": 3}),
    ("kill_coordinator", "f6", "coordinator", "exit", (16.522, None, None, 74.119), {}),
]


@pytest.mark.parametrize(("name", "fault", "target", "by", "stages", "moved"), FAULTS)
def test_stages_of_a_recorded_fault(
    name: str, fault: str, target: object, by: str, stages: tuple[float, ...], moved: dict[str, int]
) -> None:
    report = faults_in(load(name))[fault].report()
    assert report["schema"] == "brokerdemo.fault/1"
    assert report["target"] == target
    assert report["detected_by"] == by
    assert tuple(report["stages_ms"].values()) == stages
    assert report["recovered"] is True
    assert {str(m["partition"]): m["to"] for m in report["moved"]} == moved


@pytest.mark.parametrize("name", sorted({row[0] for row in FAULTS}))
def test_stages_never_go_back(name: str) -> None:
    for timeline in faults_in(load(name)).values():
        times = [t for t in timeline.stages_ns().values() if t is not None]
        assert times == sorted(times)


def test_order_of_arrival_does_not_matter() -> None:
    """Channels of different brokers are read in no particular order; `t_ns` decides."""
    events = load("kill_worker")
    expected = FAULTS[1][4]
    for seed in range(20):
        rest = events[1:]
        random.Random(seed).shuffle(rest)
        timeline = FaultTimeline(events[0])
        for event in rest:
            timeline.feed(event)
        serving = timeline.report()["stages_ms"]
        assert timeline.recovered
        # Once all is seen the fault is settled; what is fed later changes nothing, so only the last stage is exact.
        assert serving["serving"] == expected[3]


def test_a_pause_nobody_noticed() -> None:
    report = faults_in(load("pause_unnoticed"))["f8"].report()
    assert report["recovered"] is True
    assert report["detected_by"] is None
    assert set(report["stages_ms"].values()) == {None}
    assert "nobody noticed" in report["notes"][0]


def test_what_the_killed_still_said_does_not_count() -> None:
    events = load("kill_worker")
    posthumous = {
        "event": "leader_started",
        "t_ns": events[0]["t_ns"] + 1,
        "source": "broker 1",
        "broker": 1,
        "topic": "demo",
        "partition": 0,
        "leader_epoch": 999,
    }
    timeline = FaultTimeline(events[0])
    assert timeline.feed(posthumous) == []
    for event in events[1:]:
        timeline.feed(event)
    assert timeline.report()["stages_ms"]["serving"] == FAULTS[1][4][3]


def test_offline_partitions_end_the_wait_but_are_no_recovery() -> None:
    events = load("kill_worker")
    timeline = FaultTimeline(events[0])
    for event in events[1:]:
        if event["event"] == "leader_started":
            event = {**event, "event": "partition_offline"}
        timeline.feed(event)
    report = timeline.report()
    assert timeline.settled
    assert report["recovered"] is False
    assert report["offline"] == ["demo/0", "demo/5"]
    assert report["stages_ms"]["serving"] is None


def test_a_broker_without_partitions() -> None:
    injected = {
        "event": "fault_injected", "fault": "f1", "t_ns": 0, "source": "supervisor", "kind": "kill", "target": 3,
        "broker": 3, "controller": {"id": 1, "epoch": 1}, "led": {}, "follows": [], "together": [3], "roles": [],
    }  # fmt: skip
    timeline = FaultTimeline(injected)
    lost = {"event": "broker_lost", "broker": 3, "t_ns": 5_000_000, "source": "broker 1", "by": "certificate"}
    assert timeline.feed(lost) == ["detected", "controller", "reassigned", "serving"]
    report = timeline.report()
    assert report["stages_ms"] == {"detected": 5.0, "controller": 5.0, "reassigned": 5.0, "serving": 5.0}
    assert "led no partition" in report["notes"][0]


def test_recorded_events_are_in_the_catalogue() -> None:
    for path in GOLDEN.glob("*.ndjson"):
        for line in path.read_text().splitlines():
            assert problems(json.loads(line)) == [], line
