"""Who hears of a change: what it costs where many do."""

from collections.abc import Hashable
from typing import Any, cast

from coordination.auth.settings import AuthSettings
from coordination.state.announcer import Announcer
from coordination.state.data_tree import Change, DataTree
from coordination.state.outbox import Outbox
from coordination.state.reads import Readable
from coordination.state.ready import Counters
from coordination.wire.opcodes import EVENT_DELETED
from coordination.wire.records import OPEN_ACL


class Watcher:
    """The part of a connection that counts here; it wants to be found, not searched for."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.events_sent = 0

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared with every other")


def test_those_who_watch_data_and_children_are_told_once_without_a_search() -> None:
    readable = Readable(DataTree(), AuthSettings().access_control())
    outbox, counters = Outbox(readable), Counters()
    watchers = [Watcher() for _ in range(20)]
    for watcher in cast("list[Hashable]", watchers):
        readable.data_watches.add("/a", cast("Any", watcher))
        readable.child_watches.add("/a", cast("Any", watcher))
    late = Watcher()
    readable.child_watches.add("/a", cast("Any", late))
    Announcer(readable, outbox, counters).fire(Change(EVENT_DELETED, "/a", OPEN_ACL, OPEN_ACL), 7)
    assert [len(watcher.out) for watcher in (*watchers, late)] == [1] * 21
    assert counters.events_sent == 21
