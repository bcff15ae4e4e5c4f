"""Quotas: which subtrees are limited, what their limits say, and the sums kept beside them.

In: paths and data of the znodes below /zookeeper/quota; a wish to grow.  Out: the subtree that limits a path, sums,
verdicts.
Knows no session and no txn; the tree tells it what changed and asks it for the nearest limit.
Answers to ZooKeeper's Quotas, StatsTrack, PathTrie and ZooKeeperServer.checkQuota.

    /zookeeper/quota/a/b/zookeeper_limits   count=10,bytes=1000=;byteHardLimit=2000;countHardLimit=20
    /zookeeper/quota/a/b/zookeeper_stats    count=3,bytes=120          znodes of /a/b with itself, and their data

(1) The nearest limit above a path (or its own) counts; one further up neither counts nor limits.
(2) While nothing is limited, a write pays one look at an empty table.
(3) -1 and a missing key are no limit.  A soft limit is only reported; a hard one refuses, and only where quotas are
    enforced (zookeeper.enforceQuota).
(4) Limits that cannot be read refuse the write (MarshallingError, as the real one does): nobody knows what they allow.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from coordination.errors import MarshallingError
from coordination.state.clock import Clock

QUOTA_ROOT = "/zookeeper/quota"
LIMITS_NAME = "zookeeper_limits"
SUMS_NAME = "zookeeper_stats"
LIMITS_SUFFIX = "/" + LIMITS_NAME
SUMS_SUFFIX = "/" + SUMS_NAME
TOLD_EVERY_MS = 1000
TOLD_MAX = 1000
COUNT, BYTES, COUNT_HARD, BYTES_HARD = "count", "bytes", "countHardLimit", "byteHardLimit"

_SEPARATOR = re.compile("[,;]+")
_NUMBER = re.compile(r"([+-]?)0*([0-9]{1,19})")  # no longer than Java's long: Python refuses to read thousands
_LONGS = range(-(1 << 63), 1 << 63)


class Exceeded(NamedTuple):
    """A limit that a write goes beyond."""

    path: str
    what: str
    limit: int
    would_be: int
    hard: bool


def limits_path(limited: str) -> str:
    return QUOTA_ROOT + limited + LIMITS_SUFFIX


def sums_path(limited: str) -> str:
    return QUOTA_ROOT + limited + SUMS_SUFFIX


def parse(data: bytes | None) -> dict[str, int]:
    """`count=3,bytes=120=;...` as numbers; `MarshallingError` on what is none of it (source: StatsTrack)."""
    if data is None:
        raise MarshallingError(message="a quota holds null")
    text = data.decode("utf-8", "replace")
    found: dict[str, int] = {}
    for pair in _SEPARATOR.split(text) if text else ():
        key, _, value = pair.partition("=")
        number = value.partition("=")[0]
        match = _NUMBER.fullmatch(number)
        if match is None or int(match[1] + match[2]) not in _LONGS:
            raise MarshallingError(message=f"a quota holds {pair[:80]!r}, which is no key=number")
        found[key] = int(match[1] + match[2])
    return found


def encode(numbers: Mapping[str, int]) -> bytes:
    """As StatsTrack writes it: count and bytes first; the odd `=` before the rest stops readers before 3.5 there."""
    text = f"{COUNT}={numbers.get(COUNT, -1)},{BYTES}={numbers.get(BYTES, -1)}"
    more = sorted(numbers.keys() - {COUNT, BYTES})
    return (text + ("=" if more else "") + "".join(f";{key}={numbers[key]}" for key in more)).encode()


def exceeded(path: str, limits: bytes | None, sums: bytes | None, count: int, size: int) -> list[Exceeded]:
    """The limits of `path` that `count` more znodes with `size` more bytes would go beyond.

    A hard limit hides the soft one of its kind, and a sum that does not change is not looked at (source:
    ZooKeeperServer.checkQuota).
    """
    allowed = parse(limits)
    found: list[Exceeded] = []
    for what, hard_key, more in ((COUNT, COUNT_HARD, count), (BYTES, BYTES_HARD, size)):
        hard = allowed.get(hard_key, -1)
        limit = hard if hard > -1 else allowed.get(what, -1)
        if more == 0 or limit == -1:
            continue
        would_be = parse(sums).get(what, -1) + more
        if would_be > limit:
            found.append(Exceeded(path, what, limit, would_be, hard > -1))
    return found


class Reports:
    """Tells of limits that are met, of each once a second at most: whoever writes beyond one does it again at once.

    No more than TOLD_MAX are remembered: a client may make limits of as many paths as it likes.
    """

    __slots__ = ("_clock", "_refused", "_tell", "_told_ms")

    def __init__(self, tell: Callable[..., None], clock: Clock, refused: Callable[[str], None]) -> None:
        """`refused` hears the first part of each path that a hard limit kept from growing."""
        self._tell = tell
        self._refused = refused
        self._clock = clock
        self._told_ms: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._told_ms)

    def __call__(self, exceeded: Exceeded) -> None:
        if exceeded.hard:
            self._refused(exceeded.path.split("/")[1])
        key = (exceeded.path, exceeded.what)
        now_ms = self._clock.now_ms
        if now_ms - self._told_ms.get(key, -TOLD_EVERY_MS) >= TOLD_EVERY_MS:
            if len(self._told_ms) >= TOLD_MAX:
                self._told_ms.clear()
            self._told_ms[key] = now_ms
            self._tell("quota_exceeded", **exceeded._asdict())


class LimitedPaths:
    """The paths that have a zookeeper_limits znode."""

    __slots__ = ("paths",)

    def __init__(self) -> None:
        self.paths: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self.paths)

    def __contains__(self, path: str) -> bool:
        return path in self.paths

    def clear(self) -> None:
        self.paths.clear()

    def add(self, path: str) -> None:
        if path:  # limits of the root are kept and count for nothing, as in ZooKeeper
            self.paths.add(path)

    def discard(self, path: str) -> None:
        self.paths.discard(path)

    def nearest(self, path: str) -> str | None:
        """The limited path that `path` belongs to."""
        paths = self.paths
        if not paths:
            return None
        while path and path not in paths:
            path = path[: path.rfind("/")]
        return path or None


def limited_by(path: str, suffix: str) -> str | None:
    """`/a/b` for /zookeeper/quota/a/b + suffix; None for another path."""
    if path.startswith(QUOTA_ROOT + "/") and path.endswith(suffix):
        return path[len(QUOTA_ROOT) : -len(suffix)]
    return None
