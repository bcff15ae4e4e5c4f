"""The controller: one look at the whole cluster in, what is to be written out.

In:  `step(view, now_ms)`, called whenever something may have changed, at `next_deadline()` and after every written
plan, until the plan is empty.  Out: a `Plan` of fenced multis, and facts. Knows nothing of sessions, watches or how a
view is read. Answers to Kafka's KafkaController.processBrokerChange and its successors.

(1) Level-triggered: the plan follows from the view alone. Memory (who was seen, since when someone is away) only
    decides what is told and when a delay is over; a new controller starts without it and loses nothing else.
(2) A broker whose epoch (czxid) changed has been away, seen or unseen: it is told as lost, and elections treat it so.
(3) What answers a death stands first in the plan: elections, then new topics, then moves, then deletions.
(4) Every write carries the version it was decided on; a refused one means: read again. Nothing here is undone.
(5) A topic that is to be deleted, or whose value cannot be read, is not touched by elections and moves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from brokerdemo import znodes
from brokerdemo.control import elections, placement, reassignment
from brokerdemo.control.model import (
    ClusterView,
    Create,
    Delete,
    Fact,
    Operation,
    Plan,
    Set,
    Step,
    TopicPartition,
    TopicView,
    bundle,
    names,
)
from brokerdemo.znodes import NO_LEADER, PartitionState, ReassignRequest, ReplicaAssignment, Topic, ZnodeValueError


@dataclass(frozen=True, slots=True)
class _Moves:
    facts: list[Fact]
    steps: list[Step]
    moves: int
    lower_bound: int


class Controller:
    """The machine of one controller epoch. Make a new one at each election."""

    def __init__(self, broker_id: int, controller_epoch: int) -> None:
        self.broker_id = broker_id
        self.controller_epoch = controller_epoch
        self._seen: dict[int, int] | None = None
        self._away_since_ms: dict[int, int] = {}
        self._deadline_ms: int | None = None

    def next_deadline(self) -> int | None:
        """When to step again though nothing changed (ms, same clock as `now_ms`): a reassignment delay ends."""
        return self._deadline_ms

    def step(self, view: ClusterView, now_ms: int) -> Plan:
        """What the view asks for. Deterministic; call it again with a fresh view once the plan is written."""
        facts = self._membership(view, now_ms)
        topics = {name: topic for name, topic in sorted(view.topics.items()) if name not in view.deletions}

        moves = self._moves(view, topics, now_ms)
        facts += moves.facts
        groups = [list(self._elections(view, topics)), list(self._creations(view, topics)), moves.steps]
        groups += self._deletions(view)
        touched = {where for group in groups for step in group for where in step.partitions}
        if not any(groups):
            return Plan(tuple(facts))
        planned = Fact(
            "assignment_planned",
            {
                "controller_epoch": self.controller_epoch,
                "moves": moves.moves,
                "lower_bound": moves.lower_bound,
                "partitions": names(touched),
            },
        )
        # Apart, so that what is refused for a reason of its own (a deletion, say) never takes an election with it.
        fence = {"controller_epoch": self.controller_epoch, "master_epoch_version": view.master_epoch_version}
        multis = tuple(multi for group in groups for multi in bundle(group, **fence))
        return Plan((*facts, planned), multis)

    # ---- who is there ------------------------------------------------------------------------------------------------

    def _membership(self, view: ClusterView, now_ms: int) -> list[Fact]:
        live = view.live
        lost: dict[int, bool] = {}
        if self._seen is None:
            # A new controller: whoever died before it still stands in some ISR under an epoch that is no more.
            for topic in view.topics.values():
                for state, _ in topic.states.values():
                    if state.leader == NO_LEADER:
                        continue
                    for broker in state.isr:
                        if live.get(broker) != state.broker_epochs.get(broker, live.get(broker, 0)):
                            lost[broker] = broker in live
        else:
            for broker, epoch in self._seen.items():
                if live.get(broker) != epoch:
                    lost[broker] = broker in live
        self._seen = live
        for broker in _assigned(view.topics) - live.keys():
            self._away_since_ms.setdefault(broker, now_ms)
        for broker in [b for b in self._away_since_ms if b in live]:
            del self._away_since_ms[broker]
        # Which of certificate, timeout or goodbye it was is the supervisor's to know; a bounce shows here.
        told = {"controller_epoch": self.controller_epoch}
        return [
            Fact("broker_lost", {"broker": broker, **told, "by": "bounced" if lost[broker] else "unknown"})
            for broker in sorted(lost)
        ]

    # ---- leaders and ISRs --------------------------------------------------------------------------------------------

    def _elections(self, view: ClusterView, topics: Mapping[str, TopicView]) -> Iterator[Step]:
        for name, topic in topics.items():
            for partition, assignment in topic.topic.partitions.items():
                if partition not in topic.states:
                    continue
                state, version = topic.states[partition]
                new = elections.next_state(
                    assignment,
                    state,
                    view.live,
                    controller_epoch=self.controller_epoch,
                    return_to_preferred=view.settings.auto_leader_rebalance,
                )
                if new is not None:
                    write = Set(znodes.state_path(name, partition), new.encode(), version)
                    yield self._state_step(TopicPartition(name, partition), (write,), state, new)

    def _state_step(
        self, where: TopicPartition, operations: tuple[Operation, ...], old: PartitionState | None, new: PartitionState
    ) -> Step:
        about = {"topic": where.topic, "partition": where.partition, "leader_epoch": new.leader_epoch}
        about["controller_epoch"] = self.controller_epoch
        facts: tuple[Fact, ...] = ()
        if new.leader == NO_LEADER:
            facts = (Fact("partition_offline", {**about, "isr": list(new.isr)}),)
        elif old is not None and set(old.isr) != set(new.isr):
            facts = (Fact("isr_changed", {**about, "isr": list(new.isr), "leader": new.leader}),)
        return Step(operations, facts, ((*where, new.leader, new.leader_epoch),))

    # ---- new topics --------------------------------------------------------------------------------------------------

    def _creations(self, view: ClusterView, topics: Mapping[str, TopicView]) -> Iterator[Step]:
        taken = _targets(topics)
        for name, topic in topics.items():
            if topic.topic.request is not None and not topic.topic.partitions:
                request = topic.topic.request
                if not view.brokers or request.replication_factor > len(view.brokers):
                    continue  # it waits until there are brokers enough; a change of /workers looks again
                placed = placement.assign_new_topic(request.partitions, request.replication_factor, view.racks, taken)
                taken.update({(name, p): replicas for p, replicas in placed.items()})
                assigned = {p: ReplicaAssignment(replicas) for p, replicas in placed.items()}
                value = Topic(topic.topic.topic_id, assigned, None, topic.topic.extra).encode()
                write = Set(znodes.topic_path(name), value, topic.version)
                yield Step((write,), moved=tuple((name, p) for p in assigned))
                continue
            missing = [p for p in topic.topic.partitions if p not in topic.states and p not in topic.unreadable]
            if not missing:
                continue
            parents: tuple[Operation, ...] = ()
            if not topic.partitions_node:
                parents = (Create(znodes.partitions_path(name)),)
            for partition in missing:
                assignment = topic.topic.partitions[partition]
                state = elections.first_state(assignment, view.live, controller_epoch=self.controller_epoch)
                if state is None:
                    continue
                operations = parents
                if partition not in topic.partition_nodes:
                    operations += (Create(znodes.partition_path(name, partition)),)
                operations += (Create(znodes.state_path(name, partition), state.encode()),)
                parents = ()
                yield self._state_step(TopicPartition(name, partition), operations, None, state)

    # ---- moves -------------------------------------------------------------------------------------------------------

    def _moves(self, view: ClusterView, topics: Mapping[str, TopicView], now_ms: int) -> "_Moves":
        """Ends of moves under way, requests, and replicas of brokers that are away for too long."""
        new: dict[str, dict[int, ReplicaAssignment]] = {}
        for name, topic in topics.items():
            for partition, assignment in topic.topic.partitions.items():
                state = topic.states[partition][0] if partition in topic.states else None
                if (done := reassignment.finish(assignment, state, view.live)) is not None:
                    new.setdefault(name, {})[partition] = done

        facts: list[Fact] = []
        trailer: list[Step] = []
        wished, moves, lower_bound = self._away_too_long(view, topics, now_ms)
        if view.reassign is not None:
            request_wishes, request_moves, request_bound, refusal = self._requested(view, topics)
            if refusal is not None:
                facts.append(self._rejected(refusal))
            else:
                # An operator's word comes first; what it leaves undone shows in the next view.
                wished, moves, lower_bound = request_wishes, request_moves, request_bound
            trailer.append(Step((Delete(znodes.REASSIGN_PARTITIONS),)))
        for (name, partition), target in wished.items():
            assignment = topics[name].topic.partitions[partition]
            new.setdefault(name, {})[partition] = reassignment.begin(assignment, target)

        steps: list[Step] = []
        for name, changed in sorted(new.items()):
            topic = topics[name]
            value = Topic(
                topic.topic.topic_id, {**topic.topic.partitions, **changed}, topic.topic.request, topic.topic.extra
            ).encode()
            write = Set(znodes.topic_path(name), value, topic.version)
            steps.append(Step((write,), moved=tuple((name, p) for p in sorted(changed))))
        return _Moves(facts, steps + trailer, moves, lower_bound)

    def _away_too_long(
        self, view: ClusterView, topics: Mapping[str, TopicView], now_ms: int
    ) -> tuple[dict[tuple[str, int], tuple[int, ...]], int, int]:
        """New targets for the replicas of brokers whose delay is over; sets the next deadline."""
        self._deadline_ms = None
        wished: dict[tuple[str, int], tuple[int, ...]] = {}
        moves = lower_bound = 0
        by_delay: dict[int, list[str]] = {}
        for name in topics:
            by_delay.setdefault(view.settings.reassign_delay_of(name), []).append(name)
        for delay_ms, delayed in sorted(by_delay.items()):
            group = {name: topics[name] for name in delayed}
            holders = {b for replicas in _targets(group).values() for b in replicas}
            gone = set()
            for broker in sorted(holders & self._away_since_ms.keys()):
                due_ms = self._away_since_ms[broker] + delay_ms
                if due_ms <= now_ms:
                    gone.add(broker)
                elif self._deadline_ms is None or due_ms < self._deadline_ms:
                    self._deadline_ms = due_ms
            if gone and view.brokers:
                plan = placement.plan_moves(_targets(group), view.racks, gone=frozenset(gone))
                moves, lower_bound = moves + plan.moves, lower_bound + plan.lower_bound
                # Where nobody can take a replica there is no move, and an order of preference alone is not worth one.
                if plan.moves:
                    wished.update(plan.assignments)
        return wished, moves, lower_bound

    def _requested(
        self, view: ClusterView, topics: Mapping[str, TopicView]
    ) -> tuple[dict[tuple[str, int], tuple[int, ...]], int, int, ZnodeValueError | None]:
        request = view.reassign
        if isinstance(request, ZnodeValueError):
            return {}, 0, 0, request
        assert isinstance(request, ReassignRequest), "only called when something is asked"
        partitions = {(t, p): a for t, topic in topics.items() for p, a in topic.topic.partitions.items()}
        if (refusal := reassignment.refuse(request, partitions, view.live)) is not None:
            return {}, 0, 0, refusal
        targets = _targets(topics)
        wished = {where: r for where, r in sorted(request.partitions.items()) if targets[where] != r}
        moves = lower_bound = sum(len(set(r) - set(targets[where])) for where, r in wished.items())
        if request.rebalance:
            gone = frozenset(b for replicas in targets.values() for b in replicas if b not in view.brokers)
            plan = placement.plan_moves({**targets, **wished}, view.racks, gone=gone, rebalance=True)
            wished |= plan.assignments
            moves, lower_bound = moves + plan.moves, lower_bound + plan.lower_bound
        return wished, moves, lower_bound, None

    def _rejected(self, refusal: ZnodeValueError) -> Fact:
        fields = {"znode": refusal.znode, "key": refusal.key, "value": _shown(refusal.value), "reason": refusal.reason}
        return Fact("config_rejected", {"broker": self.broker_id, **fields})

    # ---- deletions ---------------------------------------------------------------------------------------------------

    def _deletions(self, view: ClusterView) -> Iterator[list[Step]]:
        """The steps of each topic's deletion."""
        for name in sorted(view.deletions):
            steps: list[Step] = []
            topic = view.topics.get(name)
            last: list[Operation] = []
            if topic is not None:
                for partition in sorted(topic.partition_nodes):
                    operations: tuple[Operation, ...] = (Delete(znodes.partition_path(name, partition)),)
                    if partition in topic.states or partition in topic.unreadable:
                        operations = (Delete(znodes.state_path(name, partition)), *operations)
                    steps.append(Step(operations))
                if topic.partitions_node:
                    last.append(Delete(znodes.partitions_path(name)))
                last.append(Delete(znodes.topic_path(name), topic.version))
            if name in view.topic_configs:
                last.append(Delete(znodes.topic_config_path(name)))
            last.append(Delete(znodes.delete_topic_path(name)))
            told = (Fact("topic_deleted", {"topic": name}),) if topic is not None else ()
            yield [*steps, Step(tuple(last), told)]


def _targets(topics: Mapping[str, TopicView]) -> dict[tuple[str, int], tuple[int, ...]]:
    """Where the replicas are, or are on their way to."""
    return {(name, p): a.target for name, topic in topics.items() for p, a in topic.topic.partitions.items()}


def _assigned(topics: Mapping[str, TopicView]) -> set[int]:
    return {b for topic in topics.values() for a in topic.topic.partitions.values() for b in a.replicas}


def _shown(value: object) -> object:
    """A value as it may stand in an event: JSON or its text."""
    return value if isinstance(value, str | int | float | list | dict | bool | None) else repr(value)
