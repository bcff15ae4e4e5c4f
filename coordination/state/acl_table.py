"""The ACLs in use: one object and one number for each distinct one, forgotten with its last znode.

In: an ACL gains a user, loses one.  Out: the object to keep, its number for a snapshot.
Must not know znodes or permissions.  Answers to ZooKeeper's ReferenceCountedACLCache.

(1) The open ACL is one object, known by identity; it is not counted and never in the table.
(2) Any other ACL is in the table exactly while somebody uses it.
(3) A number is never given twice: a fuzzy snapshot may hold the table of one moment and a znode of a later one.
"""

from collections.abc import Sequence
from typing import TypeAlias

from coordination.wire.records import OPEN_ACL, Acl

AclList: TypeAlias = tuple[Acl, ...]

OPEN_ACL_NUMBER = -1


class _Held:
    __slots__ = ("acl", "number", "uses")

    def __init__(self, acl: AclList, number: int) -> None:
        self.acl = acl
        self.number = number
        self.uses = 0


class AclTable:
    def __init__(self) -> None:
        self._held: dict[AclList, _Held] = {}
        self._last_number = 0

    def __len__(self) -> int:
        return len(self._held)

    def use(self, acl: AclList) -> AclList:
        """One more znode has this ACL: the object it should keep."""
        if acl is OPEN_ACL or acl == OPEN_ACL:
            return OPEN_ACL
        held = self._held.get(acl)
        if held is None:
            self._last_number += 1
            held = self._held[acl] = _Held(acl, self._last_number)
        held.uses += 1
        return held.acl

    def release(self, acl: AclList) -> None:
        """A znode that had this ACL has it no more."""
        if acl is OPEN_ACL:
            return
        held = self._held[acl]
        held.uses -= 1
        if not held.uses:
            del self._held[acl]

    def number(self, acl: AclList) -> int:
        """The number of an ACL in use."""
        return OPEN_ACL_NUMBER if acl is OPEN_ACL else self._held[acl].number

    def by_number(self) -> dict[int, Sequence[Acl]]:
        """Every ACL in use, the open one aside."""
        return {held.number: held.acl for held in self._held.values()}

    def uses(self) -> dict[AclList, int]:
        return {held.acl: held.uses for held in self._held.values()}
