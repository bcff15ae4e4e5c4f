"""One znode: its data, its stat, and what its owner field says it is.

In and out: fields, a znode's encoded Stat, the tuple a snapshot keeps of it.
Knows neither its path nor its place in the tree.  Answers to ZooKeeper's DataNode, StatPersisted and EphemeralType.

(1) `stat` is kept in `encoded_stat` from its first use until that is set to None: whoever changes a field does it.
(2) What clients see as cversion counts creations *and* deletions: 2 x creations - children (source: DataNode.copyStat).
(3) Equal numbers of one znode may be one object, and no znode keeps what can be had again: a million of them must be
    cheap.
"""

from typing import TypeAlias

from coordination.wire.records import STAT, Acl

CONTAINER_OWNER = -(1 << 63)
_TTL_TOP = 0xFF
_TTL_VALUE = (1 << 40) - 1
TTL_MS_MAX = _TTL_VALUE

PLAIN, EPHEMERAL, CONTAINER, TTL = "plain", "ephemeral", "container", "ttl"


def kind_of(owner: int) -> str:
    """What an owner field says the node is (source: EphemeralType)."""
    if owner == 0:
        return PLAIN
    if owner == CONTAINER_OWNER:
        return CONTAINER
    return TTL if (owner >> 56) & 0xFF == _TTL_TOP else EPHEMERAL


def owner_of_ttl(ttl_ms: int) -> int:
    """How a TTL stands in the owner field: top byte 0xff, the time in the lower 40 bits, as a signed number."""
    assert 0 < ttl_ms <= _TTL_VALUE
    return ((_TTL_TOP << 56) | ttl_ms) - (1 << 64)


def ttl_of_owner(owner: int) -> int:
    return owner & _TTL_VALUE


class Node:
    """One znode.  `creations` is how many children were ever created (ZooKeeper's stored cversion)."""

    __slots__ = (
        "acl",
        "aversion",
        "children",
        "creations",
        "ctime_ms",
        "czxid",
        "data",
        "encoded_stat",
        "mtime_ms",
        "mzxid",
        "owner",
        "pzxid",
        "version",
    )

    def __init__(self, data: bytes | None, acl: tuple[Acl, ...], zxid: int, time_ms: int, owner: int) -> None:
        self.data = data
        self.acl = acl
        self.czxid = self.mzxid = self.pzxid = zxid
        self.ctime_ms = self.mtime_ms = time_ms
        self.version = self.creations = self.aversion = 0
        self.owner = owner
        self.children: dict[str, None] | None = None
        self.encoded_stat: bytes | None = None

    @property
    def data_length(self) -> int:
        return len(self.data) if self.data else 0

    @property
    def child_count(self) -> int:
        return len(self.children) if self.children else 0

    @property
    def stat(self) -> bytes:
        """The 68 bytes a client sees."""
        encoded = self.encoded_stat
        if encoded is None:
            children = len(self.children) if self.children else 0
            encoded = self.encoded_stat = STAT.pack(
                self.czxid,
                self.mzxid,
                self.ctime_ms,
                self.mtime_ms,
                self.version,
                wrap32(self.creations * 2 - children),
                self.aversion,
                self.owner if self.owner and kind_of(self.owner) == EPHEMERAL else 0,
                len(self.data) if self.data else 0,
                children,
                self.pzxid,
            )
        return encoded


StoredStat: TypeAlias = tuple[int, int, int, int, int, int, int, int, int]
"""czxid, mzxid, ctime, mtime, version, creations, aversion, owner, pzxid: what a snapshot keeps of a Stat."""
StoredNode: TypeAlias = tuple[str, bytes | None, int, StoredStat]
"""path, data, number of its ACL, stored stat: a znode as a snapshot holds it."""


def wrap32(number: int) -> int:
    """A Java int: behind the largest comes the least."""
    return number if -0x80000000 <= number <= 0x7FFFFFFF else (number + 0x80000000) % (1 << 32) - 0x80000000
