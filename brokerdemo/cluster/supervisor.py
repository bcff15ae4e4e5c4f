"""Supervisor: one per cluster and host. Owns the processes, the event log, the certificates and the control socket.

In: options from the launcher (through the zygote). Out: a running cluster, then an orderly end. This file is the life
of the cluster: lock, start, serve, stop; the parts are `members`, `coordinator`, `faults`, `event_log` and the verbs.

(1) The lock is held from before the first step until the process ends, whatever ends it; no child inherits it.
(2) Nothing is polled: a step is over when its event has arrived.
(3) A start that fails, or whose launcher goes away, takes everything with it and says why.
(4) The end of the zygote is the end of the supervisor, and the other way round.
"""

import contextlib
import datetime
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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

import brokerdemo
import coordination
from brokerdemo.cluster import control, control_server, errors, layout, ports, znode_view
from brokerdemo.cluster.cluster_verbs import ClusterVerbs
from brokerdemo.cluster.control_server import ControlServer
from brokerdemo.cluster.coordinator import Coordinator
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.cluster.event_log import EventLog
from brokerdemo.cluster.faults import Faults
from brokerdemo.cluster.launcher import (
    DEFAULT_BASE_PORT,
    DEFAULT_COORDINATION_PORT,
    TopicSpec,
    UpOptions,
    already_running,
)
from brokerdemo.cluster.members import Host, Member, start_failed
from brokerdemo.cluster.processes import ForkServer, start_time
from brokerdemo.cluster.settings_verbs import SettingsVerbs
from brokerdemo.observe.events import Event

