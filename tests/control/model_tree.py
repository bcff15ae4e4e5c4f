"""A dumb znode tree that enforces versions, and a controller played against it until it has nothing more to do.

In: what brokers, operators and elections do.  Out: the views a controller is given, and the tree its multis make.
Knows nothing of what a right plan is.
"""

from dataclasses import dataclass, field

from brokerdemo import znodes
from brokerdemo.control.controller import Controller
from brokerdemo.control.model import (
    Broker,
    Check,
    ClusterView,
    ControllerSettings,
    Create,
    Delete,
    Multi,
    Plan,
    Set,
    TopicView,
)
from brokerdemo.znodes import MasterEpoch, PartitionState, ReassignRequest, Topic, Worker, ZnodeValueError

STEPS_MAX = 50


class RefusedError(Exception):
    """The multi was refused: operation `index`; nothing of it happened."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(f"operation {index}: {why}")
        self.index = index


@dataclass
class ModelTree:
    nodes: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    workers: dict[int, Broker] = field(default_factory=dict)
    czxid: int = 100

    @classmethod
    def empty(cls) -> "ModelTree":
        tree = cls()
        for path in ("/", *znodes.PERSISTENT_PARENTS):
            tree.nodes[path] = (b"", 0)
        tree.nodes[znodes.MASTER_EPOCH] = (MasterEpoch(0).encode(), 0)
        return tree

    # ---- what others do ----------------------------------------------------------------------------------------------

    def start(self, broker_id: int, rack: str = "") -> None:
        self.czxid += 1
        self.workers[broker_id] = Broker(broker_id, self.czxid, Worker("h", 9092, rack, f"o{broker_id}", "i"))

    def stop(self, broker_id: int) -> None:
        self.workers.pop(broker_id, None)

    def create_topic(self, name: str, topic: Topic) -> None:
        self.nodes[znodes.topic_path(name)] = (topic.encode(), 0)

    def elect(self, broker_id: int) -> tuple[Controller, int]:
        """A new controller and the version of /master_epoch it must check."""
        value, version = self.nodes[znodes.MASTER_EPOCH]
        epoch = MasterEpoch.decode(value).epoch + 1
        self.nodes[znodes.MASTER_EPOCH] = (MasterEpoch(epoch).encode(), version + 1)
        return Controller(broker_id, epoch), version + 1

    # ---- what the controller's shell does ----------------------------------------------------------------------------

    def write(self, multi: Multi) -> None:
        """All or nothing; raises `RefusedError`."""
        nodes = dict(self.nodes)
        for index, operation in enumerate(multi.operations):
            path = operation.path
            present = nodes.get(path)
            if isinstance(operation, Create):
                if present is not None:
                    raise RefusedError(index, f"{path} exists")
                if path.rpartition("/")[0] not in nodes:
                    raise RefusedError(index, f"{path} has no parent")
                nodes[path] = (operation.value, 0)
                continue
            if present is None:
                raise RefusedError(index, f"{path} is not there")
            if operation.version not in (-1, present[1]):
                raise RefusedError(index, f"{path} is at {present[1]}, not {operation.version}")
            if isinstance(operation, Set):
                nodes[path] = (operation.value, present[1] + 1)
            elif isinstance(operation, Delete):
                if any(other.startswith(path + "/") for other in nodes):
                    raise RefusedError(index, f"{path} has children")
                del nodes[path]
            else:
                assert isinstance(operation, Check)
        self.nodes = nodes

    def view(self, master_epoch_version: int, settings: ControllerSettings | None = None) -> ClusterView:
        reassign: ReassignRequest | ZnodeValueError | None = None
        if znodes.REASSIGN_PARTITIONS in self.nodes:
            try:
                reassign = ReassignRequest.decode(self.nodes[znodes.REASSIGN_PARTITIONS][0])
            except ZnodeValueError as error:
                reassign = error
        return ClusterView(
            master_epoch_version,
            dict(self.workers),
            {name: self._topic(name) for name in self._children(znodes.TOPICS)},
            frozenset(self._children(znodes.DELETE_TOPICS)),
            frozenset(self._children(znodes.CONFIG_TOPICS)),
            reassign,
            settings or ControllerSettings(),
        )

    def _children(self, path: str) -> list[str]:
        return sorted(
            p[len(path) + 1 :] for p in self.nodes if p.startswith(path + "/") and "/" not in p[len(path) + 1 :]
        )

    def _topic(self, name: str) -> TopicView:
        value, version = self.nodes[znodes.topic_path(name)]
        parents = znodes.partitions_path(name) in self.nodes
        numbers = frozenset(int(p) for p in self._children(znodes.partitions_path(name)))
        return TopicView(Topic.decode(value), version, parents, numbers, self.versioned_states(name))

    def versioned_states(self, topic: str) -> dict[int, tuple[PartitionState, int]]:
        found = {}
        for p in self._children(znodes.partitions_path(topic)):
            if (node := self.nodes.get(znodes.state_path(topic, int(p)))) is not None:
                found[int(p)] = (PartitionState.decode(node[0]), node[1])
        return found

    def states(self, topic: str) -> dict[int, PartitionState]:
        return {p: state for p, (state, _) in self.versioned_states(topic).items()}

    def topic(self, name: str) -> Topic:
        return Topic.decode(self.nodes[znodes.topic_path(name)][0])


def settle(
    tree: ModelTree, controller: Controller, version: int, now_ms: int = 0, settings: ControllerSettings | None = None
) -> list[Plan]:
    """Step and write until there is nothing to do; the plans that were not empty."""
    plans = []
    for _ in range(STEPS_MAX):
        plan = controller.step(tree.view(version, settings), now_ms)
        if plan.facts or plan.multis:
            plans.append(plan)
        if not plan.multis:
            return plans
        for multi in plan.multis:
            tree.write(multi)
    raise AssertionError(f"no end after {STEPS_MAX} steps: {plan}")


def facts(plans: list[Plan], event: str) -> list[dict[str, object]]:
    """Fields of all facts of that name, in order."""
    found = []
    for plan in plans:
        found += [dict(f.fields) for f in plan.facts if f.event == event]
        found += [dict(f.fields) for m in plan.multis for f in m.facts if f.event == event]
    return found
