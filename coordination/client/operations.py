"""What goes into a multi and what comes back about a znode: plain values.

In: arguments.  Out: frozen records.  Knows nothing of kazoo, threads or sockets.
Answers to ZooKeeper's Op and Stat; field names are ours, the order of `Stat` is the wire's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

ANY_VERSION = -1

# (permissions, scheme, id), for example (31, "world", "anyone"); permissions are ZooKeeper's bits: 1 read, 2 write, 4
# create, 8 delete, 16 admin.
Acl = tuple[int, str, str]


class Stat(NamedTuple):
    """What a server knows about a znode beside its value (source: zookeeper.jute, Stat)."""

    czxid: int  # the txn that created it
    mzxid: int  # the txn that last set its value
    ctime_ms: int  # wall clock of the server, ms since 1970
    mtime_ms: int
    version: int  # changes of the value
    cversion: int  # changes of the children
    aversion: int  # changes of the ACL
    ephemeral_owner: int  # session id; 0 = not ephemeral
    data_length: int  # bytes
    num_children: int
    pzxid: int  # the txn that last created or deleted a child


@dataclass(frozen=True, slots=True)
class Create:
    path: str
    value: bytes = b""
    ephemeral: bool = False
    sequence: bool = False
    acl: Sequence[Acl] | None = None


@dataclass(frozen=True, slots=True)
class Set:
    path: str
    value: bytes
    version: int = ANY_VERSION


@dataclass(frozen=True, slots=True)
class Delete:
    path: str
    version: int = ANY_VERSION


@dataclass(frozen=True, slots=True)
class Check:
    """Holds only if the znode's value is at `version`; changes nothing."""

    path: str
    version: int = ANY_VERSION


Operation = Create | Set | Delete | Check
# What a multi gives back per operation: the created path, the new stat, or True.
Result = str | Stat | bool
