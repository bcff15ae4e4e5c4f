"""Commands in a terminal: the foreground of `up`, what keys and a closed window do to it, and screens that redraw."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import environ_of


class Terminal:
    """A command with a terminal of its own, as in a window of a user's screen."""

    def __init__(self, words: list[str], environ: dict[str, str]) -> None:
        pid, self.fd = pty.fork()
        if pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
            os.execve(sys.executable, [sys.executable, "-m", "brokerdemo", *words], environ)
        self.pid = pid
        self.shown = ""

    def until(self, text: str, within_s: float = 60) -> str:
        """Read until `text` has been shown."""
        deadline = time.monotonic() + within_s
        while text not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} did not come; shown:\n{self.shown}"
            if not select.select([self.fd], [], [], left)[0]:
                continue
            try:
                self.shown += os.read(self.fd, 65536).decode(errors="replace")
            except OSError:
                assert text in self.shown, f"ended without {text!r}; shown:\n{self.shown}"
        return self.shown

    def type(self, keys: bytes) -> None:
        os.write(self.fd, keys)

    def exit_code(self) -> int:
        """Drain what is left and reap."""
        while True:
            try:
                if not (piece := os.read(self.fd, 65536)):
                    break
                self.shown += piece.decode(errors="replace")
            except OSError:
                break
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[[str], Terminal]]:
    opened = []
    environ = environ_of(tmp_path / "home", TERM="xterm-256color", PYTHONIOENCODING="utf-8")

    def start(line: str) -> Terminal:
        opened.append(Terminal(line.split(), environ))
        return opened[-1]

    yield start
    subprocess.run(
        [sys.executable, "-m", "brokerdemo", "down", "--all", "--force", "-y"],
        env=environ, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=110,
    )  # fmt: skip


UP = "up -n 1 --base-port auto --topic t:1:1"


# --- the foreground of `up`


def test_ctrl_c_stops_the_cluster_gracefully(terminal: Callable[[str], Terminal]) -> None:
    window = terminal(UP)
    assert "\x1b[" in window.until("Ctrl-C (twice: kill)")  # colours: it is a terminal
    window.type(b"\x03")
    window.until("Stopping")
    assert window.exit_code() == 130
    assert "Traceback" not in window.shown
    after = terminal("status")
    assert after.exit_code() == 3


def test_d_detaches_and_the_cluster_stays(terminal: Callable[[str], Terminal]) -> None:
    window = terminal(UP)
    window.until("Ctrl-C (twice: kill)")
    window.type(b"d")
    window.until("Detached")
    assert window.exit_code() == 0
    after = terminal("status")
    assert after.exit_code() == 0
    assert "1 live" in after.shown


def test_a_closed_terminal_is_down(terminal: Callable[[str], Terminal]) -> None:
    window = terminal(UP)
    window.until("Ctrl-C (twice: kill)")
    os.kill(window.pid, signal.SIGHUP)
    window.until("Stopping")
    window.exit_code()
    assert terminal("status").exit_code() == 3


def test_the_foreground_shows_the_waterfall_of_a_kill_elsewhere(terminal: Callable[[str], Terminal]) -> None:
    window = terminal("up -n 3 --base-port auto")
    window.until("Ctrl-C (twice: kill)")
    assert terminal("kill controller").exit_code() == 0
    window.until("recovered in")
    window.type(b"\x03\x03")  # twice: kill
    assert window.exit_code() == 130


# --- other commands that wait


def test_ctrl_c_in_a_kill_says_that_the_fault_stays(terminal: Callable[[str], Terminal]) -> None:
    # One replica, one broker: nobody can take over, so the wait has no end of its own.
    assert (
        terminal("up -d -n 2 --base-port auto --topic t:2:1 --no-certificates --session-timeout 20s").exit_code() == 0
    )
    window = terminal("kill 1")
    follower = terminal("events -f")
    follower.until("fault_injected")
    window.type(b"\x03")
    window.until("the fault stays: 1 is still down")
    assert window.exit_code() == 130
    follower.type(b"\x03")
    assert follower.exit_code() == 130
    assert "Traceback" not in window.shown + follower.shown


def test_status_watch_redraws_when_something_happens(terminal: Callable[[str], Terminal]) -> None:
    assert terminal("up -d -n 3 --base-port auto").exit_code() == 0
    window = terminal("status --watch")
    window.until("live")
    assert terminal("kill controller").exit_code() == 0
    window.until("dead\x1b[0m ")
    window.until("(epoch 2)")  # nothing more happens: the dead one is all that is wrong
    window.type(b"\x03")
    assert window.exit_code() == 130
    assert window.shown.rstrip().endswith("is dead\x1b[0m")  # the last picture stays on the screen
