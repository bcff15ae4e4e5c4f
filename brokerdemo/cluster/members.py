"""Members: the brokers of this host, each with its process, its channel and its certificate.

In: a broker's start options; lines on its channel; the proof of its end. Out: events in the log; a closed session. One
`Member` per broker id, for the life of the supervisor: a restart keeps id, port, data directory and so the owner.

(1) A death certificate is served by the task that the pidfd woke, before anything else is done about that death.
(2) Certificates (session id and password) live in memory, one per broker, and are dropped when served: when the service
    has answered, however long that takes. Never logged.
(3) A line on a channel that is no event is counted and dropped; a broker cannot harm the supervisor with what it says.
(4) `broker_lost` is said by a controller, who cannot know what ended a session; `by` is filled in here, where it is
    known.
"""

import contextlib
import json
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

import coordination
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.cluster.event_log import EventLog
from brokerdemo.cluster.processes import Child, ForkServer
from brokerdemo.observe.events import Event

CHANNEL_LINE_MAX_BYTES = 1 << 20
RETRY_AFTER_S = 0.2


class Member:
    """One broker of this host."""

    def __init__(self, broker: int, options: dict[str, Any], directory: Path, data_dir: Path, host: "Host") -> None:
        self.broker = broker
        self.options = options
        self.directory = directory
        self.data_dir = data_dir
        self.child: Child | None = None
        self.port: int = options["port"]
        self.registered = False
        """It said broker_registered and nobody said since that it is lost or fenced."""
        self.expected_end = False
        """The supervisor asked for its end (restart, down): no fault."""
        self.bad_lines = 0
        self._host = host
        self._certificate: tuple[int, coordination.Secret] | None = None
        self._closing: Child | None = None
        self._closed: Child | None = None
        """Whose session is being closed from here, and whose was last: a restart may come before either is done."""
        self._before: str | None = None
        self.loss_told = False
        """A controller said broker_lost about the process that is, or was, `child`."""

    def __repr__(self) -> str:
        return f"<Member {self.broker} pid={self.child.pid if self.child else None}>"

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.alive

    @property
    def paused(self) -> bool:
        return self.child is not None and self.child.alive and self.child.stopped

    @property
    def doomed(self) -> bool:
        """Its end is on the way."""
        return self.child is not None and self.child.doomed

    @property
    def stderr_log(self) -> Path:
        return self.directory / "stderr"

    async def start(self, nursery: trio.Nursery) -> Child:
        """Fork it; ClusterError when that cannot be done. Its channel and its end are watched in `nursery`."""
        assert not self.alive, f"broker {self.broker} runs"
        self._before = self.lost_by() if self.child is not None and not self.loss_told else None
        self.loss_told = False
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        with theirs:
            options = {**self.options, "port": self.port}
            child = await self._host.forks.fork("broker", options, theirs.fileno(), self.stderr_log)
        self.child = child
        self.expected_end = False
        self.registered = False
        self._certificate = None
        self._host.log.emit(
            "process_started", process=f"broker {self.broker}", broker=self.broker, pid=child.pid, port=self.port
        )
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        nursery.start_soon(self._read_channel, stream, child)
        nursery.start_soon(self._watch_end, child, nursery)
        return child

    def wipe(self) -> None:
        """Remove its data (`restart --clean`): it comes back as a stranger, with nothing."""
        assert not self.alive
        shutil.rmtree(self.data_dir, ignore_errors=True)

    # -- its end -----------------------------------------------------------------------------------------------------

    async def _watch_end(self, child: Child, nursery: trio.Nursery) -> None:
        ended_ns = await child.wait_ended()
        self._host.on_end(self, ended_ns)
        nursery.start_soon(self._report_end, child, ended_ns)
        await self._serve_certificate(child)  # (1)

    async def _report_end(self, child: Child, ended_ns: int) -> None:
        # A moment later: the zygote's report is on its way, and events should come with the exit code.
        code = await child.wait_reaped()
        child.close()
        if self.child is child:
            self.registered = False
        how = {"signal": signal.Signals(-code).name} if code is not None and code < 0 else {"code": code}
        self._host.log.emit(
            "process_exited",
            t_ns=ended_ns,
            process=f"broker {self.broker}",
            broker=self.broker,
            pid=child.pid,
            certainty="proven",
            expected=self.expected_end,
            **how,
        )

    async def _serve_certificate(self, child: Child) -> None:
        held, self._certificate = self._certificate, None
        if held is None or not self._host.certificates:
            return
        session_id, password = held
        began_ns = time.monotonic_ns()
        while True:
            self._closing = child
            outcome = coordination.CloseOutcome.UNREACHABLE
            try:
                outcome = await coordination.close_session(self._host.connect, session_id, password)
            except Exception as error:  # a server that speaks something else must not end the supervisor
                print(f"certificate of broker {self.broker}: {error!r}", file=sys.stderr, flush=True)
            if outcome is not coordination.CloseOutcome.UNREACHABLE:
                break
            # The service itself is down. It gives the session its full timeout again when it comes back, so the
            # certificate is worth as much then: nothing is said before the service has answered.
            self._closing = None
            await self._host.wait_for_service(RETRY_AFTER_S)
        done_ns = time.monotonic_ns()
        self._closing = None
        if outcome is coordination.CloseOutcome.CLOSED:
            self._closed = child
        elif child.told_to_go:
            return  # it said goodbye itself: the ordinary case, not news
        self._host.log.emit(
            "session_closed",
            t_ns=done_ns,
            broker=self.broker,
            certainty="proven",
            outcome=outcome.value,
            ms=round((done_ns - began_ns) / 1e6, 3),
        )

    def lost_by(self) -> str:
        """What made the service forget this broker, as far as this host knows: (4)."""
        if self.alive and not self.paused and self._before is not None:
            # It runs again already: the one that was lost is the process before it.
            before, self._before = self._before, None
            return before
        if self.child is not None and self.child in (self._closing, self._closed):
            return "goodbye" if self.child.told_to_go else "certificate"
        if self.child is not None and self.child.told_to_go:
            return "goodbye"
        return "session_timeout"

    # -- its channel -------------------------------------------------------------------------------------------------

    async def _read_channel(self, stream: trio.SocketStream, child: Child) -> None:
        buffer = bytearray()
        async with stream:
            while True:
                try:
                    data = await stream.receive_some(65536)
                except trio.BrokenResourceError:
                    return
                if not data:
                    return
                buffer += data
                *lines, rest = buffer.split(b"\n")
                for line in lines:
                    await self._take_line(bytes(line), child)
                buffer = bytearray(rest)
                if len(buffer) > CHANNEL_LINE_MAX_BYTES:
                    self.bad_lines += 1
                    buffer.clear()

    async def _take_line(self, line: bytes, child: Child) -> None:
        try:
            said = json.loads(line)
            if "certificate" in said:
                certificate = said["certificate"]
                password = coordination.Secret(bytes.fromhex(certificate["password"]))
                self._certificate = (int(certificate["session_id"]), password)
                if not child.alive:  # it died between saying this and our reading it
                    await self._serve_certificate(child)
                return
            event: Event = {**said, "event": str(said["event"]), "t_ns": int(said["t_ns"])}
        except (ValueError, KeyError, TypeError):
            self.bad_lines += 1  # (3)
            return
        event["source"] = f"broker {self.broker}"
        self._host.take_event(self, event)


