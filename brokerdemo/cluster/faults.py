"""Faults: signals sent on purpose, and the clock that runs from just before them until the cluster is whole again.

In: targets, a signal. Out: `fault_injected` events, `FaultTimeline`s fed from the event log, `brokerdemo.fault/1`
objects. The stages are `observe.timeline`'s; this file sends the signal and waits.

(1) t = 0 is read just before the signal; nothing is awaited between the two, nor between the signals of one shot.
(2) A fault nobody here injected (a process that ends by itself or from outside) is a fault too, of kind `exit`,
    counted from when its end was proven.
(3) Waiting for a recovery never changes it: it can be given up at any time.
"""

import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import trio

from brokerdemo.cluster.coordinator import Coordinator
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.cluster.event_log import EventLog
from brokerdemo.cluster.members import Host, Member
from brokerdemo.cluster.processes import Child
from brokerdemo.cluster.targets import COORDINATOR, Target
from brokerdemo.cluster.znode_view import Heard, Picture
from brokerdemo.observe.events import Event
from brokerdemo.observe.timeline import FaultTimeline

Say = Callable[[dict[str, Any]], None]
SIGNALS = {
    "KILL": signal.SIGKILL,
    "TERM": signal.SIGTERM,
    "INT": signal.SIGINT,
    "STOP": signal.SIGSTOP,
}
REMEMBERED = 1_000


