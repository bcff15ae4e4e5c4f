"""Targets: which processes a person means by `controller`, `leader:orders/0`, `1-3` or `random`.

In: the text, and a view of the cluster. Out: broker ids and the coordinator, in the order given, each once. One
grammar for the command line, scenarios, the dashboard and Python. Pure: no clock, no I/O; the source of random
choices is an argument.

    target  := part ("," part)*
    part    := ID | ID "-" ID | "controller" | "leader" [":" TOPIC "/" N] | "follower:" TOPIC "/" N
             | "random" | "coordinator" | "all"

(1) Parsing knows no cluster: what is no target in any cluster fails there, as does anything twice reversed (`3-1`).
(2) Resolving an unknown broker or a role nobody has is `UnknownTargetError`, which lists what would have been valid.
(3) `all` is every broker, never the coordinator: naming that one is always deliberate.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, TypeVar

from brokerdemo.cluster.errors import ClusterError, Code

Coordinator: TypeAlias = Literal["coordinator"]
Target: TypeAlias = int | Coordinator
COORDINATOR: Coordinator = "coordinator"

_T = TypeVar("_T")


class Chooser(Protocol):
    """The one thing asked of random.Random; the supervisor's is seeded by `--seed`."""

    def choice(self, seq: Sequence[_T], /) -> _T: ...


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a target expression, as written: its kind, and an id range or a partition where it has one."""

    kind: Literal["ids", "controller", "leader", "follower", "random", "coordinator", "all"]
    ids: tuple[int, ...] = ()
    topic: str = ""
    partition: int = -1


@dataclass(frozen=True, slots=True)
class View:
    """What resolving needs to know of a cluster at one instant."""

    brokers: tuple[int, ...]
    live: frozenset[int]
    controller: int | None = None
    leaders: Mapping[tuple[str, int], int] = field(default_factory=dict)
    followers: Mapping[tuple[str, int], tuple[int, ...]] = field(default_factory=dict)
    embedded: bool = True
    """Whether the coordination server is a process of this cluster."""

    def valid(self) -> list[str]:
        """Every single target that means something here now; for errors and for shell completion."""
        found = [str(broker) for broker in self.brokers]
        if self.controller is not None:
            found.append("controller")
        if self.live:
            found.append("random")
        if self.leaders:
            found.append("leader")
        for (topic, partition), leader in sorted(self.leaders.items()):
            if leader >= 0:
                found.append(f"leader:{topic}/{partition}")
            if self.followers.get((topic, partition)):
                found.append(f"follower:{topic}/{partition}")
        if self.embedded:
            found.append(COORDINATOR)
        return [*found, "all"]


class UnknownTargetError(ClusterError):
    """No such target, with the list of those there are. Exit code 3."""

    def __init__(self, what: str, valid: Iterable[str]) -> None:
        names = list(valid)
        shown = ", ".join(names[:16]) + (f" ... ({len(names)} in all)" if len(names) > 16 else "")
        super().__init__(Code.NOT_FOUND, what, f"valid targets: {shown}" if names else "", "brokerdemo status")
        self.valid = names


_PARTITION = re.compile(r"(leader|follower):([A-Za-z0-9._-]{1,249})/(\d{1,6})")
_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


def parse(text: str | int | Iterable[str | int]) -> list[Part]:
    """Read a target expression, or several; ClusterError (no such target) naming the part that cannot be read."""
    if isinstance(text, str | int):
        text = [text]
    parts = [_part(piece.strip()) for one in text for piece in str(one).split(",")]
    if not parts:
        raise _unreadable("")
    return parts


def _unreadable(piece: str) -> ClusterError:
    return ClusterError(
        Code.NOT_FOUND,
        f"{piece!r} is not a target",
        "a target is 3, 1-3, controller, leader, leader:TOPIC/0, follower:TOPIC/0, random, coordinator or all",
        "brokerdemo kill controller",
    )


def _part(piece: str) -> Part:
    if piece in ("controller", "leader", "random", "all"):
        return Part(piece)  # type: ignore[arg-type]  # the membership test is the check
    if piece in (COORDINATOR, "zk:leader"):
        return Part("coordinator")
    if piece.startswith("zk:"):
        raise ClusterError(
            Code.NOT_FOUND,
            f"{piece!r}: there is one coordination server, not an ensemble",
            "",
            "use the target coordinator",
        )
    if found := _PARTITION.fullmatch(piece):
        kind, topic, number = found.groups()
        return Part("leader" if kind == "leader" else "follower", topic=topic, partition=int(number))
    if found := _RANGE.fullmatch(piece):
        low = int(found[1])
        high = int(found[2]) if found[2] else low
        if high >= low and high - low <= 10_000:
            return Part("ids", ids=tuple(range(low, high + 1)))
    raise _unreadable(piece)


def resolve(parts: Iterable[Part], view: View, rng: Chooser) -> list[Target]:
    """The processes meant, in the order written, each once. UnknownTargetError when one does not exist: (2)."""
    found: list[Target] = []
    for part in parts:
        for target in _resolve(part, view, rng, found):
            if target not in found:
                found.append(target)
    return found


def find(text: str | int | Iterable[str | int], view: View, rng: Chooser) -> list[Target]:
    """The processes meant by a text; UnknownTargetError, with those there are, also when it cannot be read."""
    try:
        parts = parse(text)
    except ClusterError as error:
        raise UnknownTargetError(error.what, view.valid()) from error
    return resolve(parts, view, rng)


def _resolve(part: Part, view: View, rng: Chooser, taken: Sequence[Target]) -> Sequence[Target]:
    match part.kind:
        case "ids":
            for broker in part.ids:
                if broker not in view.brokers:
                    raise UnknownTargetError(f"broker {broker} does not exist", view.valid())
            return part.ids
        case "all":
            return view.brokers
        case "coordinator":
            if not view.embedded:
                raise UnknownTargetError(
                    "the coordination service is external: its processes are not this cluster's", view.valid()
                )
            return (COORDINATOR,)
        case "controller":
            if view.controller is None:
                raise UnknownTargetError("there is no controller now", view.valid())
            if view.controller not in view.brokers:
                raise UnknownTargetError(
                    f"the controller is broker {view.controller}, which runs on another host", view.valid()
                )
            return (view.controller,)
        case "random":
            # Live ones not already meant: `random,random` is two brokers.
            left = [broker for broker in view.brokers if broker in view.live and broker not in taken]
            if not left:
                raise UnknownTargetError("no live broker is left to choose from", view.valid())
            return (rng.choice(left),)
        case "leader" if not part.topic:
            counts = dict.fromkeys(view.brokers, 0)
            for leader in view.leaders.values():
                if leader in counts:
                    counts[leader] += 1
            best = max(counts.values(), default=0)
            if best == 0:
                raise UnknownTargetError("no broker of this host leads a partition now", view.valid())
            return (min(broker for broker, count in counts.items() if count == best),)
        case _:
            return _of_partition(part, view)


def _of_partition(part: Part, view: View) -> Sequence[Target]:
    name, key = f"{part.topic}/{part.partition}", (part.topic, part.partition)
    if key not in view.leaders:
        raise UnknownTargetError(f"partition {name} does not exist", view.valid())
    if part.kind == "leader":
        leader = view.leaders[key]
        if leader < 0:
            raise UnknownTargetError(f"partition {name} has no leader now", view.valid())
        found: Sequence[int] = (leader,)
    else:
        found = [broker for broker in view.followers.get(key, ()) if broker in view.brokers][:1]
        if not found:
            raise UnknownTargetError(f"partition {name} has no live follower now", view.valid())
    if found[0] not in view.brokers:
        raise UnknownTargetError(f"broker {found[0]} runs on another host", view.valid())
    return found
