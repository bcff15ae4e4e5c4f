"""Which watches are set again, and which a removal hits."""

from coordination.tools.watch_table import WatchTable
from coordination.wire import opcodes
from coordination.wire.requests import encode


def filled() -> WatchTable:
    table = WatchTable()
    for kind, path in (("data", "/d"), ("exist", "/e"), ("child", "/c"), ("persistent", "/p"), ("recursive", "/r")):
        table.add(kind, path)
    return table


def test_everything_is_set_again_in_one_request() -> None:
    (request,) = filled().set_again(7)
    assert request.opcode == opcodes.SET_WATCHES2
    assert request.xid == opcodes.XID_SET_WATCHES
    assert request.relative_zxid == 7
    found = (request.data, request.exist, request.child, request.persistent, request.persistent_recursive)
    assert found == (["/d"], ["/e"], ["/c"], ["/p"], ["/r"])


def test_old_servers_are_asked_with_the_old_request() -> None:
    table = WatchTable()
    table.add("data", "/d")
    (request,) = table.set_again(0)
    assert request.opcode == opcodes.SET_WATCHES
    assert list(WatchTable().set_again(0)) == []


def test_many_watches_are_split() -> None:
    table = WatchTable()
    paths = [f"/{number:01000d}" for number in range(300)]
    for path in paths:
        table.add("data", path)
    requests = list(table.set_again(0))
    assert len(requests) > 2
    assert sorted(path for request in requests for path in request.data) == sorted(paths)
    assert all(len(encode(request)) < 256 * 1024 for request in requests)


def test_events_take_one_shot_watches_and_leave_the_others() -> None:
    table = filled()
    for path in ("/d", "/e", "/c", "/p", "/r"):
        table.fired(opcodes.EVENT_DELETED, path)
    assert len(table) == 2


def test_a_removal_tells_its_events() -> None:
    table = WatchTable()
    for kind in ("data", "child", "persistent", "recursive"):
        table.add(kind, "/x")
    assert table.remove("/x", opcodes.WATCHES_DATA) == [5]
    assert table.remove("/x", opcodes.WATCHES_DATA) == []
    assert table.remove("/x", opcodes.WATCHES_ANY) == [6, 7]
    assert len(table) == 0
