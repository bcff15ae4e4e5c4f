"""Placement: moves equal the lower bound, evenness, racks, determinism; against brute force on small clusters."""

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokerdemo.control.placement import assign_new_topic, plan_moves

Replicas = dict[tuple[str, int], tuple[int, ...]]


def loads(assignment: Replicas, brokers: set[int]) -> dict[int, int]:
    counted = Counter(b for replicas in assignment.values() for b in replicas)
    return {b: counted[b] for b in sorted(brokers)}


def led(assignment: Replicas, brokers: set[int]) -> dict[int, int]:
    counted = Counter(replicas[0] for replicas in assignment.values())
    return {b: counted[b] for b in sorted(brokers)}


def spread(counts: dict[int, int]) -> int:
    return max(counts.values()) - min(counts.values())


def named(placed: dict[int, tuple[int, ...]]) -> Replicas:
    return {("t", p): replicas for p, replicas in placed.items()}


def squares(counts: dict[int, int]) -> int:
    return sum(n * n for n in counts.values())


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 8))
def test_a_new_topic_is_even_within_one(partitions: int, factor: int, brokers: int) -> None:
    factor = min(factor, brokers)
    placed = named(assign_new_topic(partitions, factor, dict.fromkeys(range(brokers), "")))
    assert all(len(set(r)) == factor for r in placed.values())
    assert spread(loads(placed, set(range(brokers)))) <= 1
    assert spread(led(placed, set(range(brokers)))) <= 1
    assert placed == named(assign_new_topic(partitions, factor, dict.fromkeys(reversed(range(brokers)), "")))


@given(st.integers(1, 12), st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(1, 4))
def test_a_new_topic_spreads_over_racks(partitions: int, rack_sizes: list[int], factor: int) -> None:
    racks = {}
    for rack, size in enumerate(rack_sizes):
        for _ in range(size):
            racks[len(racks)] = f"r{rack}"
    factor = min(factor, len(racks))
    for replicas in assign_new_topic(partitions, factor, racks).values():
        used = Counter(racks[b] for b in replicas)
        # The most even use of racks there is: fill them up one by one.
        room = Counter(racks.values())
        best: Counter[str] = Counter()
        for _ in range(factor):
            rack = min((r for r in sorted(room) if best[r] < room[r]), key=lambda r: best[r])
            best[rack] += 1
        assert sum(n * n for n in used.values()) == sum(n * n for n in best.values())


def test_odd_replicas_go_where_there_is_less() -> None:
    racks = dict.fromkeys(range(1, 5), "")
    first = named(assign_new_topic(1, 2, racks))
    second = assign_new_topic(1, 2, racks, first)[0]
    assert not set(second) & set(first["t", 0])


def test_equal_racks_are_even_too() -> None:
    racks = {1: "a", 2: "a", 3: "b", 4: "b", 5: "c", 6: "c"}
    placed = named(assign_new_topic(12, 3, racks))
    assert all(len({racks[b] for b in r}) == 3 for r in placed.values())
    assert spread(loads(placed, set(racks))) == 0
    assert spread(led(placed, set(racks))) == 0


@pytest.mark.parametrize(("partitions", "factor", "brokers"), [(0, 1, 3), (1, 0, 3), (1, 4, 3)])
def test_what_cannot_be_placed_is_refused(partitions: int, factor: int, brokers: int) -> None:
    with pytest.raises(ValueError, match=r"partitions|replication factor"):
        assign_new_topic(partitions, factor, dict.fromkeys(range(brokers), ""))


@given(st.integers(1, 30), st.integers(1, 4), st.integers(2, 7), st.data())
def test_a_broker_that_leaves_with_k_replicas_moves_k(
    partitions: int, factor: int, brokers: int, data: st.DataObject
) -> None:
    """K14: moves == lower bound, and the result is even within one replica and one leader."""
    factor = min(factor, brokers - 1)
    before = named(assign_new_topic(partitions, factor, dict.fromkeys(range(brokers), "")))
    gone = data.draw(st.integers(0, brokers - 1))
    live = set(range(brokers)) - {gone}
    plan = plan_moves(before, dict.fromkeys(live, ""), gone=frozenset({gone}))
    after = {**before, **plan.assignments}
    k = sum(gone in r for r in before.values())
    assert plan.moves == plan.lower_bound == k
    assert all(gone not in r and len(set(r)) == factor for r in after.values())
    for where, replicas in before.items():
        if gone not in replicas:
            assert set(after[where]) == set(replicas), "nothing else moves"
    assert spread(led(after, live)) <= 1
    assert plan == plan_moves(dict(reversed(before.items())), dict.fromkeys(live, ""), gone=frozenset({gone}))


