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


@pytest.fixture
def log() -> GatedLog:
    return GatedLog()


@pytest.fixture(autouse=True)
def stays_in_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "TO_INLINE_BELOW_US", -1.0)


def threaded(log: GatedLog, reported: list[int]) -> LogWriter:
    """A writer that has found this disk slow."""
    writer = LogWriter(log, reported.append)
    writer._threaded = True
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


def test_closing_finishes_what_was_handed_over(log: GatedLog) -> None:
    writer = threaded(log, [])
    writer.append([b"1"], 1)
    writer.append([b"2"], 2)
    log.gate.release()
    log.gate.release()
    writer.close()
    assert log.batches == [[b"1"], [b"2"]]
