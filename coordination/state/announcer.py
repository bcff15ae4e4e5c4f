"""Who hears of a change: the watches that match it, in order, filtered by what each watcher may read.

In: a change and its zxid.  Out: encoded events at the end of the watchers' outputs.
Knows no socket and no session.  Answers to the triggerWatch calls in ZooKeeper's DataTree and to NIOServerCnxn.process.

(1) A deletion tells a watcher once, even if it watched the znode both for data and for children.
(2) An event is encoded once, however many hear it.
(3) Nobody hears of a znode they may not read (CVE-2024-23944).
"""

from coordination.state.connection import Connection
from coordination.state.data_tree import Change
from coordination.state.outbox import Outbox
from coordination.state.reads import Readable
from coordination.state.ready import Counters
from coordination.wire.opcodes import (
    EVENT_CHILDREN_CHANGED,
    EVENT_CREATED,
    EVENT_DATA_CHANGED,
    EVENT_DELETED,
    PERM_READ,
)
from coordination.wire.records import OPEN_ACL, Acl
from coordination.wire.replies import event

LOOKED_AT_EVERY = 64
"""A watcher that does not read is told of again after so many events: whoever sends must see them pile up."""


class Announcer:
    def __init__(self, readable: Readable, outbox: Outbox, counters: Counters) -> None:
        self._readable = readable
        self._outbox = outbox
        self._counters = counters

    def fire(self, change: Change, zxid: int) -> None:
        """Tell whoever watches what `change` is about; a txn's changes come in the order they were made."""
        type_, path, acl, parent_acl = change
        data_watches, child_watches = self._readable.data_watches, self._readable.child_watches
        parent = path[: path.rfind("/")] or "/"
        watched = child_watches.watched
        elsewhere = path not in watched and parent not in watched
        if elsewhere and not data_watches.recursive and path not in data_watches.watched:
            return  # mostly so, and a session may end with 100,000 ephemerals
        told = data_watches.trigger(path)
        counters = self._counters
        if told:
            self._tell(told, event(type_, path, zxid), acl)
            if type_ == EVENT_DATA_CHANGED:
                counters.told_changed.observe(len(told))
            else:
                (counters.told_created if type_ == EVENT_CREATED else counters.told_deleted).observe(len(told))
        if type_ == EVENT_DATA_CHANGED:
            return
        if type_ == EVENT_DELETED:
            heard = set(told)
            also = [each for each in child_watches.trigger(path) if each not in heard]
            if also:
                self._tell(also, event(EVENT_DELETED, path, zxid), acl)
        else:
            assert type_ == EVENT_CREATED
        watchers = child_watches.trigger(parent)
        if watchers:
            self._tell(watchers, event(EVENT_CHILDREN_CHANGED, parent, zxid), parent_acl)
            counters.told_children.observe(len(watchers))

    def _tell(self, watchers: list[Connection], encoded: bytes, acl: tuple[Acl, ...]) -> None:
        """One event to all of them, encoded once; whoever may not read the znode hears nothing (CVE-2024-23944)."""
        dirty = self._outbox.dirty
        sent = 0
        for connection in watchers:
            if acl is not OPEN_ACL and not self._readable.access.allows(acl, PERM_READ, connection.identities):
                continue
            out = connection.out
            if len(out) % LOOKED_AT_EVERY == 0:
                dirty.append(connection)
            out.append(encoded)
            connection.events_sent += 1
            sent += 1
        self._counters.events_sent += sent
        self._counters.watch_bytes += sent * len(encoded)