class Host:
    """What members share: the log, the fork server, the service; and all the members."""

    def __init__(self, log: EventLog, forks: ForkServer, *, certificates: bool) -> None:
        self.log = log
        self.forks = forks
        self.certificates = certificates
        self.connect = ""
        self.members: dict[int, Member] = {}
        self.on_end: Callable[[Member, int], None] = lambda _member, _ended_ns: None
        """Called when an end is proven, before anything is done about it; must be quick."""
        self.service_up = trio.Event()

    async def wait_for_service(self, at_most_s: float) -> None:
        """Wait until the embedded server serves again; for an external one there is nothing to wait for but time."""
        with trio.move_on_after(at_most_s):
            # Set, and yet unreachable: its end is not known yet, or it is not ours.
            while self.service_up.is_set():
                await self.log.wait_change()
            await self.service_up.wait()

    def take_event(self, member: Member, event: Event) -> None:
        """An event off a channel: complete it, note what it says about who is registered, and log it."""
        match event["event"]:
            case "broker_registered":
                member.registered = True
                port = event.get("port")
                if isinstance(port, int) and port > 0:
                    member.port = port
            case "broker_fenced":
                member.registered = False
        self.complete(event)
        self.log.append(event)

    def complete(self, event: Event) -> None:
        """Add what only this host knows to a controller's event: (4)."""
        if event["event"] == "broker_lost":
            lost = self.members.get(event.get("broker", -1))
            if lost is not None:
                if event.get("by") not in ("bounced", "goodbye"):
                    event["by"] = lost.lost_by()
                if not lost.alive:
                    lost.loss_told = True
                if lost.paused or not lost.alive:
                    # A broker that runs says itself that it is fenced; this may be about the process before it.
                    lost.registered = False
            event.setdefault("by", "unknown")

    async def stop(self, members: list[Member], *, grace_s: float, on_end: Callable[[Member], None]) -> list[int]:
        """End these brokers: SIGCONT to the paused, SIGTERM to all, SIGKILL after `grace_s`. The ids that needed it."""
        killed: list[int] = []

        async def end(member: Member) -> None:
            child = member.child
            if child is None or not child.alive:
                return
            member.expected_end = True
            if child.stopped:
                child.send(signal.SIGCONT)
            if grace_s > 0:
                child.send(signal.SIGTERM)
                with trio.move_on_after(grace_s):
                    await child.ended.wait()
            if child.alive:
                if grace_s > 0:
                    killed.append(member.broker)
                child.send(signal.SIGKILL)
                await child.ended.wait()
            on_end(member)

        async with trio.open_nursery() as nursery:
            for member in members:
                nursery.start_soon(end, member)
        return sorted(killed)


def tail(path: Path, lines: int = 3) -> str:
    """The last lines of a log, for an error's `why`; empty when there is none."""
    with contextlib.suppress(OSError):
        found = path.read_text(errors="replace").strip().splitlines()
        return " / ".join(line.strip() for line in found[-lines:])
    return ""


def start_failed(member: Member, exited: Event) -> ClusterError:
    """The error for a broker that ended while it was starting, as its `process_exited` tells."""
    code, signum = exited.get("code"), exited.get("signal")
    conflict = code == Code.CONFLICT
    if signum is not None:
        return ClusterError(
            Code.CONFLICT, f"broker {member.broker} ended while starting ({signum})", "somebody sent it that signal",
            f"brokerdemo restart {member.broker}",
        )  # fmt: skip
    return ClusterError(
        Code.CONFLICT if conflict else Code.BUG,
        f"broker {member.broker} ended while starting (exit code {code})",
        tail(member.stderr_log) or tail(member.directory / "log.ndjson") or "it said nothing",
        "use other ids (--broker-ids) or ports (--base-port auto)" if conflict else f"read {member.directory}",
    )
