"""Supervisor: one per cluster and host. Owns the processes, the event log, the certificates and the control socket.

In: options from the launcher (through the zygote). Out: a running cluster, then an orderly end. This file is the life
of the cluster: lock, start, serve, stop; the parts are `members`, `coordinator`, `faults`, `event_log` and the verbs.

(1) The lock is held from before the first step until the process ends, whatever ends it; no child inherits it.
(2) Nothing is polled: a step is over when its event has arrived.
(3) A start that fails, or whose launcher goes away, takes everything with it and says why.
(4) The end of the zygote is the end of the supervisor, and the other way round.
"""

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import trio

import brokerdemo
from brokerdemo.cluster import control, control_server, errors, layout, znode_view
from brokerdemo.cluster.config_verbs import ConfigVerbs
from brokerdemo.cluster.control_server import ControlServer
from brokerdemo.cluster.coordinator import Coordinator
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.cluster.event_log import EventLog
from brokerdemo.cluster.event_verbs import EventVerbs
from brokerdemo.cluster.faults import Faults
from brokerdemo.cluster.launcher import UpOptions, already_running
from brokerdemo.cluster.members import Host
from brokerdemo.cluster.process_verbs import ProcessVerbs
from brokerdemo.cluster.processes import ForkServer, start_time
from brokerdemo.cluster.refusals import Refusals
from brokerdemo.cluster.service import Service
from brokerdemo.cluster.startup import Startup
from brokerdemo.cluster.status_verbs import StatusVerbs
from brokerdemo.cluster.topic_verbs import TopicVerbs

GRACE_S = 5.0
KEEP_MARK = "KEEP"

Step = Callable[..., None]
Launch = trio.StapledStream[trio.lowlevel.FdStream, trio.lowlevel.FdStream]


def main(args: dict[str, Any], zygote: socket.socket, launcher: tuple[int, int]) -> int:
    """Run a cluster until it is stopped; called in a process the zygote forked. The exit code.

    `launcher` is the pipe from it and the pipe to it."""
    zygote.set_inheritable(False)
    options = UpOptions.from_json(args["options"])
    place = layout.layout(options.name)
    lock = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.write(launcher[1], control.encode({"ok": False, "error": already_running(place).to_json()}))
        return Code.CONFLICT
    supervisor = Supervisor(options, place, args, zygote)
    code: int = trio.run(supervisor.run, launcher)
    return code


