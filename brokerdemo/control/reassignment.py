"""Moving replicas: grow to old + new, wait until the new ones are in sync, shrink to the target.

In:  an assignment, a wished target or the persisted state.  Out: the next assignment. Each step is derived from what is
persisted alone, so any controller can go on where another one stopped. Answers to KIP-455 and Kafka's
KafkaController.onPartitionReassignment.

    replicas [1,2,3]  --target [1,4,3]-->  replicas [1,4,3,2] adding [4] removing [2]
                      --4 in the ISR--->   ISR without 2 (elections), then replicas [1,4,3]

(1) A partition has all of its old replicas until every target replica is in sync.
(2) The target comes first in `replicas`, in its order; so the preferred leader is the target's first.
"""

from collections.abc import Mapping

from brokerdemo.znodes import REASSIGN_PARTITIONS, PartitionState, ReassignRequest, ReplicaAssignment, ZnodeValueError


def begin(assignment: ReplicaAssignment, target: tuple[int, ...]) -> ReplicaAssignment:
    """The assignment that starts the move to `target`, from rest or from within another move."""
    assert target, "a partition needs a replica"
    assert len(set(target)) == len(target), "a broker holds one replica of a partition"
    # What was being added has no claim to stay when the target changes: it may not be in sync yet.
    settled = [b for b in assignment.replicas if b not in assignment.adding]
    removing = tuple(b for b in settled if b not in target)
    adding = tuple(b for b in target if b not in settled)
    dropped = tuple(b for b in assignment.adding if b not in target)
    # An interrupted newcomer leaves with the others, so that it leaves the ISR before it leaves the assignment.
    return ReplicaAssignment((*target, *removing, *dropped), adding, (*removing, *dropped))


def finish(
    assignment: ReplicaAssignment, state: PartitionState | None, live: Mapping[int, int]
) -> ReplicaAssignment | None:
    """The assignment after the move if it is complete: the ISR is exactly the target, all of it live. Else None."""
    if not assignment.moving or state is None:
        return None
    target = assignment.target
    if set(state.isr) != set(target) or not all(b in live for b in target):
        return None
    return ReplicaAssignment(target)


def refuse(
    request: ReassignRequest, partitions: Mapping[tuple[str, int], ReplicaAssignment], live: Mapping[int, int]
) -> ZnodeValueError | None:
    """Why a request cannot be carried out, or None. A request is taken whole or not at all."""
    for (topic, partition), replicas in sorted(request.partitions.items()):
        where = f"{topic}-{partition}"
        if (topic, partition) not in partitions:
            return ZnodeValueError(REASSIGN_PARTITIONS, where, list(replicas), "there is no such partition")
        absent = [b for b in replicas if b not in live]
        if absent:
            reason = f"broker {absent[0]} is not live: name live brokers ({', '.join(map(str, sorted(live)))})"
            return ZnodeValueError(REASSIGN_PARTITIONS, where, list(replicas), reason)
    return None
