"""Who leads a partition and who is in its ISR: one transition at a time, from what is persisted and who is live.

In:  the assignment, the persisted state, broker epochs of the live brokers.  Out: the next state, or None if the
present one is right. Knows nothing of znodes' versions, of other partitions or of time. Answers to Kafka's
PartitionLeaderElectionAlgorithms and PartitionStateMachine.

    persisted ISR has a live member   -> leader: the present one if it is one, else the first such replica
    only members that were away       -> leader: the first of them; they are the last ISR, and it was kept for them
    no live member                    -> leader -1, the ISR stays as it was, the partition is offline

(1) A leader is always a live member of the ISR that was persisted *before* this transition.
(2) The leader epoch rises by one with every transition, and no transition leaves it.
(3) The ISR is never empty and is a subset of the replicas; once a leader exists it holds only live brokers.
(4) A member whose broker epoch is not the one it was taken in under has been away, even if nobody saw it: it does not
    lead while another member never left.

In this slice replicas hold no records, so a live assigned replica is in sync at once (`joins`). With the data plane the
leader will take it in when it has caught up; everything else here stays.
"""

from collections.abc import Mapping

from brokerdemo.znodes import NO_LEADER, PartitionState, ReplicaAssignment


def first_state(
    assignment: ReplicaAssignment, live: Mapping[int, int], *, controller_epoch: int
) -> PartitionState | None:
    """The state of a new partition: led by its first live replica. None while no replica is live, as in Kafka."""
    isr = tuple(b for b in assignment.replicas if b in live)
    if not isr:
        return None
    return PartitionState(isr[0], 0, isr, controller_epoch, {b: live[b] for b in isr})


def next_state(
    assignment: ReplicaAssignment,
    state: PartitionState,
    live: Mapping[int, int],
    *,
    controller_epoch: int,
    return_to_preferred: bool,
) -> PartitionState | None:
    """The transition that is due, or None. Call again with what was persisted until it answers None.

    `live` maps broker id to broker epoch. `return_to_preferred` moves leadership back to the first replica as soon as
    the persisted ISR holds it (auto.leader.rebalance.enable).
    """
    never_left = [b for b in state.isr if b in live and state.broker_epochs.get(b, live[b]) == live[b]]
    came_back = [b for b in state.isr if b in live and b not in never_left]
    electable = never_left or came_back
    allowed = _allowed(assignment, never_left)

    candidates = [b for b in allowed if b in electable]
    # A member that is assigned no longer leads only when nobody else can: it has what was acknowledged.
    candidates += [b for b in electable if b not in candidates]
    if not candidates:
        if state.leader == NO_LEADER:
            return None
        return _changed(state, NO_LEADER, state.isr, state.broker_epochs, controller_epoch)

    leader = state.leader if state.leader in candidates else candidates[0]
    if leader not in allowed:
        leader = candidates[0]
    preferred = assignment.target[0]
    if return_to_preferred and preferred in never_left:
        leader = preferred

    isr = joins(allowed, live)
    if leader not in isr:
        isr = (leader, *isr)
    same_members = set(isr) == set(state.isr) and not came_back
    if same_members and leader == state.leader:
        return None
    return _changed(state, leader, isr, {b: live[b] for b in isr}, controller_epoch)


def joins(allowed: tuple[int, ...], live: Mapping[int, int]) -> tuple[int, ...]:
    """The ISR the controller gives a partition that has a leader: every live replica it may have."""
    return tuple(b for b in allowed if b in live)


def _allowed(assignment: ReplicaAssignment, in_sync: list[int]) -> tuple[int, ...]:
    """All replicas; but only the target ones as soon as every one of them is in sync (the end of a move)."""
    target = assignment.target
    return target if set(target) <= set(in_sync) else assignment.replicas


def _changed(
    state: PartitionState, leader: int, isr: tuple[int, ...], epochs: Mapping[int, int], controller_epoch: int
) -> PartitionState:
    assert isr, "an ISR is never empty"
    assert leader == NO_LEADER or leader in isr, "a leader is in the ISR"
    return PartitionState(leader, state.leader_epoch + 1, isr, controller_epoch, dict(epochs), state.extra)