class Faults:
    """Every fault of this cluster, by id, in order."""

    def __init__(self, log: EventLog, host: Host, heard: Heard, *, session_timeout_ms: int) -> None:
        self.all: dict[str, FaultTimeline] = {}
        self._log = log
        self._host = host
        self._heard = heard
        self._session_timeout_ms = session_timeout_ms
        self._granted_ms: dict[int, int] = {}  # per broker: what its server granted, which config can change live
        self._open: dict[str, FaultTimeline] = {}
        self._progress = trio.lowlevel.ParkingLot()
        self._number = 0
        self._coordinator: Coordinator | None = None
        log.listeners.append(self._listen)
        host.on_end = self._on_end

    def attach(self, coordinator: Coordinator) -> None:
        """The embedded server, once there is one."""
        self._coordinator = coordinator

    @property
    def session_timeout_ms(self) -> int:
        """What the service granted the brokers (the longest of it), which need not be what was asked for."""
        return max(self._granted_ms.values(), default=self._session_timeout_ms)

    @property
    def last(self) -> FaultTimeline | None:
        return next(reversed(self.all.values()), None)

    def get(self, name: str) -> FaultTimeline:
        """`last` or an id; ClusterError 3 with the ids there are."""
        found = self.last if name == "last" else self.all.get(name)
        if found is None:
            known = ", ".join(list(self.all)[-8:]) or "none so far"
            raise ClusterError(
                Code.NOT_FOUND, f"no fault {name!r}", f"faults of this cluster: {known}", "brokerdemo kill random"
            )
        return found

    # -- listening ---------------------------------------------------------------------------------------------------

    def _listen(self, event: Event) -> None:
        if event["event"] in ("broker_registered", "session_timeout_changed") and event.get("session_timeout_ms"):
            self._granted_ms[event["broker"]] = event["session_timeout_ms"]
        if not self._open:
            return
        moved = False
        for fault in list(self._open.values()):
            stages = fault.feed(event)
            if stages:
                event.setdefault("fault", fault.fault)
            if stages or fault.settled:
                moved = True
            if fault.settled:
                self._open.pop(fault.fault, None)
                if fault.recovered:
                    serving = fault.stages_ns()["serving"]
                    self._log.emit(
                        "fault_recovered",
                        fault=fault.fault,
                        ms=None if serving is None else fault.ms(serving),
                        detected_by=fault.detected_by,
                    )
        if moved:
            self._progress.unpark_all()

    def _on_end(self, member: Member, ended_ns: int) -> None:
        child = member.child
        if member.expected_end or child is None or any(f.injected.get("pid") == child.pid for f in self._open.values()):
            return
        if child.told_to_go:
            return  # the goodbye after a TERM whose waterfall is over already
        self._inject([member.broker], "exit", None, self._heard.picture(), t0_ns=ended_ns)

    # -- injecting ---------------------------------------------------------------------------------------------------

    def inject(
        self, targets: Sequence[Target], kind: str, signum: signal.Signals, picture: Picture, for_ms: int | None = None
    ) -> list[FaultTimeline]:
        """Send the signal to all targets, together; their timelines have begun. ClusterError 4 when one cannot get it:
        then nobody does."""
        for target in targets:
            self._check(target, kind)
        return self._inject(targets, kind, signum, picture, for_ms=for_ms)

    def _inject(
        self,
        targets: Sequence[Target],
        kind: str,
        signum: signal.Signals | None,
        picture: Picture,
        *,
        t0_ns: int | None = None,
        for_ms: int | None = None,
    ) -> list[FaultTimeline]:
        events = [self._describe(target, targets, kind, signum, picture) for target in targets]
        if for_ms is not None:
            for event in events:
                event["for_ms"] = for_ms
        times = []
        for target in targets:
            times.append(time.monotonic_ns() if t0_ns is None else t0_ns)
            if signum is not None:
                self._child(target).send(signum)  # (1)
        started = []
        for event, t_ns in zip(events, times, strict=True):
            self._number += 1
            name = f"f{self._number}"
            kept = self._log.emit("fault_injected", t_ns=t_ns, fault=name, **event)
            fault = FaultTimeline(kept)
            self.all[name] = self._open[name] = fault
            started.append(fault)
        while len(self.all) > REMEMBERED:
            self.all.pop(next(iter(self.all)))
        return started

    def _child(self, target: Target) -> Child:
        holder = self._coordinator if target == COORDINATOR else self._host.members[target]
        assert holder is not None
        assert holder.child is not None
        return holder.child

    def _check(self, target: Target, kind: str) -> None:
        name = "the coordination server" if target == COORDINATOR else f"broker {target}"
        holder = self._coordinator if target == COORDINATOR else self._host.members[target]
        if holder is None or holder.child is None or not holder.child.alive:
            raise ClusterError(Code.CONFLICT, f"{name} is already dead", "", f"brokerdemo restart {target}")
        if kind == "pause" and holder.child.stopped:
            raise ClusterError(Code.CONFLICT, f"{name} is already paused", "", f"brokerdemo resume {target}")

    def _describe(
        self,
        target: Target,
        targets: Sequence[Target],
        kind: str,
        signum: signal.Signals | None,
        picture: Picture,
    ) -> dict[str, Any]:
        child = self._child(target)
        said: dict[str, Any] = {"kind": kind, "target": target, "pid": child.pid}
        if signum is not None:
            said["signal"] = signum.name.removeprefix("SIG")
        controller = picture.controller
        if controller is not None:
            said["controller"] = {"id": controller[0], "epoch": controller[1]}
        timeout_ms = self._session_timeout_ms
        said["session_timeout_ms"] = timeout_ms if target == COORDINATOR else self._granted_ms.get(target, timeout_ms)
        if target == COORDINATOR:
            return {**said, "roles": [COORDINATOR]}
        led, follows = picture.led_by(target), picture.followed_by(target)
        roles = [
            role
            for role, has in (
                ("controller", controller is not None and controller[0] == target),
                ("leader", bool(led)),
                ("follower", bool(follows)),
            )
            if has
        ]
        together = [other for other in targets if other != COORDINATOR]
        return {**said, "broker": target, "roles": roles, "led": led, "follows": follows, "together": together}

    # -- healing -----------------------------------------------------------------------------------------------------

    def heal(self, target: Target) -> FaultTimeline | None:
        """SIGCONT to a paused process; the fault that paused it, if there was one. None when it is not paused."""
        child = self._child(target)
        if not child.stopped:
            return None
        child.send(signal.SIGCONT)
        for fault in reversed(self.all.values()):
            if fault.target == target and fault.injected.get("pid") == child.pid:
                fields = {} if target == COORDINATOR else {"broker": target}
                self._log.emit("fault_healed", fault=fault.fault, kind=fault.injected["kind"], target=target, **fields)
                return fault
        return None

    # -- waiting -----------------------------------------------------------------------------------------------------

    async def wait(self, faults: Sequence[FaultTimeline], within_ms: float | None, say: Say) -> bool:
        """Wait until all of them are settled, telling each stage as it is seen; False when the time is over first."""
        told: dict[str, set[str]] = {fault.fault: set() for fault in faults}

        def tell() -> None:
            for fault in faults:
                for stage, t_ns in fault.stages_ns().items():
                    if t_ns is not None and stage not in told[fault.fault]:
                        told[fault.fault].add(stage)
                        say(
                            {
                                "step": {
                                    "fault": fault.fault,
                                    "target": fault.target,
                                    "stage": stage,
                                    "ms": fault.ms(t_ns),
                                }
                            }
                        )

        with trio.move_on_after(float("inf") if within_ms is None else within_ms / 1000):
            while not all(fault.settled for fault in faults):
                tell()
                await self._progress.park()
        tell()
        return all(fault.settled for fault in faults)


def overdue(faults: Sequence[FaultTimeline], reports: list[dict[str, Any]], within_ms: float) -> ClusterError:
    """The error for a recovery that was not seen in time; it carries what was."""
    late = [fault for fault in faults if not fault.settled]
    names = ", ".join(str(fault.target) for fault in late)
    waited = "; ".join(f"{fault.target}: {', '.join(fault.missing())}" for fault in late)
    return ClusterError(
        Code.TIMED_OUT,
        f"not recovered from losing {names} within {within_ms:.0f} ms",
        f"still waiting for {waited}",
        "brokerdemo status, brokerdemo events --since last-fault",
        result={"faults": reports},
    )
