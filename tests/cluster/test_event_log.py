"""The event log: order, followers of every speed, lines on disk."""

import json
import os
from pathlib import Path

import pytest
import trio
import trio.testing

from brokerdemo.cluster.event_log import EventLog, FellBehindError


async def test_seq_rises_and_listeners_come_in_order() -> None:
    log = EventLog()
    heard: list[tuple[int, str]] = []

    def listen(event: dict[str, object]) -> None:
        heard.append((int(str(event["seq"])), str(event["event"])))
        if event["event"] == "one":
            log.emit("answer")

    log.listeners.append(listen)
    log.emit("one")
    log.emit("two")
    assert heard == [(1, "one"), (2, "answer"), (3, "two")]
    assert [e["event"] for e in log.kept(1)] == ["answer", "two"]


async def test_followers_see_everything_once_whenever_they_come() -> None:
    log = EventLog()
    for n in range(3):
        log.emit("early", n=n)
    seen: list[int] = []

    async def follow(task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        async for record in log.follow(1):
            seen.append(record.event["n"])
            if len(seen) == 4:
                return

    async with trio.open_nursery() as nursery:
        await nursery.start(follow)
        log.emit("late", n=3)
        log.emit("late", n=4)
    assert seen == [1, 2, 3, 4]


async def test_a_slow_follower_is_dropped_and_nobody_waits_for_it() -> None:
    log = EventLog(capacity=10)
    follower = log.follow(0)
    log.emit("first")
    assert (await anext(follower)).event["seq"] == 1
    for _ in range(50):
        log.emit("more")  # never waits
    with pytest.raises(FellBehindError, match="event 2 is not kept any more, the oldest is 42"):
        await anext(follower)


async def test_a_new_follower_begins_with_the_oldest_kept() -> None:
    log = EventLog(capacity=5)
    for _ in range(12):
        log.emit("x")
    assert (await anext(log.follow(0))).event["seq"] == 8
    assert log.first_seq == 8


async def test_lines_on_disk_are_the_events(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "events.ndjson", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    log = EventLog(fd, capacity=3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.write)
        await trio.testing.wait_all_tasks_blocked()
        for n in range(10):
            log.emit("x", n=n)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    log.emit("last", n=10)
    log.flush()
    os.close(fd)
    lines = (tmp_path / "events.ndjson").read_text().splitlines()
    assert [json.loads(line)["n"] for line in lines] == list(range(11))


async def test_a_full_disk_ends_the_file_and_not_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    log = EventLog(fd)
    log.emit("x")
    log.flush()
    os.close(fd)
    assert "events.ndjson ends at event 1" in capsys.readouterr().err
    log.emit("y")
    log.flush()
    assert [e["event"] for e in log.kept(0)] == ["x", "y"]
