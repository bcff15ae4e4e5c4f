"""Events, and the watches a client has set, kept so that a new connection of the same session can set them again.

In: what was set, what fired, what was removed.  Out: the setWatches requests of a re-attach, the kinds a removal hit.
Knows no socket.  Answers to ZooKeeper's ZKWatchManager and the primeConnection of its ClientCnxn.

(1) A one-shot watch leaves when its event comes; a persistent one only when it is removed.
(2) Requests stay below a size that any server takes (`jute.maxbuffer`).
"""

from collections.abc import Iterator
from typing import NamedTuple

from coordination.wire import opcodes
from coordination.wire.requests import SetWatches

# Event types that a client makes itself when a watch was removed (source: Watcher.Event.EventType).
EVENT_DATA_WATCH_REMOVED = 5
EVENT_CHILD_WATCH_REMOVED = 6
EVENT_PERSISTENT_WATCH_REMOVED = 7
EVENT_NAMES = {
    -1: "None",
    opcodes.EVENT_CREATED: "NodeCreated",
    opcodes.EVENT_DELETED: "NodeDeleted",
    opcodes.EVENT_DATA_CHANGED: "NodeDataChanged",
    opcodes.EVENT_CHILDREN_CHANGED: "NodeChildrenChanged",
    EVENT_DATA_WATCH_REMOVED: "DataWatchRemoved",
    EVENT_CHILD_WATCH_REMOVED: "ChildWatchRemoved",
    EVENT_PERSISTENT_WATCH_REMOVED: "PersistentWatchRemoved",
}

_PATH_BYTES_MAX = 128 * 1024  # of one setWatches request, as ZooKeeper's client has it
_KINDS = ("data", "exist", "child", "persistent", "recursive")
_FIRES = {
    opcodes.EVENT_CREATED: ("data", "exist"),
    opcodes.EVENT_DATA_CHANGED: ("data", "exist"),
    opcodes.EVENT_CHILDREN_CHANGED: ("child",),
    opcodes.EVENT_DELETED: ("data", "exist", "child"),
}
_REMOVES: dict[int, tuple[str, ...]] = {
    opcodes.WATCHES_CHILDREN: ("child",),
    opcodes.WATCHES_DATA: ("data", "exist"),
    opcodes.WATCHES_ANY: _KINDS,
    opcodes.WATCHES_PERSISTENT: ("persistent",),
    opcodes.WATCHES_PERSISTENT_RECURSIVE: ("recursive",),
}
_REMOVED_EVENT = {
    "child": EVENT_CHILD_WATCH_REMOVED,
    "data": EVENT_DATA_WATCH_REMOVED,
    "exist": EVENT_DATA_WATCH_REMOVED,
    "persistent": EVENT_PERSISTENT_WATCH_REMOVED,
    "recursive": EVENT_PERSISTENT_WATCH_REMOVED,
}


class Event(NamedTuple):
    """A watch that fired (`path` as the server knows it), or with `type` -1 a change of the connection's own state."""

    type: int
    state: str
    path: str | None
    zxid: int = -1


class WatchTable:
    """Paths as the server knows them, per kind of watch."""

    def __init__(self) -> None:
        self._paths: dict[str, set[str]] = {kind: set() for kind in _KINDS}

    def __len__(self) -> int:
        return sum(map(len, self._paths.values()))

    def add(self, kind: str, path: str) -> None:
        self._paths[kind].add(path)

    def fired(self, event_type: int, path: str) -> None:
        for kind in _FIRES.get(event_type, ()):
            self._paths[kind].discard(path)

    def remove(self, path: str, kind: int) -> list[int]:
        """Forget the watches of a wire kind on `path`; the event types that tell of it, none if there were none."""
        events = []
        for each in _REMOVES[kind]:
            if path in self._paths[each]:
                self._paths[each].discard(path)
                events.append(_REMOVED_EVENT[each])
        return sorted(set(events), key=[6, 5, 7].index)

    def set_again(self, last_zxid: int) -> Iterator[SetWatches]:
        """What to send first on a new connection; the server then sends the events missed since `last_zxid`."""
        batch: dict[str, list[str]] = {kind: [] for kind in _KINDS}
        size = 0
        for kind in _KINDS:
            for path in sorted(self._paths[kind]):
                batch[kind].append(path)
                size += len(path.encode()) + 4
                if size >= _PATH_BYTES_MAX:
                    yield _request(last_zxid, batch)
                    batch, size = {each: [] for each in _KINDS}, 0
        if size:
            yield _request(last_zxid, batch)


def _request(last_zxid: int, batch: dict[str, list[str]]) -> SetWatches:
    lasting = batch["persistent"] or batch["recursive"]
    opcode = opcodes.SET_WATCHES2 if lasting else opcodes.SET_WATCHES
    return SetWatches(opcodes.XID_SET_WATCHES, opcode, last_zxid, *(batch[kind] for kind in _KINDS))