class Supervisor:
    """The parts, and what they share."""

    nursery: trio.Nursery
    faults: Faults

    def __init__(self, options: UpOptions, place: layout.Layout, args: dict[str, Any], zygote: socket.socket) -> None:
        self.options = options
        self.place = place
        self.zygote_pid: int = args["zygote_pid"]
        self.embedded = options.connect is None
        self.seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
        self.rng = random.Random(self.seed)
        self._asked_ns: int = args["asked_ns"]
        self._loaded: dict[str, int] = args["loaded"]
        self._zygote_socket = zygote
        self._started_ns = time.monotonic_ns()
        self._stopping = False
        self._stopped = trio.Event()
        self._code = 0
        self._clean_end = False

    def uptime_ms(self) -> float:
        return round((time.monotonic_ns() - self._started_ns) / 1e6, 1)

    # -- life --------------------------------------------------------------------------------------------------------

    async def run(self, launcher: tuple[int, int]) -> int:
        """From the lock to the end. The exit code."""
        self._clean_stale()
        fd = os.open(self.place.events, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.log = EventLog(fd)
        self.heard = znode_view.Heard()
        self.refusals = Refusals()
        self.log.listeners += [self.heard.listen, self.refusals.listen]
        self.service = Service(self.log, self.heard)
        self.forks = ForkServer(self._zygote_socket)
        self.host = Host(self.log, self.forks, certificates=self.options.certificates)
        self.coordinator: Coordinator | None = None
        self.faults = Faults(self.log, self.host, self.heard, session_timeout_ms=self.options.session_timeout_ms)
        listener = control_server.listen(self.place)
        launch = trio.StapledStream(trio.lowlevel.FdStream(launcher[1]), trio.lowlevel.FdStream(launcher[0]))
        try:
            async with trio.open_nursery() as self.nursery:
                self.nursery.start_soon(self._serve_zygote)
                self.nursery.start_soon(self.log.write)
                self.nursery.start_soon(self._signals)
                rooms = (StatusVerbs, ProcessVerbs, EventVerbs, ConfigVerbs, TopicVerbs)
                verbs = {name: verb for room in rooms for name, verb in room(self).verbs().items()}
                server = ControlServer(verbs, {"down": self.end})
                self.nursery.start_soon(self._serve_control, server, listener)
                self.nursery.start_soon(self._launch, launch)
                await self._stopped.wait()
                self.nursery.cancel_scope.cancel()
        finally:
            with contextlib.suppress(OSError):
                self.place.socket_path.unlink()
            self.log.flush()
            if self._clean_end:
                with contextlib.suppress(OSError):
                    self.place.cluster_json.unlink()
        return self._code

    async def _serve_zygote(self) -> None:
        await self.forks.run()
        if not self._stopping:
            # (4): our children were killed with it, and there is no way to start others.
            self.log.emit("cluster_stopping", reason="the zygote ended")
            self._code = 1
        self._stopped.set()

    async def _serve_control(self, server: ControlServer, listener: trio.SocketListener) -> None:
        await trio.serve_listeners(server.serve, [listener])

    async def _signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                # The second one hurries the first.
                self.nursery.start_soon(self._stop_by_signal, self._stopping)

    async def _stop_by_signal(self, force: bool) -> None:
        await self.stop(force=force, keep_data=False, reason="signal", say=_silent)
        self._stopped.set()

    def _clean_stale(self) -> None:
        """What a killed supervisor left. Its processes went with it; should one have stayed, it goes now."""
        known = layout.read_cluster_json(self.place)
        self.stale: list[int] = []
        for process in known.get("processes", ()):
            pid, started = process.get("pid"), process.get("start_time")
            if isinstance(pid, int) and started is not None and start_time(pid) == started:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                    self.stale.append(pid)
        self.was_stale = bool(known)
        with contextlib.suppress(OSError):
            self.place.cluster_json.unlink()
        if self.options.data is None and not (self.place.state_dir / KEEP_MARK).exists():
            self._wipe_data()

    def _wipe_data(self) -> None:
        for directory in (self.place.coordination_dir, self.place.state_dir / "brokers"):
            shutil.rmtree(directory, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.place.state_dir / KEEP_MARK).unlink()

    def write_cluster_json(self) -> None:
        """What others may know while the socket does not answer: pids with their start times, ports, addresses."""
        processes = [{"name": "supervisor", "pid": os.getpid(), "start_time": start_time(os.getpid())}]
        processes.append({"name": "zygote", "pid": self.zygote_pid, "start_time": start_time(self.zygote_pid)})
        holders: list[tuple[str, Any]] = [(f"broker {m.broker}", m.child) for m in self.host.members.values()]
        if self.coordinator is not None:
            holders.append(("coordinator", self.coordinator.child))
        for name, child in holders:
            if child is not None and child.alive:
                processes.append({"name": name, "pid": child.pid, "start_time": child.start_time})
        said = {
            "name": self.options.name,
            "pid": os.getpid(),
            "start_time": processes[0]["start_time"],
            "version": brokerdemo.__version__,
            "socket": os.fspath(self.place.socket_path),
            "connect": self.host.connect,
            "ports": {str(m.broker): m.port for m in self.host.members.values()},
            "processes": processes,
        }
        fresh = self.place.cluster_json.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump(said, file)
        os.replace(fresh, self.place.cluster_json)

    # -- start -------------------------------------------------------------------------------------------------------

    async def _launch(self, launch: Launch) -> None:
        """Start everything and tell the launcher; on failure tell it and stop: (3)."""
        try:
            result = await self._start_watched(launch)
            answer = {"ok": True, "result": result}
        except ClusterError as error:
            answer = {"ok": False, "error": error.to_json()}
        except trio.Cancelled:
            raise
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            read = f"read {self.place.supervisor_log}"
            bug = ClusterError(Code.BUG, f"the start failed: {error!r}", "this is a bug", read)
            answer = {"ok": False, "error": bug.to_json()}
        given_up = not answer["ok"] and not self._stopping
        if given_up:
            self._code = 1
            with trio.CancelScope(shield=True):
                await self.stop(force=True, keep_data=False, reason="start failed", say=_silent)
        with contextlib.suppress(trio.BrokenResourceError):
            await launch.send_all(control.encode(answer))
        await launch.aclose()
        if given_up:
            self._stopped.set()

    async def _start_watched(self, launch: Launch) -> dict[str, Any]:
        result: dict[str, Any] = {}
        failed: ClusterError | None = None
        gone = False
        # Errors leave the nursery as values: what is raised inside comes out in a group.

        async def tell(name: str, detail: str, ms: float) -> None:
            await launch.send_all(control.encode({"step": {"name": name, "detail": detail, "ms": ms}}))

        startup = Startup(self, self._asked_ns, self._loaded, tell)

        async def watch_launcher(scope: trio.CancelScope) -> None:
            nonlocal gone
            with contextlib.suppress(trio.BrokenResourceError):
                while await launch.receive_some(1024):
                    pass
            gone = True
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_launcher, nursery.cancel_scope)
            try:
                with trio.fail_after(self.options.ready_within_ms / 1000):
                    result = await startup.run()
            except trio.TooSlowError:
                failed = startup.too_slow()
            except Exception as error:
                failed = errors.cause(error)
                if failed is None:
                    raise
            nursery.cancel_scope.cancel()
        if failed is not None:
            raise failed
        if gone and not result:
            raise ClusterError(Code.INTERRUPTED, "the start was given up", "the command that asked for it ended", "")
        return result

    # -- stop --------------------------------------------------------------------------------------------------------

    async def stop(
        self,
        *,
        force: bool,
        keep_data: bool,
        reason: str,
        say: Step,
    ) -> dict[str, Any]:
        """End every process: brokers first, gracefully unless `force`, then the coordination server. What was done.

        The supervisor itself ends with `end`. A second call with `force` hurries the first.
        """
        began_ns = time.monotonic_ns()
        if not self._stopping:
            self.log.emit("cluster_stopping", reason=reason)
        self._stopping = True
        members = list(self.host.members.values())
        killed = await self.host.stop(
            members, grace_s=0 if force else GRACE_S, on_end=lambda m: say("stopped", f"broker {m.broker}")
        )
        coordinator = self.coordinator
        if coordinator is not None:
            coordinator.stopping = True
            if coordinator.child is not None and coordinator.alive:
                child = coordinator.child
                if child.stopped:
                    child.send(signal.SIGCONT)
                if not force:
                    child.send(signal.SIGTERM)
                    with trio.move_on_after(GRACE_S):
                        await child.ended.wait()
                if child.alive:
                    child.send(signal.SIGKILL)
                    await child.ended.wait()
                say("stopped", "coordination server")
        if keep_data:
            (self.place.state_dir / KEEP_MARK).touch()
        elif self.options.data is None:
            for member in members:
                member.wipe()
            shutil.rmtree(self.place.coordination_dir, ignore_errors=True)
            with contextlib.suppress(OSError):
                (self.place.state_dir / KEEP_MARK).unlink()
        self._clean_end = True
        return {"cluster": self.options.name, "ms": round((time.monotonic_ns() - began_ns) / 1e6, 1), "killed": killed}

    def end(self) -> None:
        """End the supervisor: behind the answer to `down`."""
        self._stopped.set()


def _silent(*_args: Any, **_fields: Any) -> None:
    """Nobody listens to the steps."""
