"""Group commit: what shares a sync, in which order it is reported, and what an error ends. No pause anywhere: the log
under test blocks until the test lets it go.
"""

import select
import threading
from collections.abc import Iterator, Sequence

import pytest

from coordination.server import log_writer
from coordination.server.log_writer import LogWriter
from coordination.storage import LogWriteError


class GatedLog:
    """A log whose syncs wait for the test."""

    def __init__(self) -> None:
        self.last_zxid = 0
        self.batches: list[list[bytes]] = []
        self.gate = threading.Semaphore(0)
        self.gated = False
        self.fails = False

    def read(self, after_zxid: int = 0) -> Iterator[tuple[int, bytes]]:
        return iter(())

    def append(self, payloads: Sequence[bytes]) -> None:
        self.batches.append(list(payloads))

    def sync(self) -> None:
        if self.gated:
            assert self.gate.acquire(timeout=20)
        if self.fails:
            raise LogWriteError("the disk is full", 28)

    def roll(self) -> None: ...

    def truncate(self, after_zxid: int) -> None: ...

    def close(self) -> None: ...


class Clock:
    """The log's syncs take the time the test says, on the writer's clock."""

    def __init__(self) -> None:
        self.ns = 0

    def perf_counter_ns(self) -> int:
        return self.ns


class TimedLog(GatedLog):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.sync_us = 0

    def sync(self) -> None:
        self.clock.ns += self.sync_us * 1000


@pytest.fixture
def log() -> GatedLog:
    return GatedLog()


def threaded(log: GatedLog, reported: list[int]) -> LogWriter:
    """A writer that has found this disk slow."""
    writer = LogWriter(log, reported.append)
    writer._threaded = True
    writer._term = 1000
    log.gated = True
    return writer


def wait(writer: LogWriter) -> None:
    assert select.select([writer.fileno()], [], [], 20)[0]
    writer.finished()


def test_a_quick_disk_is_synced_in_place(log: GatedLog) -> None:
    reported: list[int] = []
    writer = LogWriter(log, reported.append)
    writer.append([b"1", b"2"], 2)
    assert reported == [2]
    assert log.batches == [[b"1", b"2"]]
    assert writer.syncs == 1
    writer.close()


def test_without_force_sync_nothing_is_synced(log: GatedLog) -> None:
    reported: list[int] = []
    writer = LogWriter(log, reported.append, sync=False)
    log.gated = True
    writer.append([b"1"], 1)
    assert reported == [1]
    writer.close()


def test_what_gathers_while_a_sync_runs_shares_the_next(log: GatedLog) -> None:
    reported: list[int] = []
    writer = threaded(log, reported)
    writer.append([b"1"], 1)
    writer.append([b"2"], 2)
    writer.append([b"3", b"4"], 4)
    assert reported == []
    log.gate.release()
    wait(writer)
    assert reported == [1]
    log.gate.release()
    wait(writer)
    assert reported == [1, 4]
    assert log.batches == [[b"1"], [b"2", b"3", b"4"]]
    writer.close()


def test_nothing_is_reported_before_its_sync(log: GatedLog) -> None:
    reported: list[int] = []
    writer = threaded(log, reported)
    writer.append([b"1"], 1)
    writer.finished()  # woken for nothing
    assert reported == []
    log.gate.release()
    wait(writer)
    assert reported == [1]
    writer.close()


@pytest.mark.parametrize("in_thread", [False, True])
def test_an_error_is_raised_and_nothing_reported(log: GatedLog, in_thread: bool) -> None:
    reported: list[int] = []
    writer = threaded(log, reported) if in_thread else LogWriter(log, reported.append)
    log.fails = True
    log.gate.release()

    def write() -> None:
        writer.append([b"1"], 1)
        wait(writer)

    with pytest.raises(LogWriteError, match="full"):
        write()
    assert reported == []
    writer.close()


