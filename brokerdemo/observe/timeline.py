"""Timeline: the stages of one fault, as a query on the events. Nothing is measured here; everything was stamped where
it happened.

In: the `fault_injected` event, then every later event in any order of arrival. Out: the stages in ms since just
before the signal, whether the cluster recovered, and the `brokerdemo.fault/1` object. Pure; the same code answers
`kill` as it happens and `timeline` from a recorded log.

    stage       reached when                                                              stamped by
    detected    the acting controller says broker_lost; when the controller itself went:  controller, or supervisor
                its session is closed (certificate), else a new one is elected
    controller  a new controller is elected; = detected when the controller lives         broker
    reassigned  the last partition the target led has its new state committed             controller
    serving     the last of them is led again at a higher leader epoch                    broker

(1) A later stage proves the earlier ones: a stage is never later than the one after it. (A new leader may act on the
    commit before the controller has heard of it.)
(2) What a process killed in the same shot still said does not count: its bytes were on their way.
(3) Nothing is invented: a stage that was not seen is None, and `recovered` is true only when every affected partition
    is led.
(4) A fault that is over (`settled`) changes no more.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from brokerdemo.observe.events import Event, partition_name

SCHEMA: Final = "brokerdemo.fault/1"
STAGES: Final = ("detected", "controller", "reassigned", "serving")
GRACEFUL: Final = ("TERM", "INT")
NS_PER_MS: Final = 1_000_000


class FaultTimeline:
    """One fault: feed it events, ask for its stages. `injected` is the supervisor's `fault_injected` event."""

    def __init__(self, injected: Event) -> None:
        assert injected["event"] == "fault_injected", injected["event"]
        self.injected = injected
        self.fault: str = injected["fault"]
        self.t0_ns: int = injected["t_ns"]
        self.target: int | str = injected["target"]
        self.settled = False
        self._gone: frozenset[int] = frozenset(injected.get("together") or [injected.get("broker", -1)])
        self._led: dict[str, int] = dict(injected.get("led") or {})
        before = injected.get("controller") or {}
        self._controller_before: Mapping[str, int] | None = before or None
        self._epoch_before: int = before.get("epoch", 0)
        self._controller_hit = before.get("id") in self._gone
        # What is still to be seen, and when the rest was.
        self._unwritten = set(self._led or injected.get("follows") or ())
        self._unserved = set(self._led)
        self._offline: set[str] = set()
        self._moved: dict[str, dict[str, Any]] = {}
        self._at: dict[str, int] = {}
        self._new_controller: dict[str, int] | None = None
        self._lost_by: str | None = None
        self._healed_unnoticed = False
        self._disturbed: set[str] = set()

    # -- feeding -----------------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> list[str]:
        """Take in one event; the names of the stages it completed, in order. Cheap for events of no concern."""
        take = _TAKERS.get(event["event"])
        if self.settled or take is None or event["t_ns"] < self.t0_ns:
            return []
        if event["event"] in _FROM_BROKERS and _speaker(event) in self._gone:
            return []  # (2)
        known = self.stages_ns()
        take(self, event, event["t_ns"])
        now = self.stages_ns()
        self._settle(now)
        return [stage for stage in STAGES if known[stage] is None and now[stage] is not None]

    def _mark(self, what: str, t_ns: int) -> None:
        self._at.setdefault(what, t_ns)

    def _process_exited(self, event: Event, t_ns: int) -> None:
        if self._is_mine(event):
            self._mark("exited", t_ns)

    def _session_closed(self, event: Event, t_ns: int) -> None:
        if self._is_mine(event) and event.get("outcome") == "closed":
            self._mark("certificate", t_ns)

    def _broker_lost(self, event: Event, t_ns: int) -> None:
        if self._is_mine(event):
            self._mark("lost", t_ns)
            self._lost_by = self._lost_by or event.get("by")

    def _controller_elected(self, event: Event, t_ns: int) -> None:
        if event["controller_epoch"] > self._epoch_before:
            self._disturbed.add("controller")
            if "elected" not in self._at:
                self._new_controller = {"id": event["broker"], "epoch": event["controller_epoch"]}
            self._mark("elected", t_ns)

    def _assignment_written(self, event: Event, t_ns: int) -> None:
        written = _names(event.get("partitions"))
        hit = self._unwritten if written is None else self._unwritten & written
        if hit:
            self._unwritten -= hit
            self._at["written"] = max(t_ns, self._at.get("written", 0))

    def _leader_started(self, event: Event, t_ns: int) -> None:
        name = partition_name(event["topic"], event["partition"])
        self._disturbed.add(name)
        if name in self._unserved and event["leader_epoch"] > self._led[name]:
            self._unserved.discard(name)
            self._offline.discard(name)
            self._at["served"] = max(t_ns, self._at.get("served", 0))
            self._moved[name] = {
                "topic": event["topic"],
                "partition": event["partition"],
                "from": self.target,
                "to": event["broker"],
                "leader_epoch": event["leader_epoch"],
            }

    def _partition_offline(self, event: Event, t_ns: int) -> None:
        name = partition_name(event["topic"], event["partition"])
        if name in self._unserved:
            self._offline.add(name)

    def _fault_healed(self, event: Event, t_ns: int) -> None:
        if event.get("fault") == self.fault:
            self._mark("healed", t_ns)
            if self.stages_ns()["detected"] is None:
                self._healed_unnoticed = True

    def _coordination_started(self, event: Event, t_ns: int) -> None:
        self._mark("coordination", t_ns)

    def _coordination_resumed(self, event: Event, t_ns: int) -> None:
        self._mark("resumed", t_ns)

    def _is_mine(self, event: Event) -> bool:
        if self.is_coordinator:
            return event.get("process") == "coordinator"
        return event.get("broker") == self.target

    # -- asking ------------------------------------------------------------------------------------------------------

    @property
    def is_coordinator(self) -> bool:
        return self.target == "coordinator"

    def stages_ns(self) -> dict[str, int | None]:
        """When each stage was reached, on the monotonic clock; None = not seen (yet)."""
        at = self._at.get
        if self.is_coordinator:
            serving = (
                max(at("coordination", 0), at("resumed", 0))
                if "coordination" in self._at and "resumed" in self._at
                else None
            )
            return {"detected": at("exited"), "controller": None, "reassigned": None, "serving": serving}
        elected = at("elected")
        if self._controller_hit or (elected is not None and "lost" not in self._at):
            # The one who would have said broker_lost is gone, too. For several targets in one shot the certificate is
            # also the first proof, because nobody was there to hear of it.
            detected = _first(at("certificate"), elected, at("lost"))
            controller = elected
        else:
            detected = controller = at("lost")
        reassigned = serving = None
        if controller is not None:
            if not self._unwritten:
                reassigned = max(at("written", 0), controller)
            elif not self._led and not self.injected.get("follows"):
                reassigned = controller
            if not self._led:
                serving = reassigned
            elif not self._unserved:
                serving = max(at("served", 0), controller)
        # (1), from the back.
        if serving is not None:
            reassigned = serving if reassigned is None else min(reassigned, serving)
        return {"detected": detected, "controller": controller, "reassigned": reassigned, "serving": serving}

    def _settle(self, now: Mapping[str, int | None]) -> None:
        if now["serving"] is not None or self._healed_unnoticed:
            self.settled = True
        elif now["detected"] is not None and self._unserved and self._unserved == self._offline:
            # Whatever can be led is led; the rest waits for a replica that holds the data.
            self.settled = True

    @property
    def recovered(self) -> bool:
        """Every affected partition is led again (or nobody noticed the fault): (3)."""
        return self._healed_unnoticed or self.stages_ns()["serving"] is not None

    def ms(self, t_ns: int) -> float:
        """Milliseconds since just before the signal."""
        return round((t_ns - self.t0_ns) / NS_PER_MS, 3)

    def _ms_of(self, what: str) -> float | None:
        t_ns = self._at.get(what)
        return None if t_ns is None else self.ms(t_ns)

    @property
    def detected_by(self) -> str | None:
        """certificate, session_timeout, goodbye, or exit (of the coordination server, seen by its parent)."""
        if self.stages_ns()["detected"] is None:
            return None
        if self.is_coordinator:
            return "exit"
        if self._lost_by not in (None, "unknown", "bounced"):
            return self._lost_by
        if "certificate" in self._at:
            return "certificate"
        return "goodbye" if self.injected.get("signal") in GRACEFUL else "session_timeout"

    def missing(self) -> list[str]:
        """What is still waited for, in words: for the text of a timeout."""
        stages = self.stages_ns()
        found = [stage.upper() for stage in STAGES if stages[stage] is None]
        if self.is_coordinator:
            return [name for name in found if name in ("DETECTED", "SERVING")]
        if self._unserved and stages["controller"] is not None:
            found.append("a leader for " + ", ".join(sorted(self._unserved)))
        return found

    def report(self) -> dict[str, Any]:
        """The `brokerdemo.fault/1` object, with what is known so far."""
        stages = self.stages_ns()
        said = self.injected
        return {
            "schema": SCHEMA,
            "fault": self.fault,
            "kind": said["kind"],
            "signal": said.get("signal"),
            "target": self.target,
            "roles": list(said.get("roles") or ()),
            "pid": said.get("pid"),
            "t_ns": self.t0_ns,
            "detected_by": self.detected_by,
            "stages_ms": {stage: None if t is None else self.ms(t) for stage, t in stages.items()},
            "recovered": self.recovered,
            "settled": self.settled,
            "exited_ms": self._ms_of("exited"),
            "certificate_ms": self._ms_of("certificate"),
            "healed_ms": self._ms_of("healed"),
            "led": sorted(self._led),
            "follows": sorted(said.get("follows") or ()),
            "moved": [self._moved[name] for name in sorted(self._moved)],
            "offline": sorted(self._offline),
            "controller_before": self._controller_before,
            "new_controller": self._new_controller or self._controller_before,
            "session_timeout_ms": said.get("session_timeout_ms"),
            "notes": list(self._notes()),
        }

    def _notes(self) -> Iterable[str]:
        if self.is_coordinator:
            if self.settled:
                yield (
                    f"meanwhile changed: {', '.join(sorted(self._disturbed))}"
                    if self._disturbed
                    else "sessions survived: no leader and no controller changed before it answered"
                )
            return
        if self._healed_unnoticed:
            yield "resumed before its session timed out: nobody noticed"
        elif not self._led:
            yield "it led no partition: serving = reassigned"
        if self._offline:
            yield f"offline, no live ISR member: {', '.join(sorted(self._offline))}"
        if self.injected["kind"] == "exit":
            yield "ended from outside: times count from when its end was seen"


