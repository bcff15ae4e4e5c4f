"""Events: the one vocabulary of facts, for logs, the event stream, the timeline, scenarios and the dashboard.

In: facts as JSON objects. Out: whether one is well formed, and its one-line text. The catalogue is data: name, who
says it, which fields it must carry, what it means. Knows nothing of processes, sockets or clocks; a timeline is a
query on these.

(1) Every event carries `event`, `t_ns` and `source`; `t_ns` is the monotonic clock of the emitting process, which all
    processes of one host share, so events of several processes can be put in one order.
(2) `seq` is given by the supervisor when it takes an event in: unique, rising by one, the order in which it heard.
(3) A reader ignores fields it does not know, and events it does not know: the vocabulary grows.
(4) A fact is stated by the process that knows it: only the supervisor knows signals and exits, only the acting
    controller what it planned, only a broker what it serves.
(5) A partition is written `topic/number` wherever several are listed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Event: TypeAlias = dict[str, Any]
"""One fact as it travels: a flat JSON object."""

EVERY: Final = ("event", "t_ns", "source")
"""Fields of every event; the supervisor adds `seq`."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One line of the catalogue: who emits the event, the fields it must carry, those it may, and what it means."""

    by: str
    fields: tuple[str, ...]
    may: tuple[str, ...]
    means: str


CATALOGUE: Final[dict[str, Kind]] = {
    # -- the supervisor: the life of the cluster and of its processes ------------------------------------------------
    "cluster_starting": Kind(
        "supervisor",
        ("cluster", "wall_time", "connect", "session_timeout_ms"),
        ("seed", "brokers", "certificates", "version"),
        "the supervisor has the lock and begins; `wall_time` is ISO 8601, once, for humans",
    ),
    "cluster_ready": Kind(
        "supervisor", ("ms",), ("brokers",), "all brokers registered, all partitions led; ms since `up` was asked"
    ),
    "cluster_stopping": Kind("supervisor", ("reason",), (), "`down`, or why the supervisor gives up"),
    "process_started": Kind(
        "supervisor", ("process", "pid"), ("broker", "port"), "forked; `process` is `broker 3` or `coordinator`"
    ),
    "process_exited": Kind(
        "supervisor",
        ("process", "pid", "certainty"),
        ("broker", "code", "signal", "expected", "fault"),
        "the end is proven (pidfd, or reaped by its parent): `certainty` is `proven`",
    ),
    "coordination_started": Kind(
        "supervisor",
        ("connect", "mode"),
        ("ms", "restart"),
        "the coordination service answers; mode embedded or external",
    ),
    "coordination_suspended": Kind("supervisor", (), ("reason",), "the supervisor's own session lost its connection"),
    "coordination_resumed": Kind("supervisor", (), ("session",), "the supervisor's own session is connected again"),
    "fault_injected": Kind(
        "supervisor",
        ("fault", "kind", "target"),
        (
            "broker",
            "signal",
            "roles",
            "pid",
            "led",
            "follows",
            "controller",
            "together",
            "for_ms",
            "session_timeout_ms",
        ),
        "t_ns is the instant before the signal; `led` maps the partitions the target led to their leader epochs",
    ),
    "fault_healed": Kind(
        "supervisor", ("fault", "kind", "target"), ("broker",), "SIGCONT sent, or the process is back"
    ),
    "fault_recovered": Kind("supervisor", ("fault",), ("ms", "detected_by"), "every affected partition is led again"),
    "session_closed": Kind(
        "supervisor",
        ("broker", "certainty", "outcome"),
        ("fault", "ms", "reason"),
        "a death certificate was served: `outcome` is closed, already_expired or unreachable",
    ),
    "config_written": Kind(
        "supervisor", ("znode", "settings"), ("mzxid", "version", "scope"), "`config set`: the instant before the write"
    ),
    "topic_created": Kind("supervisor", ("topic", "partitions", "rf"), (), "its znode is written; leaders follow"),
    "topic_deleted": Kind("supervisor", ("topic",), (), "its deletion was asked for, or is done"),
    # -- brokers -----------------------------------------------------------------------------------------------------
    "broker_registered": Kind(
        "broker",
        ("broker", "zxid", "incarnation"),
        ("host", "port", "replaced", "session_timeout_ms"),
        "/workers/<id> created; zxid = its czxid = the broker epoch; the session timeout is the one granted",
    ),
    "session_timeout_changed": Kind(
        "broker",
        ("broker", "session_timeout_ms"),
        (),
        "its session goes on with this timeout, as granted by the server",
    ),
    "broker_fenced": Kind(
        "broker", ("broker", "reason"), (), "found itself deposed; serves nothing until it registers again"
    ),
    "broker_unfenced": Kind(
        "broker", ("broker", "zxid"), (), "proved, after a fence, that its session and registration had lived on"
    ),
    "controller_elected": Kind("broker", ("broker", "controller_epoch"), (), "holds /master at this epoch"),
    "controller_resigned": Kind("broker", ("broker", "controller_epoch", "reason"), (), "gave up, or lost, /master"),
    "leader_started": Kind(
        "broker",
        ("broker", "topic", "partition", "leader_epoch"),
        (),
        "serves the partition as its leader at this epoch",
    ),
    "follower_started": Kind(
        "broker",
        ("broker", "topic", "partition", "leader_epoch"),
        ("leader",),
        "follows the partition's leader at this epoch",
    ),
    "config_applied": Kind(
        "broker", ("broker", "znode", "version"), ("changed", "mzxid", "delay_ms"), "the znode's settings are in force"
    ),
    "config_rejected": Kind(
        "broker",
        ("broker", "znode", "key", "value", "reason"),
        ("version", "mzxid"),
        "a bad value: the last good settings stay in force",
    ),
    # -- the acting controller ----------------------------------------------------------------------------------------
    "broker_lost": Kind(
        "controller",
        ("broker", "by"),
        ("controller_epoch", "zxid", "fault", "certainty"),
        "/workers/<id> is gone or bounced; by certificate, session_timeout, goodbye, bounced or unknown",
    ),
    "assignment_planned": Kind(
        "controller",
        ("controller_epoch", "moves", "lower_bound", "partitions"),
        ("reason",),
        "the plan, its moves, and the fewest any plan could make; `partitions` lists those it changes",
    ),
    "assignment_written": Kind(
        "controller",
        ("controller_epoch", "partitions"),
        ("zxid",),
        "a multi of the plan is committed; `partitions` it held",
    ),
    "isr_changed": Kind(
        "controller", ("topic", "partition", "isr"), ("leader_epoch",), "the partition's ISR is now this"
    ),
    "partition_offline": Kind(
        "controller", ("topic", "partition"), ("isr",), "no live ISR member: no leader, the ISR is kept"
    ),
    # -- the scenario runner -------------------------------------------------------------------------------------------
    "scenario_started": Kind("runner", ("scenario",), ("seed", "run"), "its body begins"),
    "threshold_judged": Kind("runner", ("metric", "expr", "value", "passed"), (), "one threshold, after the run"),
    "scenario_ended": Kind("runner", ("scenario", "status"), ("run",), "passed, failed or broken"),
    "mark": Kind("runner", ("label",), (), "a mark the scenario's author set"),
}

