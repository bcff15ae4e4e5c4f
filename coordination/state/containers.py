"""The server's own deletions: containers that had children and have none now, TTL nodes whose time is over.

In: the tree, the time.  Out: proposals of deleteContainer.  Knows no connection.  Answers to ZooKeeper's
ContainerManager.

(1) A tree without containers and TTL nodes has no deadline: an idle server sleeps.
(2) At most `per_minute` of them go in a minute, in portions.
(3) A znode that was filled, or is gone, in a txn still under way is left to the next time.
(4) One `tick` looks at LOOKED_AT_MAX znodes, but for a copy of their names at the beginning (10 to 30 ms for a
    million): a look at many is many short ones, with a rest in between.
"""

from collections.abc import Iterator

from coordination.errors import KeeperError
from coordination.state.clock import Clock
from coordination.state.data_tree import DataTree
from coordination.state.prep import Prep
from coordination.state.proposals import Proposals
from coordination.state.znode import CONTAINER_OWNER, ttl_of_owner
from coordination.wire import opcodes

LOOKED_AT_MAX = 2000  # a millisecond or two, and 20 us more for each that goes
REST_MS = 10


class ContainerManager:
    def __init__(
        self,
        tree: DataTree,
        prep: Prep,
        proposals: Proposals,
        clock: Clock,
        check_ms: int,
        *,
        never_used_ms: int = 0,
        per_minute: int = 10_000,
    ) -> None:
        """`check_ms`: how long between two looks.  `never_used_ms`: how long a container may wait for its first child;
        0: for ever.  `per_minute`: how many may go in a minute.
        """
        self._tree = tree
        self._prep = prep
        self._proposals = proposals
        self._clock = clock
        self._check_ms = check_ms
        self._never_used_ms = never_used_ms
        self._portion = self._portion_left = max(1, per_minute // 60)
        self._pause_ms = max(1000, 60_000 // per_minute)
        self._due_ms: int | None = None
        self._paths: Iterator[str] | None = None  # what the look under way has not come to

    def next_deadline(self) -> int | None:
        """When `tick` has something to look at, in ms of `now_ms`."""
        if self._due_ms is None and (self._tree.containers or self._tree.ttls):
            self._due_ms = self._clock.now_ms + self._check_ms
        return self._due_ms

    def tick(self) -> None:
        now_ms = self._clock.now_ms
        if self._due_ms is None or self._due_ms > now_ms:
            return
        if self._paths is None:
            self._paths = iter([*self._tree.containers, *self._tree.ttls])
        for _ in range(LOOKED_AT_MAX):
            path = next(self._paths, None)
            if path is None:
                self._paths = self._due_ms = None
                return
            if self._is_over(path) and self._remove(path):
                self._portion_left -= 1
                if not self._portion_left:
                    self._portion_left = self._portion
                    self._due_ms = now_ms + self._pause_ms
                    return
        self._due_ms = now_ms + REST_MS

    def _is_over(self, path: str) -> bool:
        node = self._tree.nodes.get(path)
        if node is None or node.child_count:
            return False
        unchanged_ms = self._clock.wall_ms - node.mtime_ms
        if path in self._tree.ttls:
            return unchanged_ms > ttl_of_owner(node.owner)
        if node.owner != CONTAINER_OWNER:  # another znode has the name by now
            return False
        return node.creations > 0 or 0 < self._never_used_ms < unchanged_ms  # else it waits for its first child

    def _remove(self, path: str) -> bool:
        try:
            body = self._prep.delete_container(path, self._proposals.zxid + 1)
        except KeeperError:
            return False
        self._proposals.propose(None, 0, 0, opcodes.DELETE_CONTAINER, body)
        return True