# The supervisor's own session. Long, because nothing hangs on it; within what a stock ensemble grants.
OWN_SESSION_TIMEOUT_MS = 10_000
PICTURE_WITHIN_S = 1.0
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
        self.last_picture = znode_view.Picture()
        self._asked_ns: int = args["asked_ns"]
        self._marks: dict[str, int] = dict(args["loaded"])
        self._zygote_socket = zygote
        self._started_ns = time.monotonic_ns()
        self._zk: coordination.Client | None = None
        self._zk_ready = trio.Event()
        self._zk_error: ClusterError | None = None
        self._stopping = False
        self._stopped = trio.Event()
        self._code = 0
        self._rejected: dict[tuple[int, str], Event] = {}
        self._clean_end = False

    def uptime_ms(self) -> float:
        return round((time.monotonic_ns() - self._started_ns) / 1e6, 1)

    def rejected(self) -> list[Event]:
        """Settings some broker refuses right now."""
        told = ("broker", "znode", "key", "value", "reason")
        return [{key: event.get(key) for key in told} for event in self._rejected.values()]

    # -- life
    # --------------------------------------------------------------------------------------------------------------

    async def run(self, launcher: tuple[int, int]) -> int:
        """From the lock to the end. The exit code."""
        self._clean_stale()
        fd = os.open(self.place.events, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.log = EventLog(fd)
        self.heard = znode_view.Heard()
        self.log.listeners += [self.heard.listen, self._note_config]
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
                server = ControlServer(
                    {**ClusterVerbs(self).verbs(), **SettingsVerbs(self).verbs()}, {"down": self.end}
                )
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

    # -- start
    # -------------------------------------------------------------------------------------------------------------

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
                    result = await self._start(launch)
            except trio.TooSlowError:
                failed = self._too_slow()
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

    def _too_slow(self) -> ClusterError:
        missing = [f"broker {m.broker}" for m in self.host.members.values() if not m.registered]
        return ClusterError(
            Code.TIMED_OUT,
            f"the cluster is not ready within {self.options.ready_within_ms} ms",
            f"not registered: {', '.join(missing) or 'none'}; controller: {self.heard.controller or 'none'}",
            f"read {self.place.state_dir}",
        )

    async def _start(self, launch: Launch) -> dict[str, Any]:
        options = self.options

        async def step(name: str, detail: str) -> None:
            ms = round((time.monotonic_ns() - self._asked_ns) / 1e6, 1)
            self._marks[name] = time.monotonic_ns()
            await launch.send_all(control.encode({"step": {"name": name, "detail": detail, "ms": ms}}))

        self._marks["supervisor"] = time.monotonic_ns()
        if self.was_stale:
            swept = f", killed {len(self.stale)} of its processes" if self.stale else "; none of its processes was left"
            await step("stale state", f"removed: the last supervisor was killed{swept}")
        wanted = [options.port_of(broker) for broker in options.ids]
        if self.embedded:
            wanted.append(self._coordination_port())
        ports.check_free(options.host, wanted, self._wants(wanted))
        self.log.emit(
            "cluster_starting",
            cluster=options.name,
            wall_time=datetime.datetime.now(datetime.UTC).isoformat(),
            connect=options.connect or "embedded",
            session_timeout_ms=options.session_timeout_ms,
            seed=self.seed,
            brokers=list(options.ids),
            certificates=options.certificates,
            version=brokerdemo.__version__,
        )
        since = self.log.last_seq
        await self._start_coordination(step)
        self._make_members()
        members = list(self.host.members.values())
        self.nursery.start_soon(self._hold_session)
        if not self.embedded:
            async with self.service("up"):
                await step("coordination", f"external, {self.host.connect}")
            self.log.emit("coordination_started", connect=self.host.connect, mode="external")
        for member in members:
            await member.start(self.nursery)
        self._marks["forked"] = time.monotonic_ns()
        self.write_cluster_json()
        await self._all_registered(since)
        await step(f"brokers {_ids(options.ids)}", self._addresses())
        controller = await self._controller(since)
        await step("controller", f"broker {controller[0]}, epoch {controller[1]}")
        topics = await self._make_topics(step, since)
        ms = round((time.monotonic_ns() - self._asked_ns) / 1e6, 1)
        self.log.emit("cluster_ready", ms=ms, brokers=list(options.ids))
        address = options.advertise or options.host
        marks = sorted(self._marks.items(), key=lambda mark: mark[1])
        return {
            "cluster": options.name,
            "socket": os.fspath(self.place.socket_path),
            "state_dir": os.fspath(self.place.state_dir),
            "connect": self.host.connect,
            "mode": "embedded" if self.embedded else "external",
            "brokers": [
                {"id": m.broker, "host": address, "port": m.port, "pid": m.child.pid if m.child else None}
                for m in members
            ],
            "controller": {"id": controller[0], "epoch": controller[1]},
            "topics": topics,
            "session_timeout_ms": options.session_timeout_ms,
            "seed": self.seed,
            "ms": ms,
            "where_ms": {name: round((ns - self._asked_ns) / 1e6, 1) for name, ns in marks},
        }

    def _coordination_port(self) -> int:
        if self.options.coordination_port is not None:
            return self.options.coordination_port
        if self.options.base_port in (0, DEFAULT_BASE_PORT):
            return DEFAULT_COORDINATION_PORT if self.options.base_port else 0
        return self.options.base_port - 1

    def _wants(self, wanted: list[int]) -> str:
        n = len(self.options.ids)
        text = f"brokerdemo wants {_ids(tuple(sorted(wanted[:n])))} for {n} brokers"
        return f"{text} and {wanted[-1]} for the coordination server" if self.embedded else text

    def _data_root(self) -> Path:
        return Path(self.options.data) if self.options.data else self.place.state_dir

    async def _start_coordination(self, step: Callable[[str, str], Awaitable[None]]) -> None:
        if self.options.connect is not None:
            self.host.connect = self.options.connect
            self.host.service_up.set()
            return
        data = self._data_root() / "coordination"
        log = self.place.state_dir / "coordination.log"
        coordinator = Coordinator(
            self.host, bind=self.options.host, port=self._coordination_port(), data_dir=data, log=log
        )
        self.coordinator = coordinator
        self.faults.attach(coordinator)
        await coordinator.start(self.nursery)
        await step("coordination", f"embedded, {coordinator.connect}")

    def _make_members(self) -> None:
        options = self.options
        for place, broker in enumerate(options.ids):
            directory = self.place.broker_dir(broker)
            data_dir = self._data_root() / "brokers" / str(broker) / "data"
            said = {
                "broker_id": broker,
                "host": options.host,
                "port": options.port_of(broker),
                "connect": self.host.connect,
                "session_timeout_ms": options.session_timeout_ms,
                "data_dir": os.fspath(data_dir),
                "rack": options.racks[place % len(options.racks)] if options.racks else "",
                "log_file": os.fspath(directory / "log.ndjson"),
                "advertised_host": options.advertise,
            }
            self.host.members[broker] = Member(broker, said, directory, data_dir, self.host)

    async def _all_registered(self, since: int) -> None:
        left = set(self.host.members)
        async for record in self.log.follow(since):
            event = record.event
            if event["event"] == "broker_registered":
                left.discard(event["broker"])
                self._marks.setdefault("first_registered", event["t_ns"])
            elif event["event"] == "process_exited" and "broker" in event:
                raise start_failed(self.host.members[event["broker"]], event.get("code"))
            if not left:
                self._marks["registered"] = event["t_ns"]
                return

    async def _controller(self, since: int) -> tuple[int, int]:
        if self.embedded:
            async for record in self.log.follow(since):
                if record.event["event"] == "controller_elected":
                    self._marks["elected"] = record.event["t_ns"]
                    break
        if self.heard.controller is not None:
            return self.heard.controller
        # An ensemble shared with other hosts: its controller may be one of theirs.
        while (found := (await self.picture(must=True)).controller) is None:
            await self.log.wait_change()
        return found

    def _addresses(self) -> str:
        known = [m.port for m in self.host.members.values()]
        host = self.options.advertise or self.options.host
        if known == list(range(known[0], known[0] + len(known))):
            return f"{host}:{_ids(tuple(known))}"
        return f"{host}, ports {', '.join(map(str, known))}"

    async def _make_topics(self, step: Callable[[str, str], Awaitable[None]], since: int) -> list[dict[str, Any]]:
        wanted = self.options.topics
        if wanted is None:
            wanted = (TopicSpec(name="demo", partitions=6, rf=min(3, len(self.options.ids))),)
        settings = SettingsVerbs(self)
        made: list[dict[str, Any]] = []
        for topic in wanted:
            try:
                await settings.create_topic(topic.name, topic.partitions, topic.rf)
            except ClusterError as error:
                if error.code != Code.CONFLICT:
                    raise
                # Kept data, or another host's topic.
                there = [key for key in self.last_picture.partitions if key[0] == topic.name]
                await settings.wait_led(topic.name, len(there), since)
                made.append({"name": topic.name, "partitions": len(there), "existed": True})
                await step(f"topic {topic.name}", f"{len(there)} partitions, was there already, all led")
                continue
            await settings.wait_led(topic.name, topic.partitions, since)
            self._marks["led"] = time.monotonic_ns()
            made.append({"name": topic.name, "partitions": topic.partitions, "rf": topic.rf})
            await step(f"topic {topic.name}", f"{topic.partitions} partitions, rf {topic.rf}, all led")
        return made

    # -- the coordination service
    # ------------------------------------------------------------------------------------------

    async def _hold_session(self) -> None:
        """Our own session, for status, config and topics; a new one whenever it is lost."""
        try:
            async with coordination.connect(self.host.connect, session_timeout_ms=OWN_SESSION_TIMEOUT_MS) as zk:
                self._zk = zk
                self._zk_ready.set()
                await self._follow_session(zk)
        except* coordination.NotConnectedError as group:
            if self._zk is not None:
                raise
            self._zk_error = ClusterError(
                Code.ENVIRONMENT,
                f"no coordination service answers at {self.host.connect}",
                str(group.exceptions[0]),
                "start it, or leave out --connect for the embedded one",
            )
            self._zk_ready.set()

    async def _follow_session(self, zk: coordination.Client) -> None:
        connected = True
        async for state in zk.states():
            if state is coordination.ConnectionState.CONNECTED:
                if not connected:
                    self.log.emit("coordination_resumed", session=f"{zk.session_id:#x}")
                connected = True
                continue
            if connected:
                self.log.emit("coordination_suspended")
            connected = False
            if state is coordination.ConnectionState.LOST:
                await zk.new_session()

    @asynccontextmanager
    async def service(self, what: str) -> AsyncIterator[coordination.Client]:
        """The connected client; the service's refusals become errors a person can act on."""
        await self._zk_ready.wait()
        if self._zk is None:
            assert self._zk_error is not None
            raise self._zk_error
        try:
            yield self._zk
        except (
            coordination.ConnectionLossError,
            coordination.SessionExpiredError,
            coordination.NotConnectedError,
        ) as error:
            raise ClusterError(
                Code.UNHEALTHY,
                f"{what}: the coordination service does not answer",
                str(error),
                "brokerdemo status, then again",
            ) from error

    async def picture(self, *, must: bool = False) -> znode_view.Picture:
        """The znodes now; with `must` a ClusterError (6) when they cannot be read, else the last that was known."""
        picture, fresh = await self.picture_if_any()
        if must and not fresh:
            raise ClusterError(
                Code.UNHEALTHY, "the coordination service does not answer", f"{self.host.connect}", "brokerdemo status"
            )
        return picture

    async def picture_if_any(self) -> tuple[znode_view.Picture, bool]:
        """The znodes now, or the last that was known; and which of the two it is."""
        with trio.move_on_after(PICTURE_WITHIN_S):
            try:
                await self._zk_ready.wait()
                if self._zk is None:
                    return self.last_picture, False
                self.last_picture = await znode_view.read(self._zk)
                return self.last_picture, True
            except* coordination.CoordinationError:
                pass
        known = self.last_picture if self.last_picture.partitions else self.heard.picture()
        known.controller = self.heard.controller or known.controller
        return known, False

    def _note_config(self, event: Event) -> None:
        if event["event"] == "config_rejected":
            self._rejected[event["broker"], event["znode"]] = event
        elif event["event"] == "config_applied":
            self._rejected.pop((event["broker"], event["znode"]), None)

    # -- stop
    # --------------------------------------------------------------------------------------------------------------

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


def _ids(ids: tuple[int, ...]) -> str:
    """`1-5` for a run, else `1, 3, 7`."""
    if len(ids) > 1 and list(ids) == list(range(ids[0], ids[0] + len(ids))):
        return f"{ids[0]}-{ids[-1]}"
    return ", ".join(map(str, ids))
