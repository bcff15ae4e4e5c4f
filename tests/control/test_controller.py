"""The controller against a dumb znode tree that enforces versions: what it does after each change, and its invariants
(K1, K2, K8, K14) under random histories of deaths, bounces, new controllers and torn plans."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from brokerdemo import znodes
from brokerdemo.control.controller import Controller
from brokerdemo.control.model import (
    MULTI_BYTES_MAX,
    MULTI_OPERATIONS_MAX,
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
from brokerdemo.znodes import (
    Config,
    MasterEpoch,
    PartitionState,
    ReassignRequest,
    ReplicaAssignment,
    Topic,
    TopicRequest,
    Worker,
    ZnodeValueError,
)

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


# ---- examples --------------------------------------------------------------------------------------------------------


def cluster(brokers: int = 3, topic: Topic | None = None) -> tuple[ModelTree, Controller, int]:
    tree = ModelTree.empty()
    for broker_id in range(1, brokers + 1):
        tree.start(broker_id)
    if topic is not None:
        tree.create_topic("t", topic)
    controller, version = tree.elect(1)
    settle(tree, controller, version)
    return tree, controller, version


HOME = Topic("id", {0: ReplicaAssignment((1, 2, 3)), 1: ReplicaAssignment((2, 3, 1))})


def test_a_new_topic_gets_states_led_by_the_first_replica() -> None:
    tree, _, _ = cluster(3, HOME)
    assert tree.states("t") == {
        0: PartitionState(1, 0, (1, 2, 3), 1, {1: 101, 2: 102, 3: 103}),
        1: PartitionState(2, 0, (2, 3, 1), 1, {1: 101, 2: 102, 3: 103}),
    }


def test_a_topic_that_asks_is_placed_by_the_controller() -> None:
    tree, controller, version = cluster(2, Topic("id", {}, TopicRequest(6, 3), {"by": "hand"}))
    assert tree.topic("t").partitions == {}, "it waits for a third broker"
    tree.start(3)
    settle(tree, controller, version)
    topic = tree.topic("t")
    assert sorted(topic.partitions) == list(range(6))
    assert (topic.request, topic.extra) == (None, {"by": "hand"})
    assert all(state.leader_epoch == 0 and len(state.isr) == 3 for state in tree.states("t").values())


def test_a_death_is_answered_in_one_multi() -> None:
    tree, controller, version = cluster(3, HOME)
    tree.stop(1)
    (plan, *rest) = settle(tree, controller, version)
    assert len(plan.multis) == 1
    assert rest == []
    assert plan.multis[0].operations[0] == Check(znodes.MASTER_EPOCH, version)
    assert [f.event for f in plan.facts] == ["broker_lost", "assignment_planned"]
    assert plan.facts[1].fields["partitions"] == ["t/0", "t/1"]
    assert facts([plan], "assignment_written")[0]["changes"] == [["t", 0, 2, 1], ["t", 1, 2, 1]]
    assert {p: (s.leader, s.isr) for p, s in tree.states("t").items()} == {0: (2, (2, 3)), 1: (2, (2, 3))}


def test_leadership_returns_after_the_isr_not_with_it() -> None:
    tree, controller, version = cluster(3, HOME)
    tree.stop(1)
    settle(tree, controller, version)
    tree.start(1)
    first, second = settle(tree, controller, version)
    assert facts([first], "assignment_written")[0]["changes"] == [["t", 0, 2, 2], ["t", 1, 2, 2]]
    assert facts([second], "assignment_written")[0]["changes"] == [["t", 0, 1, 3]]


def test_a_bounced_broker_is_told_and_does_not_lead() -> None:
    tree, controller, version = cluster(3, HOME)
    tree.start(1)  # a new czxid, and nobody saw it go
    plans = settle(tree, controller, version)
    assert facts(plans, "broker_lost") == [{"broker": 1, "controller_epoch": 1, "by": "bounced"}]
    assert facts(plans, "assignment_written")[0]["changes"][0] == ["t", 0, 2, 1]  # type: ignore[index]


def test_a_bounce_between_two_controllers_is_seen_by_the_second() -> None:
    tree, _, _ = cluster(3, HOME)
    tree.start(1)
    controller, version = tree.elect(2)
    plans = settle(tree, controller, version)
    assert facts(plans, "broker_lost") == [{"broker": 1, "controller_epoch": 2, "by": "bounced"}]
    assert tree.states("t")[0].leader_epoch > 0


def test_offline_and_back() -> None:
    tree, controller, version = cluster(3, HOME)
    for broker_id in (1, 2, 3):
        tree.stop(broker_id)
        plans = settle(tree, controller, version)
    assert {f["partition"] for f in facts(plans, "partition_offline")} == {0, 1}
    assert {(s.leader, s.isr) for s in tree.states("t").values()} == {(-1, (3,))}
    tree.start(1)
    settle(tree, controller, version)
    assert {s.leader for s in tree.states("t").values()} == {-1}, "1 is not in the last ISR"
    tree.start(3)
    plans = settle(tree, controller, version)
    assert [c[2] for c in facts(plans, "assignment_written")[0]["changes"]] == [3, 3]  # type: ignore[attr-defined]
    assert {frozenset(s.isr) for s in tree.states("t").values()} == {frozenset({1, 3})}


def test_a_deposed_controller_writes_nothing() -> None:
    tree, old, old_version = cluster(3, HOME)
    tree.stop(1)
    plan = old.step(tree.view(old_version), 0)
    tree.elect(2)
    before = dict(tree.nodes)
    with pytest.raises(RefusedError) as refused:
        tree.write(plan.multis[0])
    assert refused.value.index == 0
    assert tree.nodes == before


def test_replicas_move_after_the_delay_and_not_before() -> None:
    tree, controller, version = cluster(4, HOME)
    settings = ControllerSettings(reassign_delay_ms=10_000)
    tree.stop(1)
    settle(tree, controller, version, 1_000, settings)
    assert controller.next_deadline() == 11_000
    assert settle(tree, controller, version, 10_999, settings) == []
    plans = settle(tree, controller, version, 11_000, settings)
    assert facts(plans, "assignment_planned")[0]["moves"] == facts(plans, "assignment_planned")[0]["lower_bound"] == 2
    assert facts(plans, "assignment_written")[0]["partitions"] == ["t/0", "t/1"]
    assert tree.topic("t").partitions == {0: ReplicaAssignment((4, 2, 3)), 1: ReplicaAssignment((2, 3, 4))}
    assert {p: (s.leader, set(s.isr)) for p, s in tree.states("t").items()} == {0: (4, {2, 3, 4}), 1: (2, {2, 3, 4})}
    assert controller.next_deadline() is None


def test_a_delay_of_zero_moves_at_once_and_a_topic_may_differ() -> None:
    tree, controller, version = cluster(4, HOME)
    tree.create_topic("u", HOME)
    settle(tree, controller, version)
    settings = ControllerSettings(reassign_delay_ms=10_000, topic_reassign_delay_ms={"u": 0})
    tree.stop(1)
    settle(tree, controller, version, 0, settings)
    assert {a.replicas for a in tree.topic("t").partitions.values()} == {(1, 2, 3), (2, 3, 1)}
    assert all(1 not in a.replicas for a in tree.topic("u").partitions.values())


def test_a_broker_back_in_time_moves_nothing() -> None:
    tree, controller, version = cluster(4, HOME)
    tree.stop(1)
    settle(tree, controller, version, 0)
    tree.start(1)
    settle(tree, controller, version, 9_999)
    assert controller.next_deadline() is None
    settle(tree, controller, version, 20_000)
    assert tree.topic("t") == HOME


def test_a_requested_move_grows_waits_and_shrinks() -> None:
    tree, controller, version = cluster(4, HOME)
    tree.nodes[znodes.REASSIGN_PARTITIONS] = (ReassignRequest({("t", 0): (4, 2, 3)}).encode(), 0)
    plans = settle(tree, controller, version)
    assert znodes.REASSIGN_PARTITIONS not in tree.nodes
    assert tree.topic("t").partitions[0] == ReplicaAssignment((4, 2, 3))
    assert tree.states("t")[0].leader == 4
    assert set(tree.states("t")[0].isr) == {2, 3, 4}
    assert facts(plans, "assignment_planned")[0]["moves"] == 1


@pytest.mark.parametrize(
    "value",
    [
        ReassignRequest({("t", 0): (9, 2, 3)}).encode(),
        ReassignRequest({("nowhere", 0): (1,)}).encode(),
        b"{not json",
        b'{"version":2,"partitions":[]}',
    ],
)
def test_a_request_that_cannot_be_is_told_and_removed(value: bytes) -> None:
    tree, controller, version = cluster(4, HOME)
    tree.nodes[znodes.REASSIGN_PARTITIONS] = (value, 0)
    plans = settle(tree, controller, version)
    (refusal,) = facts(plans, "config_rejected")
    assert refusal["znode"] == znodes.REASSIGN_PARTITIONS
    assert refusal["reason"]
    assert tree.topic("t") == HOME
    assert znodes.REASSIGN_PARTITIONS not in tree.nodes


def test_rebalance_gives_a_newcomer_its_share() -> None:
    tree, controller, version = cluster(3, Topic("id", {}, TopicRequest(8, 2)))
    tree.start(4)
    assert settle(tree, controller, version) == [], "a broker that joins moves nothing by itself"
    tree.nodes[znodes.REASSIGN_PARTITIONS] = (ReassignRequest({}, rebalance=True).encode(), 0)
    plans = settle(tree, controller, version)
    planned = facts(plans, "assignment_planned")[0]
    assert planned["moves"] == planned["lower_bound"] == 4
    held = [b for a in tree.topic("t").partitions.values() for b in a.replicas]
    assert {held.count(b) for b in (1, 2, 3, 4)} == {4}


def test_deletion_takes_everything_of_the_topic() -> None:
    tree, controller, version = cluster(3, HOME)
    tree.nodes[znodes.topic_config_path("t")] = (Config({}).encode(), 0)
    tree.nodes[znodes.delete_topic_path("t")] = (b"", 0)
    tree.nodes[znodes.delete_topic_path("never-was")] = (b"", 0)
    plans = settle(tree, controller, version)
    assert facts(plans, "topic_deleted") == [{"topic": "t"}]
    assert set(tree.nodes) == set(ModelTree.empty().nodes)


def test_big_plans_are_cut_and_every_piece_is_fenced() -> None:
    tree, controller, version = cluster(5, Topic("id", {}, TopicRequest(1000, 3)))
    tree.stop(2)
    (plan,) = settle(tree, controller, version)
    assert len(plan.multis) > 1
    for multi in plan.multis:
        assert len(multi.operations) <= MULTI_OPERATIONS_MAX
        assert sum(len(o.value) for o in multi.operations if isinstance(o, Create | Set)) <= MULTI_BYTES_MAX
        assert multi.operations[0] == Check(znodes.MASTER_EPOCH, version)


def test_the_same_view_gives_the_same_plan() -> None:
    def run() -> list[Plan]:
        tree, controller, version = cluster(5, Topic("id", {}, TopicRequest(12, 3)))
        tree.stop(3)
        return settle(tree, controller, version, 0, ControllerSettings(reassign_delay_ms=0))

    assert run() == run()


# ---- random histories ------------------------------------------------------------------------------------------------

BROKERS = st.integers(1, 5)


class Histories(RuleBasedStateMachine):
    """Deaths, bounces, elections, torn plans and operators, in any order; rules of failover.md C.3 after each."""

    @initialize(factor=st.integers(1, 3), delay_ms=st.sampled_from([0, 50]), preferred=st.booleans())
    def begin(self, factor: int, delay_ms: int, preferred: bool) -> None:
        self.tree = ModelTree.empty()
        self.now_ms = 0
        self.settings = ControllerSettings(delay_ms, preferred)
        for broker_id in range(1, 6):
            self.tree.start(broker_id)
        self.tree.create_topic("t", Topic("id", {}, TopicRequest(4, factor)))
        self.controller, self.version = self.tree.elect(1)
        self.deposed: list[tuple[Controller, int]] = []
        self.last: dict[int, PartitionState] = {}
        self.rest()

    def played(self, multi: Multi) -> None:
        """Write one multi and judge what it did to the states."""
        before = self.tree.states("t")
        self.tree.write(multi)
        after = self.tree.states("t")
        for partition, state in after.items():
            if partition in before and state != before[partition]:
                old = before[partition]
                assert state.leader_epoch == old.leader_epoch + 1, "K8"
                assert state.controller_epoch >= old.controller_epoch, "K1"
                if state.leader == -1:
                    assert state.isr == old.isr, "the last ISR is kept"
                else:
                    assert state.leader in old.isr, "a leader comes from the persisted ISR"

    def rest(self) -> None:
        for _ in range(STEPS_MAX):
            plan = self.controller.step(self.tree.view(self.version, self.settings), self.now_ms)
            planned = [f.fields for f in plan.facts if f.event == "assignment_planned"]
            assert all(f["moves"] == f["lower_bound"] for f in planned), "K14"
            if not plan.multis:
                break
            for multi in plan.multis:
                self.played(multi)
        else:
            raise AssertionError("no rest")
        for partition, state in self.tree.states("t").items():
            live = {b for b in state.isr if b in self.tree.workers}
            if state.leader == -1:
                assert not live, "a live member of the ISR leads"
            else:
                assert live == set(state.isr), "no dead broker in the ISR"
                assert all(state.broker_epochs[b] == self.tree.workers[b].epoch for b in state.isr)
                assert state.leader in self.tree.topic("t").partitions[partition].replicas

    @rule(broker_id=BROKERS)
    def dies(self, broker_id: int) -> None:
        self.tree.stop(broker_id)
        self.rest()

    @rule(broker_ids=st.sets(BROKERS, min_size=2))
    def several_die_at_once(self, broker_ids: set[int]) -> None:
        for broker_id in broker_ids:
            self.tree.stop(broker_id)
        self.rest()

    @rule(broker_id=BROKERS)
    def starts_or_bounces(self, broker_id: int) -> None:
        self.tree.start(broker_id)
        self.rest()

    @rule(broker_id=BROKERS, dead=BROKERS)
    def another_controller(self, broker_id: int, dead: int) -> None:
        self.deposed.append((self.controller, self.version))
        self.tree.stop(dead)
        self.controller, self.version = self.tree.elect(broker_id)
        self.rest()

    @rule(broker_id=BROKERS, dead=BROKERS, pieces=st.integers(0, 2))
    def the_controller_dies_within_its_plan(self, broker_id: int, dead: int, pieces: int) -> None:
        self.tree.stop(dead)
        plan = self.controller.step(self.tree.view(self.version, self.settings), self.now_ms)
        for multi in plan.multis[:pieces]:
            self.played(multi)
        self.another_controller(broker_id, dead)

    @rule(ms=st.sampled_from([10, 60]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms
        self.rest()

    @rule(replicas=st.lists(BROKERS, min_size=1, max_size=3, unique=True), partition=st.integers(0, 3))
    def an_operator_moves(self, replicas: list[int], partition: int) -> None:
        request = ReassignRequest({("t", partition): tuple(replicas)})
        self.tree.nodes[znodes.REASSIGN_PARTITIONS] = (request.encode(), 0)
        self.rest()
        assert znodes.REASSIGN_PARTITIONS not in self.tree.nodes

    @precondition(lambda self: self.deposed)
    @rule(broker_id=BROKERS)
    def a_deposed_controller_tries(self, broker_id: int) -> None:
        """K1: whatever it believes, nothing it plans is written."""
        controller, version = self.deposed[-1]
        view = self.tree.view(version, self.settings)
        view.brokers.pop(broker_id, None)  # type: ignore[attr-defined]
        for multi in controller.step(view, self.now_ms).multis:
            before = dict(self.tree.nodes)
            with pytest.raises(RefusedError) as refused:
                self.tree.write(multi)
            assert refused.value.index == 0
            assert self.tree.nodes == before

    @invariant()
    def the_isr_is_within_the_replicas(self) -> None:
        """K2."""
        for partition, state in self.tree.states("t").items():
            replicas = self.tree.topic("t").partitions[partition].replicas
            assert set(state.isr) <= set(replicas)
            assert state.leader == -1 or state.leader in state.isr
            if partition in self.last:
                assert state.leader_epoch >= self.last[partition].leader_epoch, "K8"
            self.last[partition] = state


TestHistories = Histories.TestCase
TestHistories.settings = hypothesis_settings(max_examples=40, stateful_step_count=20, deadline=None)