LOST_BY: Final = ("certificate", "session_timeout", "goodbye", "bounced", "unknown")

_FIRST: Final = ("seq", "t_ns", "source", "event")


def problems(event: Mapping[str, Any]) -> list[str]:
    """What is wrong with an event, in words; empty when it is well formed.

    An event the catalogue does not know is a problem here: this is for tests and debugging, where the vocabulary is
    closed; readers in production ignore what they do not know (3).
    """
    name = event.get("event")
    found = [f"no field {field!r}" for field in EVERY if field not in event]
    if not isinstance(event.get("t_ns", 0), int):
        found.append("t_ns is not a whole number of nanoseconds")
    kind = CATALOGUE.get(name) if isinstance(name, str) else None
    if kind is None:
        return [*found, f"unknown event {name!r}"]
    found += [f"{name}: no field {field!r}" for field in kind.fields if field not in event]
    if name == "broker_lost" and event.get("by") not in LOST_BY:
        found.append(f"broker_lost: by {event.get('by')!r} is none of {', '.join(LOST_BY)}")
    return found


def matches(event: Mapping[str, Any], pattern: Mapping[str, Any]) -> bool:
    """Whether every field of `pattern` has that value in `event`; a list in the pattern means any of its items."""
    for field, wanted in pattern.items():
        if field not in event:
            return False
        value = event[field]
        if value != wanted and not (isinstance(wanted, list) and value in wanted):
            return False
    return True


def partition_name(topic: str, partition: int) -> str:
    """`demo/3`, the spelling used wherever partitions are listed (5)."""
    return f"{topic}/{partition}"


def text(event: Mapping[str, Any]) -> str:
    """The event's own fields as `key=value`, in the order they were given, without the four every event has."""
    parts = []
    for field, value in event.items():
        if field in _FIRST:
            continue
        if isinstance(value, list | tuple):
            value = ",".join(map(str, value)) or "-"
        parts.append(f"{field}={value}")
    return " ".join(parts)