small_assignments = st.integers(3, 4).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(st.permutations(range(n)).map(lambda p: tuple(p[:2])), min_size=1, max_size=4),
    )
)


@settings(max_examples=60, deadline=None)
@given(small_assignments)
def test_leaving_is_as_even_as_brute_force_finds(case: tuple[int, list[tuple[int, ...]]]) -> None:
    n, replica_lists = case
    before = {("t", p): r for p, r in enumerate(replica_lists)}
    live = set(range(1, n))
    plan = plan_moves(before, dict.fromkeys(live, ""), gone=frozenset({0}))
    after = {**before, **plan.assignments}
    assert plan.moves == plan.lower_bound == sum(0 in r for r in before.values())
    choices = [
        [r] if 0 not in r else [tuple(b or new for b in r) for new in sorted(live - set(r))] for r in before.values()
    ]
    best = min(
        squares(loads({("t", p): r for p, r in enumerate(combination)}, live))
        for combination in itertools.product(*choices)
    )
    assert squares(loads(after, live)) == best


@settings(max_examples=40, deadline=None)
@given(small_assignments)
def test_rebalancing_is_as_even_and_as_cheap_as_brute_force_finds(case: tuple[int, list[tuple[int, ...]]]) -> None:
    n, replica_lists = case
    before = {("t", p): r for p, r in enumerate(replica_lists)}
    brokers = set(range(n))
    plan = plan_moves(before, dict.fromkeys(brokers, ""), rebalance=True)
    after = {**before, **plan.assignments}
    pairs = [frozenset(pair) for pair in itertools.combinations(sorted(brokers), 2)]
    best = min(
        (
            squares(loads({("t", p): tuple(s) for p, s in enumerate(combination)}, brokers)),
            sum(len(s - set(r)) for s, r in zip(combination, replica_lists, strict=True)),
        )
        for combination in itertools.product(pairs, repeat=len(replica_lists))
    )
    assert (squares(loads(after, brokers)), plan.moves) == best
    assert plan.moves == plan.lower_bound
    assert spread(loads(after, brokers)) <= 1


@given(st.integers(1, 30), st.integers(2, 6), st.integers(1, 3))
def test_a_newcomer_gets_its_share_and_nothing_else_moves(partitions: int, brokers: int, factor: int) -> None:
    factor = min(factor, brokers)
    before = named(assign_new_topic(partitions, factor, dict.fromkeys(range(brokers), "")))
    assert plan_moves(before, dict.fromkeys(range(brokers + 1), "")).assignments == {}, "not without being asked"
    plan = plan_moves(before, dict.fromkeys(range(brokers + 1), ""), rebalance=True)
    after = {**before, **plan.assignments}
    everybody = set(range(brokers + 1))
    assert plan.moves == plan.lower_bound == loads(after, everybody)[brokers]
    assert spread(loads(after, everybody)) <= 1
    assert spread(led(after, everybody)) <= 1


def test_too_few_brokers_keep_what_is_gone() -> None:
    plan = plan_moves({("t", 0): (1, 2, 3)}, {1: "", 2: ""}, gone=frozenset({3}))
    assert (plan.assignments, plan.moves, plan.lower_bound) == ({}, 0, 0)


def test_a_broker_away_for_a_moment_keeps_its_replicas_and_its_preference() -> None:
    before = {("t", 0): (9, 2, 3), ("t", 1): (3, 1, 9)}
    plan = plan_moves(before, {1: "", 2: "", 4: ""}, gone=frozenset({3}))
    after = {**before, **plan.assignments}
    assert after["t", 0][0] == 9
    assert all(9 in r and 3 not in r for r in after.values())


@given(st.integers(1, 12), st.data())
def test_leaving_respects_racks(partitions: int, data: st.DataObject) -> None:
    racks = {1: "a", 2: "a", 3: "b", 4: "b", 5: "c", 6: "c"}
    before = named(assign_new_topic(partitions, 3, racks))
    gone = data.draw(st.sampled_from(sorted(racks)))
    live = {b: r for b, r in racks.items() if b != gone}
    plan = plan_moves(before, live, gone=frozenset({gone}))
    after = {**before, **plan.assignments}
    assert plan.moves == plan.lower_bound
    assert all(len({racks[b] for b in r}) == 3 for r in after.values())
