"""What `Output` writes where: progress for eyes only, and gone before the next word."""

import io
import sys

import pytest

from coordination.tools import output
from coordination.tools.output import Output


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """`time`, as the module sees it: stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(output, "time", clock)
    return clock


def work(out: Output, clock: Clock, steps: int) -> None:
    for done in range(1, steps + 1):
        out.progress(done * 1000, 10_000, "deleted")
        clock.now_s += 0.15


def test_long_work_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    out = Output()
    work(out, clock, 5)
    # At 0 ms it begins, at 150 it is too early, then each time 200 ms have passed.
    assert stderr.getvalue() == "\r\x1b[Kdeleted 3,000 of 10,000\r\x1b[Kdeleted 5,000 of 10,000"
    out.note("Failed")
    assert stderr.getvalue().endswith("of 10,000\r\x1b[KFailed\n")
    out.finish()
    assert stderr.getvalue().endswith("Failed\n")


def test_no_terminal_sees_no_progress(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    out = Output()
    work(out, clock, 5)
    out.finish()
    assert capsys.readouterr() == ("", "")


def test_short_work_shows_none(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    out = Output()
    for _ in range(2):
        work(out, clock, 2)
        out.finish()
    assert stderr.getvalue() == ""
