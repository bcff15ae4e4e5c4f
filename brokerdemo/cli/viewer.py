"""The foreground of `up`: an attached viewer of the supervisor's events, and the keys that end it.

    q-- events --> lines on the terminal
    d   detaches: this process ends, the cluster stays
    ^C  once: graceful down;  again: SIGKILL everything      SIGTERM and SIGHUP: as the first ^C

One select over the control socket and the keyboard; a signal interrupts it through a self-pipe. No thread. The
keyboard is read only if stdin is a terminal in our foreground, and it is always given back as it was.
"""

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any

from brokerdemo.cli import faults, screen
from brokerdemo.cli.events import WallClock
from brokerdemo.cluster import layout
from brokerdemo.cluster.control import Answers, ControlClient, decode
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.observe import event_line

# A thousand partitions would make a thousand lines of each; `brokerdemo events` has them, the waterfall sums them up.
_UNINTERESTING = {
    "leader_started", "follower_started", "isr_changed", "process_started", "config_written", "assignment_planned",
}  # fmt: skip


def watch(name: str, announce: Callable[[], None], *, as_json: bool) -> int:
    """Follow the cluster until it ends, is detached from or is told to stop. Returns the exit code.

    `announce` says that the cluster is up; it is called once Ctrl-C and `d` mean what it says they do.
    """
    client = ControlClient.find(name)
    with ExitStack() as stack:
        wake = stack.enter_context(_signals())
        keys = stack.enter_context(_keyboard())
        answers = stack.enter_context(client.request("events", follow=True, since=client.call("events")["last_seq"]))
        announce()
        lines, stopping, clock = _Lines(answers), False, WallClock()
        while True:
            watched = [wake, answers.fileno(), *([keys] if keys is not None else [])]
            ready, _, _ = select.select(watched, [], [])
            if wake in ready:
                os.read(wake, 64)
                return _stop(name, client, wake, as_json)
            if keys is not None and keys in ready and os.read(keys, 16).lower().startswith(b"d"):
                screen.say(f'Detached; cluster "{name}" stays up.   stop it: brokerdemo down --cluster {name}')
                return Code.OK
            if answers.fileno() not in ready:
                continue
            for answer in lines.arrived():
                event = answer.get("event", {})
                stopping = stopping or event.get("event") == "cluster_stopping"
                _print(event, client, clock, as_json)
            if lines.ended:
                screen.say(
                    f'Cluster "{name}" ' + ("was stopped." if stopping else "has ended: its supervisor is gone.")
                )
                return Code.OK if stopping else Code.UNHEALTHY


class _Lines:
    """Answers off the socket without ever blocking on half a line."""

    def __init__(self, answers: Answers) -> None:
        self._fd = answers.fileno()
        self._buffer = b""
        self.ended = False

    def arrived(self) -> list[dict[str, Any]]:
        """The answers there are, after select said so; sets `ended` at the end of the stream."""
        try:
            chunk = os.read(self._fd, 1 << 16)
        except ConnectionError:
            chunk = b""
        self.ended = not chunk
        *whole, self._buffer = (self._buffer + chunk).split(b"\n")
        return [decode(line) for line in whole]


def _print(event: dict[str, Any], client: ControlClient, clock: WallClock, as_json: bool) -> None:
    name = event.get("event")
    if name is None:
        return
    if as_json:
        screen.emit({"event": event})
    elif name == "fault_recovered":
        screen.out()
        with suppress(ClusterError):
            faults.show([client.call("timeline", fault=event["fault"])], as_json=False, one=True)
        screen.out()
    elif name not in _UNINTERESTING:
        look = screen.the()
        line = event_line.line(event, clock=clock.of(event["t_ns"]), numbered=False)
        screen.out(look.paint(line[: look.width], event_line.role_of(event)))


def stop(name: str) -> None:
    """End a cluster that nobody watches yet."""
    with suppress(ClusterError):
        ControlClient.find(name).call("down")
        layout.wait_released(layout.layout(name))


def _stop(name: str, client: ControlClient, wake: int, as_json: bool) -> int:
    """First Ctrl-C: ask for a graceful down and show what happens meanwhile; second: kill."""
    screen.say("\nStopping: each broker says goodbye. Ctrl-C again kills them.")
    try:
        with client.request("down", force=False) as answers:
            lines = _Lines(answers)
            while not lines.ended:
                ready, _, _ = select.select([wake, answers.fileno()], [], [])
                if wake in ready:
                    os.read(wake, 64)
                    screen.say("Killing.")
                    client.call("down", force=True)
                    return Code.INTERRUPTED
                for answer in lines.arrived():
                    if "step" in answer and not as_json:
                        screen.say(f"  {answer['step'].get('name', '')} {answer['step'].get('detail', '')}".rstrip())
                    if answer.get("ok") is False:
                        raise ClusterError.from_json(answer["error"])
        layout.wait_released(layout.layout(name))
    except ClusterError as error:
        # Somebody else's `down` was faster: what was asked for is the case.
        if error.code != Code.NOT_FOUND:
            raise
    return Code.INTERRUPTED


@contextmanager
def _signals() -> Iterator[int]:
    """A descriptor that becomes readable when we are asked to end."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)

    def ignore(signum: int, frame: FrameType | None) -> None:
        """The byte is written by then: one that came just before select would wait for select to end."""

    before = {number: signal.signal(number, ignore) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    wake_before = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    try:
        yield read_fd
    finally:
        signal.set_wakeup_fd(wake_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read_fd)
        os.close(write_fd)


@contextmanager
def _keyboard() -> Iterator[int | None]:
    """stdin key by key, if it is a terminal we are in front of; None otherwise. Ctrl-C stays a signal."""
    try:
        fd = sys.stdin.fileno()
        in_front = os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
    except (OSError, ValueError):
        in_front = False
    if not in_front:
        yield None
        return
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield fd
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
