"""The controller by examples: what it writes and tells after each change of a cluster, against the model tree."""

import pytest

from brokerdemo import znodes
from brokerdemo.control.controller import Controller
from brokerdemo.control.model import MULTI_BYTES_MAX, MULTI_OPERATIONS_MAX, Check, ControllerSettings, Create, Plan, Set
from brokerdemo.znodes import Config, PartitionState, ReassignRequest, ReplicaAssignment, Topic, TopicRequest

from .model_tree import ModelTree, RefusedError, facts, settle


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