def _first(*times: int | None) -> int | None:
    return min((t for t in times if t is not None), default=None)


def _names(partitions: object) -> set[str] | None:
    """Partitions of an event as `topic/number`; None when the event only counts them."""
    if not isinstance(partitions, list | tuple):
        return None
    return {p if isinstance(p, str) else partition_name(p[0], p[1]) for p in partitions}


def _speaker(event: Event) -> int:
    """The broker that says this; -1 for others. `broker_lost` names a broker but is said by another."""
    source = str(event.get("source", ""))
    if source.startswith("broker "):
        return int(source[7:])
    return int(event["broker"]) if event["event"] != "broker_lost" and "broker" in event else -1


_TAKERS: Final = {
    "process_exited": FaultTimeline._process_exited,
    "session_closed": FaultTimeline._session_closed,
    "broker_lost": FaultTimeline._broker_lost,
    "controller_elected": FaultTimeline._controller_elected,
    "assignment_written": FaultTimeline._assignment_written,
    "leader_started": FaultTimeline._leader_started,
    "partition_offline": FaultTimeline._partition_offline,
    "fault_healed": FaultTimeline._fault_healed,
    "coordination_started": FaultTimeline._coordination_started,
    "coordination_resumed": FaultTimeline._coordination_resumed,
}
_FROM_BROKERS: Final = {
    "broker_lost",
    "controller_elected",
    "assignment_written",
    "leader_started",
    "partition_offline",
}


def faults_in(events: Iterable[Event]) -> dict[str, FaultTimeline]:
    """Every fault of a recorded log, by id, with all that followed it; events are taken in the order of `seq`."""
    found: dict[str, FaultTimeline] = {}
    for event in sorted(events, key=lambda event: event.get("seq", 0)):
        for timeline in found.values():
            timeline.feed(event)
        if event["event"] == "fault_injected":
            found[event["fault"]] = FaultTimeline(event)
    return found
