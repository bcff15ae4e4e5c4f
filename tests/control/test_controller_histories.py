"""The controller's invariants (K1, K2, K8, K14) under random histories: deaths, bounces, elections, torn plans."""

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from brokerdemo import znodes
from brokerdemo.control.controller import Controller
from brokerdemo.control.model import ControllerSettings, Multi
from brokerdemo.znodes import PartitionState, ReassignRequest, Topic, TopicRequest

from .model_tree import STEPS_MAX, ModelTree, RefusedError

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
