"""Where replicas live: placed evenly, moved as little as can be proven.

In:  broker ids with their racks, present replicas.  Out: replicas per partition, first one preferred as leader, and for
moves their number with its lower bound. Knows nothing of znodes, ISRs or time; same input, same answer. Answers to
Kafka's StripedReplicaPlacer and ReplicaAssignor.

    what is asked            first            then                       then
    a new topic              racks            even within the topic      even over the cluster
    brokers that left        fewest moves     racks, even                fewest changes of leader
    rebalance                racks            even                       fewest moves

(1) A partition never has two replicas on one broker, and keeps its number of replicas.
(2) Brokers that left with k replicas cause k moves, as far as there are brokers to move to.
(3) Replicas, and then leaders, are as even as the line above allows: the sum of squares of the loads is minimal, so
    they are within one of each other wherever that can be reached. With racks the spread over racks comes first.
(4) A broker that joins moves nothing by itself; `rebalance` is an operator's wish.

The search behind it (`_even_out`) is minimum-cost flow seen from the brokers: an arc a -> b is a partition that could
give its replica on a to b; a cycle of negative cost, through the loads or not, is an improvement; when none is left the
placement is optimal. Racks narrow the arcs, so with racks the evenness is that of a good local optimum.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

Assignments = Mapping[tuple[str, int], Sequence[int]]


@dataclass(frozen=True, slots=True)
class MovePlan:
    """`assignments` has the partitions that change, with all their replicas. `moves` counts replicas that some broker
    does not hold yet and must copy; `lower_bound` is what no plan with that result could go below."""

    assignments: Mapping[tuple[str, int], tuple[int, ...]]
    moves: int
    lower_bound: int


def assign_new_topic(
    partitions: int, replication_factor: int, racks: Mapping[int, str], existing: Assignments | None = None
) -> dict[int, tuple[int, ...]]:
    """Replicas for partitions 0 .. `partitions`-1 of a new topic on the brokers in `racks` (id -> rack, "" = none).

    Each broker gets the same number of the topic's replicas and leaders within one (racks permitting); brokers that
    hold less of `existing` are preferred for the odd ones. ValueError when there are fewer brokers than replicas.
    """
    if partitions < 1:
        raise ValueError(f"a topic of {partitions} partitions: ask for at least 1")
    if replication_factor < 1:
        raise ValueError(f"replication factor {replication_factor}: ask for at least 1")
    if replication_factor > len(racks):
        raise ValueError(
            f"replication factor {replication_factor} needs {replication_factor} live brokers and there are "
            f"{len(racks)}: start brokers or ask for fewer replicas"
        )
    brokers = sorted(racks)
    held_elsewhere = dict.fromkeys(brokers, 0)
    led_elsewhere = dict.fromkeys(brokers, 0)
    for replicas in (existing or {}).values():
        for broker in replicas:
            if broker in held_elsewhere:
                held_elsewhere[broker] += 1
        if replicas and replicas[0] in led_elsewhere:
            led_elsewhere[replicas[0]] += 1

    keys = list(range(partitions))
    everywhere = frozenset(brokers)
    sets = _Spread(
        allowed=[everywhere] * partitions,
        free=[everywhere] * partitions,
        kept=[set() for _ in keys],
        slots=[replication_factor] * partitions,
        racks=racks,
        marginal=_even_here_then_there(held_elsewhere),
    ).solve()
    leaders = _Spread(
        allowed=[frozenset(s) for s in sets],
        free=[frozenset(s) for s in sets],
        kept=[set() for _ in keys],
        slots=[1] * partitions,
        racks=dict.fromkeys(brokers, ""),
        marginal=_even_here_then_there(led_elsewhere),
    ).solve()
    # Who leads next when a leader dies: spread that too, or one broker inherits everything.
    heirs: dict[tuple[int, int], int] = {}
    placed: dict[int, tuple[int, ...]] = {}
    for partition in keys:
        (leader,) = leaders[partition]
        followers = sets[partition] - {leader}
        order = sorted((heirs.get((leader, b), 0), (b - leader) % (max(brokers) + 1), b) for b in followers)
        rest = [b for _, _, b in order]
        if rest:
            heirs[leader, rest[0]] = heirs.get((leader, rest[0]), 0) + 1
        placed[partition] = (leader, *rest)
    return placed


def plan_moves(
    assignments: Assignments, racks: Mapping[int, str], *, gone: frozenset[int] = frozenset(), rebalance: bool = False
) -> MovePlan:
    """New replicas so that the brokers `gone` hold none, on the live brokers in `racks`.

    Brokers neither live nor gone keep what they have. With `rebalance` the rest is spread evenly too. A partition with
    too few live brokers keeps replicas on brokers that are gone.
    """
    assert not gone & racks.keys(), "a broker that is gone is not live"
    keys = sorted(assignments)
    live = frozenset(racks)
    original = [tuple(assignments[key]) for key in keys]
    kept: list[set[int]] = []
    slots: list[int] = []
    stuck: list[list[int]] = []
    for replicas in original:
        staying = {b for b in replicas if b not in gone}
        leaving = [b for b in replicas if b in gone]
        movable = min(len(leaving), len(live - staying))
        stuck.append(leaving[: len(leaving) - movable])
        fixed = {b for b in staying if b not in live} if rebalance else staying
        kept.append(fixed)
        slots.append(movable + len(staying) - len(fixed))
    spread = _Spread(
        allowed=[live] * len(keys),
        free=[frozenset(r) & live for r in original] if rebalance else [live] * len(keys),
        kept=kept,
        slots=slots,
        racks=racks,
        marginal=_even(sum(slots)),
    )
    sets = spread.solve(start=[set(r) & live for r in original] if rebalance else None)

    reordered = [_in_place(original[i], sets[i] | set(stuck[i])) for i in range(len(keys))]
    led = [i for i in range(len(keys)) if sets[i] & live]
    first = [next(b for b in reordered[i] if b in live) for i in led]
    leaders = _Spread(
        allowed=[frozenset(sets[i] & live) for i in led],
        free=[frozenset({b}) for b in first],
        kept=[set() for _ in led],
        slots=[1] * len(led),
        racks=dict.fromkeys(racks, ""),
        marginal=_even(len(led)),
    ).solve(start=[{b} for b in first])
    for i, chosen in zip(led, leaders, strict=True):
        (leader,) = chosen
        # A broker that is only away for a moment stays the preferred one; leadership will come back to it.
        if original[i][0] in live or original[i][0] in gone:
            reordered[i] = (leader, *(b for b in reordered[i] if b != leader))

    changed = {key: reordered[i] for i, key in enumerate(keys) if reordered[i] != original[i]}
    moves = sum(len(set(reordered[i]) - set(original[i])) for i in range(len(keys)))
    before, after = _loads(original, live), _loads(reordered, live)
    displaced = sum(len(set(r) & gone) for r in original) - sum(map(len, stuck))
    bound = max(displaced, _rebalance_bound(before, after)) if rebalance else displaced
    return MovePlan(changed, moves, bound)


def _in_place(original: tuple[int, ...], members: set[int]) -> tuple[int, ...]:
    """`members` in the order of `original`; newcomers take the places of those that left."""
    newcomers = iter(sorted(members - set(original)))
    return tuple(b if b in members else next(newcomers) for b in original)


def _loads(replica_lists: Sequence[Sequence[int]], live: frozenset[int]) -> dict[int, int]:
    loads = dict.fromkeys(sorted(live), 0)
    for replicas in replica_lists:
        for broker in replicas:
            if broker in loads:
                loads[broker] += 1
    return loads


def _rebalance_bound(before: Mapping[int, int], after: Mapping[int, int]) -> int:
    """Replicas that must arrive somewhere, whatever the plan: each one is a move.

    For an even result: the fullest brokers may keep one more, which asks for the fewest arrivals. Where racks do not
    allow an even result, the bound is for the loads that were reached.
    """
    if after and max(after.values()) - min(after.values()) <= 1:
        base, extra = divmod(sum(after.values()), len(after))
        fullest = sorted(before, key=lambda b: (-before[b], b))
        after = {b: base + (i < extra) for i, b in enumerate(fullest)}
    return sum(max(0, after[b] - before[b]) for b in after)


def _even(slots: int) -> Callable[[int, int], int]:
    """Cost of one more replica on a broker with `load`: squares, each worth more than all moves together."""
    weight = 2 * slots + 1
    return lambda _broker, load: weight * (2 * load + 1)


def _even_here_then_there(elsewhere: Mapping[int, int]) -> Callable[[int, int], int]:
    """Even within what is placed now, and for the odd ones even with what is there already."""
    weight = 2 * (max(elsewhere.values(), default=0) + 1) * (len(elsewhere) + 1)

    def marginal(broker: int, load: int) -> int:
        return weight * (2 * load + 1) + elsewhere[broker]

    return marginal


class _Spread:
    """Partitions by index, each with `slots[i]` replicas to put on distinct brokers of `allowed[i]`.

    `kept[i]` holds replicas that stay where they are. A replica on a broker outside `free[i]` costs 1 (it is a copy);
    `marginal(broker, load)` is the cost of one more replica on a broker, rising with its load.
    """

    def __init__(
        self,
        *,
        allowed: Sequence[frozenset[int]],
        free: Sequence[frozenset[int]],
        kept: Sequence[set[int]],
        slots: Sequence[int],
        racks: Mapping[int, str],
        marginal: Callable[[int, int], int],
    ) -> None:
        self._allowed, self._free, self._kept, self._slots = allowed, free, kept, slots
        self._brokers = sorted(racks)
        self._racks = racks
        self._racked = len(set(racks.values())) > 1
        self._marginal = marginal
        self._held: list[set[int]] = [set() for _ in slots]
        self._load = dict.fromkeys(self._brokers, 0)
        # Partitions that could give their replica on a to b, cheapest first; stale entries are dropped when met.
        self._arcs: dict[tuple[int, int], list[tuple[int, int]]] = {
            (a, b): [] for a in self._brokers for b in self._brokers if a != b
        }
        for staying in kept:
            for broker in staying:
                if broker in self._load:
                    self._load[broker] += 1

    def solve(self, start: Sequence[set[int]] | None = None) -> list[set[int]]:
        """Every partition's brokers, kept ones included. `start` is where the search begins (default: greedily)."""
        for i in range(len(self._slots)):
            if start is not None:
                for broker in sorted(start[i] - self._kept[i])[: self._slots[i]]:
                    self._place(i, broker)
            while len(self._held[i]) < self._slots[i]:
                self._place(i, self._cheapest(i))
            if start is not None and self._racked:
                self._spread_over_racks(i)
        for i in range(len(self._slots)):
            self._offer(i)
        self._even_out()
        return [held | kept for held, kept in zip(self._held, self._kept, strict=True)]

    # ---- one partition -----------------------------------------------------------------------------------------------

    def _place(self, i: int, broker: int) -> None:
        assert broker not in self._held[i] | self._kept[i], "two replicas of a partition on one broker"
        self._held[i].add(broker)
        self._load[broker] += 1

    def _unplace(self, i: int, broker: int) -> None:
        self._held[i].remove(broker)
        self._load[broker] -= 1

    def _in_rack(self, i: int, rack: str) -> int:
        return sum(1 for b in self._held[i] | self._kept[i] if self._racks.get(b) == rack)

    def _cheapest(self, i: int) -> int:
        options = self._allowed[i] - self._held[i] - self._kept[i]
        return min(
            options,
            key=lambda b: (
                self._in_rack(i, self._racks[b]) if self._racked else 0,
                self._marginal(b, self._load[b]) + (b not in self._free[i]),
                b,
            ),
        )

    def _spread_over_racks(self, i: int) -> None:
        """Move replicas out of crowded racks as long as that makes the partition's spread over racks better."""
        while True:
            better = [
                (a, b)
                for a in sorted(self._held[i])
                for b in sorted(self._allowed[i] - self._held[i] - self._kept[i])
                if self._in_rack(i, self._racks[b]) + 1 < self._in_rack(i, self._racks[a])
            ]
            if not better:
                return
            a, b = min(
                better,
                key=lambda ab: (
                    self._in_rack(i, self._racks[ab[1]]) - self._in_rack(i, self._racks[ab[0]]),
                    self._marginal(ab[1], self._load[ab[1]]) - self._marginal(ab[0], self._load[ab[0]] - 1),
                    ab,
                ),
            )
            self._unplace(i, a)
            self._place(i, b)

    # ---- arcs between brokers ----------------------------------------------------------------------------------------

    def _possible(self, i: int, a: int, b: int) -> bool:
        held = self._held[i]
        if a not in held or b in held or b in self._kept[i] or b not in self._allowed[i]:
            return False
        rack_a, rack_b = self._racks[a], self._racks[b]
        return rack_a == rack_b or not self._racked or self._in_rack(i, rack_b) + 1 <= self._in_rack(i, rack_a)

    def _cost(self, i: int, a: int, b: int) -> int:
        return (b not in self._free[i]) - (a not in self._free[i])

    def _offer(self, i: int) -> None:
        for a in self._held[i]:
            for b in self._allowed[i]:
                if a != b and self._possible(i, a, b):
                    heappush(self._arcs[a, b], (self._cost(i, a, b), i))

    def _best(self, a: int, b: int) -> tuple[int, int] | None:
        heap = self._arcs[a, b]
        while heap:
            cost, i = heap[0]
            if self._possible(i, a, b):
                return cost, i
            heappop(heap)
        return None

    # ---- the search --------------------------------------------------------------------------------------------------

    def _even_out(self) -> None:
        while cycle := self._negative_cycle():
            moved: list[tuple[int, int, int]] = []
            for a, b, i in cycle:
                if not self._possible(i, a, b):
                    # Racks: one partition was to move twice and its second move is no longer allowed. Take all back.
                    for back_a, back_b, back_i in reversed(moved):
                        self._unplace(back_i, back_b)
                        self._place(back_i, back_a)
                    return
                self._unplace(i, a)
                self._place(i, b)
                moved.append((a, b, i))
            for i in {i for _, _, i in moved}:
                self._offer(i)

    def _negative_cycle(self) -> list[tuple[int, int, int]]:
        """Moves (from, to, partition) that together lower the cost; none when the placement is optimal.

        Bellman-Ford over the brokers and one more node, the loads: broker -> loads adds a replica to that broker,
        loads -> broker takes one from it.
        """
        loads = -1
        edges: list[tuple[int, int, int, int]] = []
        for broker in self._brokers:
            load = self._load[broker]
            edges.append((broker, loads, self._marginal(broker, load), -1))
            if load:
                edges.append((loads, broker, -self._marginal(broker, load - 1), -1))
        for a, b in self._arcs:
            if (best := self._best(a, b)) is not None:
                edges.append((a, b, *best))
        distance = dict.fromkeys([*self._brokers, loads], 0)
        via: dict[int, tuple[int, int]] = {}
        last = None
        for _ in range(len(distance)):
            last = None
            for a, b, cost, i in edges:
                if distance[a] + cost < distance[b]:
                    distance[b] = distance[a] + cost
                    via[b] = (a, i)
                    last = b
            if last is None:
                return []
        assert last is not None
        for _ in range(len(distance)):  # walk back until surely inside the cycle
            last = via[last][0]
        cycle: list[tuple[int, int, int]] = []
        node = last
        while True:
            before, i = via[node]
            if i >= 0:
                cycle.append((before, node, i))
            node = before
            if node == last:
                return cycle[::-1]
