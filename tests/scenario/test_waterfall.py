"""The waterfall: bars to scale, nothing invented. Pure text, no cluster."""

import json
from typing import Any

import pytest

from brokerdemo.observe import event_line
from brokerdemo.observe.waterfall import bar, render
from brokerdemo.observe.waterfall_svg import draw

KILL: dict[str, Any] = {
    "fault": "f1", "kind": "kill", "signal": "KILL", "target": 2, "pid": 7, "roles": ["controller", "leader"],
    "led": ["demo/10", "demo/2"], "detected_by": "certificate", "session_timeout_ms": 1500, "recovered": True,
    "stages_ms": {"detected": 10.0, "controller": 20.0, "reassigned": 30.0, "serving": 40.0},
    "controller_before": {"id": 2, "epoch": 1}, "new_controller": {"id": 3, "epoch": 2},
    "moved": [{"topic": "demo", "partition": 10, "to": 3}, {"topic": "demo", "partition": 2, "to": 1}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("start", "end", "drawn"),
    [
        (0, 100, "##########"),
        (0, 50, "#####     "),
        (50, 100, "     #####"),
        (20, 30, "  #       "),
        (99.9, 100, "         |"),  # too short for a cell: a tick, at its place
        (0, 0, "|         "),
        (52, 53, "     |    "),
        (100, 100, "         |"),
    ],
)
def test_a_bar_is_to_scale(start: float, end: float, drawn: str) -> None:
    assert bar(start, end, 100, 10, unicode=False) == drawn


def test_bars_follow_each_other_without_gap_or_overlap() -> None:
    rows = [line for line in render(KILL, width=100, unicode=False) if "##" in line]
    columns = [[i for i, c in enumerate(row) if c == "#"] for row in rows]
    assert {len(c) - len(columns[0]) for c in columns} <= {-1, 0, 1}  # four stages of 10 ms each
    assert [c[0] for c in columns[1:]] == [c[-1] + 1 for c in columns[:-1]]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_lines_fit(width: int) -> None:
    assert max(len(line) for line in render(KILL, width=width)) <= width


def test_partitions_are_in_the_order_people_count_in() -> None:
    assert "leads demo/2, demo/10" in render(KILL)[0]


def test_a_living_controller_had_no_election() -> None:
    fault = {
        **KILL,
        "roles": ["leader"],
        "new_controller": {"id": 1, "epoch": 4},
        "controller_before": {"id": 1, "epoch": 4},
    }
    (row,) = (line for line in render(fault) if "controller " in line and "stays" in line)
    assert row.split()[0] == "-"
    assert "broker 1 stays, epoch 4" in row


def test_the_session_timeout_is_named_beside_what_it_shaped() -> None:
    fault = {**KILL, "detected_by": "session_timeout", "stages_ms": {
        "detected": 1450.0, "controller": 1460.0, "reassigned": 1470.0, "serving": 1480.0}}  # fmt: skip
    text = "\n".join(render(fault))
    assert "by the session timeout (1500 ms)" in text
    assert "98% of this was waiting for the session to expire (session timeout 1500 ms" in text


def test_what_was_not_seen_says_so() -> None:
    fault = {**KILL, "recovered": False, "stages_ms": {
        "detected": 10.0, "controller": None, "reassigned": None, "serving": None}}  # fmt: skip
    lines = render(fault)
    assert [line.split()[1] for line in lines if line.lstrip().startswith("?")] == [
        "CONTROLLER",
        "REASSIGNED",
        "SERVING",
    ]
    assert any(line.startswith("not recovered yet") for line in lines)
    assert "not seen" in draw(fault)


def test_a_broker_that_led_nothing() -> None:
    fault = {**KILL, "led": [], "moved": [], "roles": ["follower"]}
    assert any(line.split()[:2] == ["-", "serving"] and "it led no partition" in line for line in render(fault))


def test_a_pause_nobody_noticed_is_one_line() -> None:
    fault = {**KILL, "kind": "pause", "signal": "STOP", "detected_by": None, "notes": ["nobody noticed"],
             "stages_ms": dict.fromkeys(("detected", "controller", "reassigned", "serving"))}  # fmt: skip
    assert len(render(fault)) == 2
    assert "nobody noticed" in render(fault)[1]


def test_the_coordination_server_concerns_no_controller() -> None:
    fault = {**KILL, "target": "coordinator", "roles": ["coordinator"], "detected_by": "exit", "stages_ms": {
        "detected": 10.0, "controller": None, "reassigned": None, "serving": 60.0}}  # fmt: skip
    text = "\n".join(render(fault))
    assert "it answers again, on the same port" in text
    assert "?" not in text


def test_an_answer_of_another_version_still_draws() -> None:
    assert render({"stages_ms": {}})
    assert draw({"stages_ms": {}}).startswith("<svg")
    assert draw(json.loads(json.dumps({**KILL, "target": "<script>"}))).count("<script>") == 0


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({"event": "assignment_planned", "moves": 2, "lower_bound": 2, "partitions": ["t/0"]}, "t/0: 2 replica moves"),
        ({"event": "assignment_planned", "moves": 2}, "moves=2"),  # a field is missing: shown as it is, never lost
        ({"event": "broker_lost", "broker": 3, "by": "certificate"}, "/workers/3 is gone (by certificate)"),
        ({"event": "of_tomorrow", "x": 1}, "x=1"),
        ({"event": "process_exited", "process": "coordinator", "exit_code": 0}, "coordinator: exit 0"),
    ],
)
def test_event_sentences(event: dict[str, Any], says: str) -> None:
    assert says in event_line.line({"seq": 1, "t_ns": 1, "source": "test", **event})
