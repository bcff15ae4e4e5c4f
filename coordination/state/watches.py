"""Watches: who asked to hear about which znode, and who hears when it changes.

In: add(path, watcher, mode); trigger(path).  Out: the watchers to tell, in the order they registered.
Knows nothing of sockets, zxids, ACLs or time; a watcher is any hashable thing.  Answers to ZooKeeper's WatchManager
(a server holds two: one for data and existence, one for children).

(1) A one-shot watch fires at most once, and is gone before the caller sees the result of trigger().
(2) A watcher is told once per trigger, however many of its watches match.
(3) A watcher that was forgotten appears in no table; the two tables always describe the same set of watches.
(4) A recursive watch hears about its path and everything below; the others about exactly their path.
"""

from collections.abc import KeysView
from typing import Generic, TypeVar

W = TypeVar("W")

ONE_SHOT = 1
PERSISTENT = 2
RECURSIVE = 4


class WatchTable(Generic[W]):
    __slots__ = ("_by_path", "_by_watcher", "recursive", "watched")

    def __init__(self) -> None:
        self._by_path: dict[str, dict[W, int]] = {}
        self._by_watcher: dict[W, dict[str, None]] = {}
        self.watched: KeysView[str] = self._by_path.keys()
        """The paths with a watch on exactly them."""
        self.recursive = 0
        """How many recursive watches exist: without one nobody walks up the path."""

    def __len__(self) -> int:
        return sum(len(watchers) for watchers in self._by_path.values())

    @property
    def paths(self) -> int:
        return len(self._by_path)

    @property
    def watchers(self) -> int:
        return len(self._by_watcher)

    def add(self, path: str, watcher: W, mode: int = ONE_SHOT) -> None:
        watchers = self._by_path.get(path)
        if watchers is None:
            watchers = self._by_path[path] = {}
        before = watchers.get(watcher, 0)
        watchers[watcher] = before | mode
        if mode & RECURSIVE and not before & RECURSIVE:
            self.recursive += 1
        paths = self._by_watcher.get(watcher)
        if paths is None:
            paths = self._by_watcher[watcher] = {}
        paths[path] = None

    def may_hear(self, path: str) -> bool:
        """False: nobody would be told of `path`.  Cheaper than trigger()."""
        return path in self._by_path or self.recursive > 0

    def modes(self, path: str, watcher: W) -> int:
        """The modes `watcher` has on exactly `path`, or'ed; 0 for none."""
        watchers = self._by_path.get(path)
        return watchers.get(watcher, 0) if watchers else 0

    def remove(self, path: str, watcher: W, modes: int) -> bool:
        """Take the given modes off; was any of them there?"""
        before = self.modes(path, watcher)
        if not before & modes:
            return False
        self._set(path, watcher, before, before & ~modes)
        return True

    def forget(self, watcher: W) -> None:
        """Drop every watch of a connection that is gone."""
        for path in list(self._by_watcher.get(watcher, ())):
            self._set(path, watcher, self._by_path[path][watcher], 0)

    def trigger(self, path: str) -> list[W]:
        """The watchers to tell that `path` changed, one-shot watches taken off."""
        told: list[W] = []
        watchers = self._by_path.get(path)
        if watchers:
            told = list(watchers)
            self._take_one_shots(path, watchers)
        if self.recursive and path != "/":
            self._add_recursive_parents(path, told)
        return told

    def _take_one_shots(self, path: str, watchers: dict[W, int]) -> None:
        """All at once: they may be thousands, and each costs what the change costs."""
        by_watcher = self._by_watcher
        kept: dict[W, int] = {}
        for watcher, modes in watchers.items():
            if modes != ONE_SHOT:
                kept[watcher] = modes & ~ONE_SHOT
                continue
            paths = by_watcher[watcher]
            if len(paths) == 1:
                del by_watcher[watcher]
            else:
                del paths[path]
        if kept:
            self._by_path[path] = kept
        else:
            del self._by_path[path]

    def _add_recursive_parents(self, path: str, told: list[W]) -> None:
        seen = set(told)
        parent = path
        while parent != "/":
            parent = parent[: parent.rfind("/")] or "/"
            for watcher, mode in self._by_path.get(parent, {}).items():
                if mode & RECURSIVE and watcher not in seen:
                    seen.add(watcher)
                    told.append(watcher)

    def _set(self, path: str, watcher: W, before: int, after: int) -> None:
        if before & RECURSIVE and not after & RECURSIVE:
            self.recursive -= 1
        watchers = self._by_path[path]
        if after:
            watchers[watcher] = after
            return
        del watchers[watcher]
        if not watchers:
            del self._by_path[path]
        paths = self._by_watcher[watcher]
        del paths[path]
        if not paths:
            del self._by_watcher[watcher]

    def by_watcher(self) -> dict[W, list[str]]:
        return {watcher: list(paths) for watcher, paths in self._by_watcher.items()}

    def by_path(self) -> dict[str, list[W]]:
        return {path: list(watchers) for path, watchers in self._by_path.items()}
