"""Elections as a table: who leads and who is in the ISR after what happened (kafka.md's rules 3, 4 and 5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerdemo.control.elections import first_state, next_state
from brokerdemo.znodes import PartitionState, ReplicaAssignment

HOME = ReplicaAssignment((1, 2, 3))
MOVING = ReplicaAssignment((1, 4, 3, 2), adding=(4,), removing=(2,))


def state(
    leader: int, isr: tuple[int, ...], epochs: dict[int, int] | None = None, leader_epoch: int = 5
) -> PartitionState:
    return PartitionState(leader, leader_epoch, isr, 1, {b: 10 + b for b in isr} if epochs is None else epochs)


def live(*brokers: int, bounced: tuple[int, ...] = ()) -> dict[int, int]:
    return {b: (100 if b in bounced else 10) + b for b in brokers}


TABLE = [
    # what, assignment, state, live, expected (leader, ISR) or None
    ("all is well", HOME, state(1, (1, 2, 3)), live(1, 2, 3), None),
    ("the leader dies: the first live replica in the ISR", HOME, state(1, (1, 2, 3)), live(2, 3), (2, (2, 3))),
    ("the first live replica is not in the ISR", HOME, state(1, (1, 3)), live(2, 3), (3, (2, 3))),
    ("a follower dies: same leader, smaller ISR", HOME, state(1, (1, 2, 3)), live(1, 3), (1, (1, 3))),
    ("a follower returns", HOME, state(1, (1, 3)), live(1, 2, 3), (1, (1, 2, 3))),
    ("all die: no leader, the ISR is kept", HOME, state(1, (1, 2)), live(), (-1, (1, 2))),
    ("A and B of ISR die, C lives and must not lead", HOME, state(1, (1, 2)), live(3), (-1, (1, 2))),
    ("still nobody of the ISR", HOME, state(-1, (1, 2)), live(3), None),
    ("one of the last ISR is back", HOME, state(-1, (1, 2)), live(2, 3, bounced=(2,)), (2, (2, 3))),
    ("the preferred leader is back in the ISR", HOME, state(2, (1, 2, 3)), live(1, 2, 3), (1, (1, 2, 3))),
    ("the preferred leader lives but is not in the ISR yet", HOME, state(2, (2, 3)), live(1, 2, 3), (2, (1, 2, 3))),
    ("the leader bounced unseen: not trusted", HOME, state(1, (1, 2, 3)), live(1, 2, 3, bounced=(1,)), (2, (1, 2, 3))),
    ("a follower bounced unseen: a new epoch", HOME, state(1, (1, 2, 3)), live(1, 2, 3, bounced=(3,)), (1, (1, 2, 3))),
    ("the only member bounced: it has what there is", HOME, state(1, (1,)), live(1, bounced=(1,)), (1, (1,))),
    ("no broker epochs recorded (written by hand): ids count", HOME, state(1, (1, 2, 3), {}), live(1, 2, 3), None),
    ("a move: the newcomer joins", MOVING, state(1, (1, 2, 3)), live(1, 2, 3, 4), (1, (1, 2, 3, 4))),
    ("a move ends: who leaves leaves the ISR", MOVING, state(1, (1, 2, 3, 4)), live(1, 2, 3, 4), (1, (1, 3, 4))),
    ("a move ends: a leader that leaves hands over", MOVING, state(2, (1, 2, 3, 4)), live(1, 2, 3, 4), (1, (1, 3, 4))),
    ("a move, the newcomer dies: the old ones stay", MOVING, state(1, (1, 2, 3, 4)), live(1, 2, 3), (1, (1, 2, 3))),
    ("only the leaving one is left: it leads", MOVING, state(1, (1, 2, 3)), live(2), (2, (2,))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("assignment", "before", "brokers", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_next_state(
    assignment: ReplicaAssignment,
    before: PartitionState,
    brokers: dict[int, int],
    expected: tuple[int, tuple[int, ...]] | None,
) -> None:
    after = next_state(assignment, before, brokers, controller_epoch=7, return_to_preferred=True)
    if expected is None:
        assert after is None
        return
    assert after is not None
    assert (after.leader, tuple(sorted(after.isr))) == expected
    assert after.leader_epoch == before.leader_epoch + 1
    assert after.controller_epoch == 7
    if after.leader != -1:
        assert after.broker_epochs == {b: brokers[b] for b in after.isr}


def test_leadership_stays_when_rebalancing_is_off() -> None:
    before = state(2, (1, 2, 3))
    assert next_state(HOME, before, live(1, 2, 3), controller_epoch=7, return_to_preferred=False) is None


def test_the_first_state_is_led_by_the_first_live_replica() -> None:
    assert first_state(HOME, live(2, 3), controller_epoch=4) == PartitionState(2, 0, (2, 3), 4, {2: 12, 3: 13})
    assert first_state(HOME, live(5), controller_epoch=4) is None


brokers_strategy = st.dictionaries(st.integers(1, 5), st.sampled_from([10, 100]), max_size=5)


@given(
    st.permutations(range(1, 6)),
    st.integers(1, 5),
    st.data(),
    brokers_strategy,
    st.booleans(),
)
def test_any_state_comes_to_rest_and_keeps_the_rules(
    order: list[int], factor: int, data: st.DataObject, brokers: dict[int, int], preferred: bool
) -> None:
    """K2 and K8: leader in the persisted ISR, ISR within replicas, epochs rising, an end after a few steps."""
    replicas = tuple(order[:factor])
    isr = tuple(data.draw(st.lists(st.sampled_from(replicas), min_size=1, unique=True)))
    leader = data.draw(st.sampled_from([-1, *isr]))
    now = PartitionState(leader, 0, isr, 1, dict.fromkeys(isr, 10))
    assignment = ReplicaAssignment(replicas)
    for _ in range(5):
        after = next_state(assignment, now, brokers, controller_epoch=1, return_to_preferred=preferred)
        if after is None:
            break
        assert after.leader_epoch == now.leader_epoch + 1
        assert after.isr
        assert set(after.isr) <= set(replicas)
        if after.leader == -1:
            assert after.isr == now.isr
            assert not set(now.isr) & brokers.keys()
        else:
            assert after.leader in now.isr
            assert after.leader in brokers
            assert set(after.isr) == set(replicas) & brokers.keys()
        now = after
    else:
        raise AssertionError("no rest after 5 steps")
    assert (now.leader == -1) == (not set(now.isr) & brokers.keys())
