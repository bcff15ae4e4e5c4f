"""A run of measurements, kept as a few numbers: how many, their sum, the least, the most, and how they are spread.

In: whole numbers (ms, bytes, counts).  Out: what mntr, srvr and Prometheus tell of them.
Knows no clock.  Answers to ZooKeeper's AvgMinMaxCounter and AvgMinMaxPercentileCounter.

(1) Bounded: values below 128 are counted one by one, larger ones to within 1/64 of themselves.
(2) A percentile is a value that was measured (rounded down as above), never one in between.
"""

_EXACT_BELOW = 128


class Summary:
    __slots__ = ("_most", "_spread", "count", "least", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.least = 0
        self._most = 0
        self._spread: dict[int, int] = {}

    def observe(self, value: int, times: int = 1) -> None:
        """`value` was measured so many times."""
        if not self.count or value < self.least:
            self.least = value
        if value > self._most:
            self._most = value
        self.count += times
        self.total += value * times
        if value >= _EXACT_BELOW:
            shift = value.bit_length() - 7
            value = value >> shift << shift
        spread = self._spread
        spread[value] = spread.get(value, 0) + times

    def copy(self) -> "Summary":
        other = Summary()
        other.count, other.total, other.least, other._most = self.count, self.total, self.least, self._most
        other._spread = dict(self._spread)
        return other

    @property
    def most(self) -> int:
        return self._most

    @property
    def average(self) -> float:
        """Rounded to four places, as ZooKeeper's; 0.0 of nothing."""
        return round(self.total / self.count, 4) if self.count else 0.0

    def percentile(self, share: float) -> int:
        """The smallest value that at least `share` (0 to 1) of the measurements do not exceed; 0 of nothing."""
        left = share * self.count
        for value in sorted(self._spread):
            left -= self._spread[value]
            if left <= 0:
                return value
        return self._most
