"""Who may begin: a bucket of tokens that ConnectRequests draw from, so that a storm of them drowns nobody.

In: how many tokens a ConnectRequest needs, the time, a chance.  Out: whether it may come in.
Knows no connection.  Answers to ZooKeeper's BlueThrottle (after the Blue queue discipline).

(1) `tokens` 0 lets everybody in, and costs one comparison.
(2) With `freeze_ms` some are turned away by chance too: the more, the longer the bucket stays empty.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ThrottleSettings:
    """zookeeper.connection_throttle_*; times in ms."""

    tokens: int = 0
    fill_ms: int = 1
    fill_count: int = 1
    freeze_ms: int = -1
    drop_increase: float = 0.02
    drop_decrease: float = 0.002
    decrease_ratio: float = 0.0
    """The share of the bucket that may be empty while the chance to be turned away goes down."""
    weighted: bool = False
    global_weight: int = 3
    renew_weight: int = 2


class ConnectionThrottle:
    def __init__(self, settings: ThrottleSettings, chance: Callable[[], float], now_ms: int) -> None:
        """`chance` gives a number from 0 to 1, another one each time."""
        self._settings = settings
        self._chance = chance
        weight = settings.global_weight if settings.weighted else 1
        self._tokens_max = self._tokens = settings.tokens * weight
        self._fill_count = settings.fill_count * weight
        self._filled_ms = self._judged_ms = now_ms
        self.drop_probability = 0.0

    @property
    def deficit(self) -> int:
        """How many tokens are out."""
        return self._tokens_max - self._tokens

    def admits(self, now_ms: int, *, renews: bool) -> bool:
        """`renews`: the client comes back to its session."""
        if not self._tokens_max:
            return True
        settings = self._settings
        need = (settings.renew_weight if renews else settings.global_weight) if settings.weighted else 1
        passed_ms = now_ms - self._filled_ms
        if passed_ms > settings.fill_ms:
            self._tokens = min(self._tokens + passed_ms * self._fill_count // settings.fill_ms, self._tokens_max)
            self._filled_ms = now_ms
        if settings.freeze_ms != -1:
            self._judge(now_ms)
            if self._chance() < self.drop_probability:
                return False
        if self._tokens < need:
            return False
        self._tokens -= need
        return True

    def _judge(self, now_ms: int) -> None:
        settings = self._settings
        if now_ms - self._judged_ms <= settings.freeze_ms:
            return
        if self.deficit == self._tokens_max:
            self.drop_probability = min(self.drop_probability + settings.drop_increase, 1.0)
        elif self.deficit <= round(self._tokens_max * settings.decrease_ratio):
            self.drop_probability = max(self.drop_probability - settings.drop_decrease, 0.0)
        self._judged_ms = now_ms
