"""What a scenario sees of a cluster: a status taken at one instant, and the records of faults and restarts.

In: JSON as the supervisor answers it.  Out: frozen values with the questions stories ask. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that was injected. `seq` is the newest event before it."""

    id: str
    kind: str
    target: int | str
    roles: tuple[str, ...]
    seq: int
    raw: JSON = field(repr=False)

    @classmethod
    def of(cls, raw: JSON, seq: int) -> "Fault":
        return cls(str(raw["fault"]), str(raw["kind"]), raw["target"], tuple(raw.get("roles", ())), seq, raw)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What came of a fault, in ms since just before the signal."""

    fault: str
    target: int | str
    detected_by: str
    detected_ms: float
    controller_ms: float
    reassigned_ms: float
    serving_ms: float
    new_controller: int | None
    raw: JSON = field(repr=False)

    @classmethod
    def of(cls, raw: JSON) -> "Recovery":
        """Read a recovered fault; KeyError or TypeError when a stage is missing, which a recovered one never lacks."""
        times = raw["stages_ms"]
        return cls(
            fault=str(raw["fault"]),
            target=raw["target"],
            detected_by=str(raw.get("detected_by") or ""),
            detected_ms=float(times["detected"]),
            controller_ms=float(times["controller"]),
            reassigned_ms=float(times["reassigned"]),
            serving_ms=float(times["serving"]),
            new_controller=(raw.get("new_controller") or {}).get("id"),
            raw=raw,
        )

    def metrics(self) -> dict[str, float]:
        """The built-in metrics of one recovery: each stage by itself, and the whole."""
        return {
            "detect_ms": self.detected_ms,
            "elect_ms": self.controller_ms - self.detected_ms,
            "reassign_ms": self.reassigned_ms - self.controller_ms,
            "serve_ms": self.serving_ms - self.reassigned_ms,
            "recovery_ms": self.serving_ms,
        }


@dataclass(frozen=True, slots=True)
class Restarted:
    """One process that was started again."""

    process: int | str
    pid: int
    registered_ms: float | None
    in_sync_ms: float | None
    raw: JSON = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """What came of a change of settings: who applied it after how many ms, who refused it and why."""

    scope: str
    applied_ms: Mapping[int, float]
    rejected: tuple[JSON, ...]

    @property
    def slowest_ms(self) -> float:
        return max(self.applied_ms.values(), default=0.0)


@dataclass(frozen=True, slots=True)
class View:
    """The cluster at one instant."""

    status: JSON = field(repr=False)

    @property
    def controller(self) -> int | None:
        """Broker id of the controller; None while there is none."""
        found = (self.status.get("controller") or {}).get("id")
        return None if found is None else int(found)

    @property
    def controller_epoch(self) -> int:
        return int((self.status.get("controller") or {}).get("epoch") or 0)

    @property
    def brokers(self) -> tuple[int, ...]:
        """Every broker of the cluster, dead or alive."""
        return tuple(broker["id"] for broker in self.status.get("brokers", ()))

    @property
    def live(self) -> tuple[int, ...]:
        return tuple(broker["id"] for broker in self.status.get("brokers", ()) if broker["state"] == "live")

    def broker(self, broker: int) -> JSON:
        """One broker's row of the status; LookupError when there is none."""
        rows: dict[int, JSON] = {row["id"]: row for row in self.status.get("brokers", ())}
        if broker in rows:
            return rows[broker]
        raise LookupError(f"there is no broker {broker}: the cluster has {self.brokers}")

    def topic(self, name: str) -> dict[int, JSON]:
        """Partition number -> its row; LookupError for a topic there is not."""
        for topic in self.status.get("topics", ()):
            if topic["name"] == name:
                return {p["partition"]: p for p in topic["partitions"]}
        names = ", ".join(topic["name"] for topic in self.status.get("topics", ()))
        raise LookupError(f"there is no topic {name!r}: the cluster has {names or 'none'}")

    def leader(self, topic: str, partition: int) -> int | None:
        """Who leads it; None when nobody does."""
        leader = self.topic(topic)[partition]["leader"]
        return None if leader is None or leader < 0 else int(leader)

    def leader_epoch(self, topic: str, partition: int) -> int:
        return int(self.topic(topic)[partition]["leader_epoch"])

    def isr(self, topic: str, partition: int) -> tuple[int, ...]:
        return tuple(self.topic(topic)[partition]["isr"])

    def replicas(self, topic: str, partition: int) -> tuple[int, ...]:
        return tuple(self.topic(topic)[partition]["replicas"])

    def assignment(self) -> dict[str, tuple[int | None, int]]:
        """`topic/partition` -> (leader, leader epoch): what must not change when nothing moves."""
        return {
            f"{topic['name']}/{p['partition']}": (p["leader"], p["leader_epoch"])
            for topic in self.status.get("topics", ())
            for p in topic["partitions"]
        }

    def not_steady(self) -> list[str]:
        """What is missing for the steady state: a controller, every broker live, every partition led and in sync."""
        missing = [] if self.controller is not None else ["a controller"]
        dead = [f"{b['id']} ({b['state']})" for b in self.status.get("brokers", ()) if b["state"] != "live"]
        if dead:
            missing.append(f"brokers {', '.join(dead)} to be live")
        return missing + self.not_led() + self.not_in_sync()

    def not_led(self) -> list[str]:
        """A sentence if a partition has no leader."""
        names = [n for n, (leader, _) in self.assignment().items() if leader is None or leader < 0]
        return [f"a leader for {_some(names)}"] if names else []

    def not_in_sync(self) -> list[str]:
        """A sentence if an ISR is not full."""
        names = [
            f"{topic['name']}/{p['partition']}"
            for topic in self.status.get("topics", ())
            for p in topic["partitions"]
            if set(p["replicas"]) - set(p["isr"])
        ]
        return [f"{_some(names)} to be in sync"] if names else []


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
