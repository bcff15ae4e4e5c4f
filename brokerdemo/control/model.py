"""The controller's words: what it reads (`ClusterView`), what it answers (`Plan`), what it tells (`Fact`).

Values only, no decisions. A view is one reading of the znodes; a plan is ordered multis as data, so that a test can
play them against a model tree and a shell against a real one. Answers to Kafka's ControllerContext and LeaderAndIsr.

(1) A broker is an id *and* an epoch (the czxid of its registration); ids alone cannot tell a bounced broker.
(2) Every multi of a plan starts with a check of /master_epoch, so a deposed controller writes nothing.
(3) No multi is larger than `MULTI_OPERATIONS_MAX` and `MULTI_BYTES_MAX`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from brokerdemo import znodes
from brokerdemo.znodes import PartitionState, ReassignRequest, Topic, Worker, ZnodeValueError

# The packet limit of ZooKeeper is 1 MiB (jute.maxbuffer); half of it leaves room for the txn the server makes of it.
MULTI_OPERATIONS_MAX = 500
MULTI_BYTES_MAX = 512 * 1024
# Path length, two integers and type of an operation, rounded up.
OPERATION_OVERHEAD_BYTES = 64


class TopicPartition(NamedTuple):
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Broker:
    """A registered broker. `epoch` is the czxid of /workers/<id>."""

    broker_id: int
    epoch: int
    worker: Worker

    @property
    def rack(self) -> str:
        return self.worker.rack


@dataclass(frozen=True, slots=True)
class TopicView:
    """A topic as read. `version` is the data version of /topics/<t>; `states` maps to (state, data version).

    `partitions_node` and `partition_nodes` say which parents of the states exist, for a creation that was cut short.
    `unreadable` are partitions whose state has a value nobody can use; they are left alone until it is mended.
    """

    topic: Topic
    version: int
    partitions_node: bool = True
    partition_nodes: frozenset[int] = frozenset()
    states: Mapping[int, tuple[PartitionState, int]] = field(default_factory=dict)
    unreadable: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """Live settings of the controller. `topic_reassign_delay_ms` overrides the delay for the topics named."""

    reassign_delay_ms: int = 10_000
    auto_leader_rebalance: bool = True
    topic_reassign_delay_ms: Mapping[str, int] = field(default_factory=dict)

    def reassign_delay_of(self, topic: str) -> int:
        return self.topic_reassign_delay_ms.get(topic, self.reassign_delay_ms)


@dataclass(frozen=True, slots=True)
class ClusterView:
    """One reading of everything the controller decides on.

    `master_epoch_version` is the data version of /master_epoch as this controller wrote it: the fence. A topic whose
    value cannot be used is not in `topics`, unless it is to be deleted. `topic_configs` are the topics that have a
    /config/topics/<t> znode, which goes with the topic.
    """

    master_epoch_version: int
    brokers: Mapping[int, Broker] = field(default_factory=dict)
    topics: Mapping[str, TopicView] = field(default_factory=dict)
    deletions: frozenset[str] = frozenset()
    topic_configs: frozenset[str] = frozenset()
    reassign: ReassignRequest | ZnodeValueError | None = None
    settings: ControllerSettings = ControllerSettings()

    @property
    def live(self) -> dict[int, int]:
        """Broker epoch by id of the live brokers."""
        return {broker_id: broker.epoch for broker_id, broker in sorted(self.brokers.items())}

    @property
    def racks(self) -> dict[int, str]:
        return {broker_id: broker.rack for broker_id, broker in sorted(self.brokers.items())}


# ---- what is written -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    path: str
    version: int


@dataclass(frozen=True, slots=True)
class Create:
    path: str
    value: bytes = b""


@dataclass(frozen=True, slots=True)
class Set:
    path: str
    value: bytes
    version: int


@dataclass(frozen=True, slots=True)
class Delete:
    path: str
    version: int = -1


Operation = Check | Create | Set | Delete


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened, in the vocabulary of events: a name and its fields."""

    event: str
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Multi:
    """One atomic write. `facts` become true when it succeeded, and not before."""

    operations: tuple[Operation, ...]
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """`facts` are true now (what was found); then the multis, in this order. Empty: nothing is to be done."""

    facts: tuple[Fact, ...] = ()
    multis: tuple[Multi, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """Operations that must stand in one multi together, with the facts they make true."""

    operations: tuple[Operation, ...]
    facts: tuple[Fact, ...] = ()
    # Partitions whose leader or ISR this writes: (topic, partition, leader, leader epoch).
    changes: tuple[tuple[str, int, int, int], ...] = ()
    # Partitions whose replicas this writes.
    moved: tuple[tuple[str, int], ...] = ()

    @property
    def partitions(self) -> set[tuple[str, int]]:
        return {change[:2] for change in self.changes} | set(self.moved)


def bundle(steps: Iterable[Step], *, controller_epoch: int, master_epoch_version: int) -> tuple[Multi, ...]:
    """Steps, in their order, in as few multis as the limits allow; each multi is fenced and says what it wrote."""
    fence = Check(znodes.MASTER_EPOCH, master_epoch_version)
    multis: list[Multi] = []
    batch: list[Step] = []
    count, size = 1, OPERATION_OVERHEAD_BYTES

    def close() -> None:
        operations = tuple(operation for step in batch for operation in step.operations)
        changes = [list(change) for step in batch for change in step.changes]
        written = Fact(
            "assignment_written",
            {
                "controller_epoch": controller_epoch,
                "partitions": names(where for step in batch for where in step.partitions),
                "changes": changes,
            },
        )
        facts = tuple(fact for step in batch for fact in step.facts)
        multis.append(Multi((fence, *operations), (written, *facts)))

    for step in steps:
        step_size = _size(step.operations)
        full = count + len(step.operations) > MULTI_OPERATIONS_MAX or size + step_size > MULTI_BYTES_MAX
        if batch and full:
            close()
            batch, count, size = [], 1, OPERATION_OVERHEAD_BYTES
        batch.append(step)
        count += len(step.operations)
        size += step_size
    if batch:
        close()
    return tuple(multis)


def names(partitions: Iterable[tuple[str, int]]) -> list[str]:
    """Partitions as events list them: `topic/number`, sorted, each once."""
    return [f"{topic}/{partition}" for topic, partition in sorted(set(partitions))]


def _size(operations: Sequence[Operation]) -> int:
    total = 0
    for operation in operations:
        total += OPERATION_OVERHEAD_BYTES + len(operation.path)
        if isinstance(operation, Create | Set):
            total += len(operation.value)
    return total
