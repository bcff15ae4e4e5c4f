"""Watches: one-shot, persistent, recursive; told once, in order; no trace of who is gone."""

from hypothesis import given
from hypothesis import strategies as st

from coordination.state.watches import ONE_SHOT, PERSISTENT, RECURSIVE, WatchTable


def test_a_one_shot_watch_fires_once() -> None:
    table: WatchTable[str] = WatchTable()
    table.add("/a", "ann")
    table.add("/a", "bob")
    assert table.trigger("/a") == ["ann", "bob"]
    assert table.trigger("/a") == []
    assert (len(table), table.watchers) == (0, 0)


def test_a_persistent_watch_stays_and_a_one_shot_beside_it_goes() -> None:
    table: WatchTable[str] = WatchTable()
    table.add("/a", "ann", PERSISTENT)
    table.add("/a", "ann")
    assert table.trigger("/a") == ["ann"]
    assert table.modes("/a", "ann") == PERSISTENT
    assert table.trigger("/a") == ["ann"]


def test_a_recursive_watch_hears_about_everything_below_once() -> None:
    table: WatchTable[str] = WatchTable()
    table.add("/a", "ann", RECURSIVE)
    table.add("/a/b", "ann")
    table.add("/", "bob", RECURSIVE)
    assert table.trigger("/a/b") == ["ann", "bob"]
    assert table.trigger("/ab") == ["bob"]
    assert table.trigger("/") == ["bob"]


def test_removing_and_forgetting() -> None:
    table: WatchTable[str] = WatchTable()
    table.add("/a", "ann", RECURSIVE | PERSISTENT)
    assert table.remove("/a", "ann", ONE_SHOT) is False
    assert table.remove("/a", "ann", PERSISTENT) is True
    assert table.trigger("/a/b") == ["ann"]
    table.forget("ann")
    assert table.trigger("/a/b") == []
    assert (table.paths, table.watchers) == (0, 0)


PATHS = st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/d"])
STEPS = st.one_of(
    st.tuples(st.just("add"), PATHS, st.integers(0, 3), st.sampled_from([ONE_SHOT, PERSISTENT, RECURSIVE])),
    st.tuples(st.just("remove"), PATHS, st.integers(0, 3), st.sampled_from([ONE_SHOT, PERSISTENT, RECURSIVE, 7])),
    st.tuples(st.just("forget"), PATHS, st.integers(0, 3), st.just(0)),
    st.tuples(st.just("trigger"), PATHS, st.just(0), st.just(0)),
)


@given(st.lists(STEPS, max_size=30))
def test_against_a_plain_set(steps: list[tuple[str, str, int, int]]) -> None:
    """The twin is a set of (path, watcher, mode) and knows no index."""
    table: WatchTable[int] = WatchTable()
    twin: set[tuple[str, int, int]] = set()
    for what, path, who, mode in steps:
        if what == "add":
            table.add(path, who, mode)
            twin.add((path, who, mode))
        elif what == "remove":
            gone = {each for each in twin if each[:2] == (path, who) and each[2] & mode}
            assert table.remove(path, who, mode) == bool(gone)
            twin -= gone
        elif what == "forget":
            table.forget(who)
            twin = {each for each in twin if each[1] != who}
        else:
            told = {
                w for p, w, m in twin if p == path or (m == RECURSIVE and path.startswith("/" if p == "/" else p + "/"))
            }
            assert set(table.trigger(path)) == told
            twin = {each for each in twin if not (each[0] == path and each[2] == ONE_SHOT)}
        assert len(table) == len({each[:2] for each in twin})
        assert table.watchers == len({each[1] for each in twin})