def test_a_chore_has_the_log_to_itself(log: GatedLog) -> None:
    reported: list[int] = []
    writer = LogWriter(log, reported.append)
    begun, gate = threading.Event(), threading.Event()

    def chore() -> None:
        begun.set()
        assert gate.wait(20)
        log.batches.append([b"chore"])

    writer.aside(chore)
    assert begun.wait(20)
    writer.append([b"a"], 1)  # gathers: the log is in use
    assert log.batches == []
    assert reported == []
    gate.set()
    wait(writer)
    assert log.batches == [[b"chore"], [b"a"]]
    assert reported[-1] == 1
    writer.close()


def test_a_chore_waits_for_the_batch_under_way(log: GatedLog) -> None:
    reported: list[int] = []
    writer = threaded(log, reported)
    writer.append([b"a"], 1)
    writer.aside(lambda: log.batches.append([b"chore"]))
    writer.append([b"b"], 2)
    log.gate.release(2)
    while reported != [1, 2]:
        wait(writer)
    assert log.batches.index([b"chore"]) > log.batches.index([b"a"])
    writer.close()


def test_an_error_of_a_chore_ends_the_server(log: GatedLog) -> None:
    def chore() -> None:
        raise LogWriteError("the disk is full", 28)

    writer = LogWriter(log, lambda zxid: None)
    writer.aside(chore)
    with pytest.raises(LogWriteError):
        wait(writer)
    writer.close()


def test_closing_finishes_what_was_handed_over(log: GatedLog) -> None:
    writer = threaded(log, [])
    writer.append([b"1"], 1)
    writer.append([b"2"], 2)
    log.gate.release()
    log.gate.release()
    writer.close()
    assert log.batches == [[b"1"], [b"2"]]


# --- where the sync runs


def judged(
    monkeypatch: pytest.MonkeyPatch, sync_us: list[int], overlap: float, size: int = 100
) -> tuple[LogWriter, TimedLog]:
    """A writer after a trial of batches of so many writes, whose syncs took these times in turn."""
    clock = Clock()
    monkeypatch.setattr(log_writer, "time", clock)
    log = TimedLog(clock)
    writer = LogWriter(log, lambda zxid: None)
    writer.overlap = lambda: overlap
    for n in range(log_writer.TRIAL):
        log.sync_us = sync_us[n % len(sync_us)]
        assert writer.in_place, n
        writer.append([b"x"] * size, n + 1)
    return writer, log


@pytest.mark.parametrize(
    ("sync_us", "overlap", "size", "in_place"),
    [
        ([100], 5.0, 100, True),  # quick: nothing to win
        ([1500], 0.0, 100, True),  # all clients wait for this sync
        ([1500], 1.0, 10, True),  # few writes: two halves would take turns
        ([1500], 1.0, 100, False),  # others come meanwhile
        ([50] * 7 + [7000], 1.0, 100, True),  # hiccups of a quick disk
        ([4000], 0.0, 1, False),  # a slow disk: nobody else must stand still for it
    ],
)
def test_a_thread_is_for_slow_syncs_that_others_would_wait_for(
    monkeypatch: pytest.MonkeyPatch, sync_us: list[int], overlap: float, size: int, in_place: bool
) -> None:
    writer, _ = judged(monkeypatch, sync_us, overlap, size)
    assert writer.in_place == in_place
    writer.close()


def test_after_a_term_the_sync_is_tried_in_place_again(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, log = judged(monkeypatch, [1200], 1.0)
    assert not writer.in_place
    zxid = 100
    # The first change came at once: twice the usual term.
    for _ in range(2 * log_writer.TERM):
        assert not writer.in_place
        zxid += 1
        writer.append([b"x"], zxid)
        wait(writer)
    assert writer.in_place
    log.sync_us = 50
    for _ in range(50):
        zxid += 1
        writer.append([b"x"], zxid)
        assert writer.in_place
    writer.close()


def test_a_slow_disk_keeps_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, _ = judged(monkeypatch, [9000], 0.0)
    for zxid in range(100, 100 + 3 * log_writer.TERM):
        writer.append([b"x"], zxid)
        wait(writer)
        assert not writer.in_place
    writer.close()
