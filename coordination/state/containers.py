"""The server's own deletions: containers that had children and have none now, TTL nodes whose time is over.

In: the tree, the time.  Out: proposals of deleteContainer.  Knows no connection.  Answers to ZooKeeper's
ContainerManager.

(1) A tree without containers and TTL nodes has no deadline: an idle server sleeps.
(2) At most `per_minute` of them go in a minute, in portions; who is next is looked up anew.
(3) A znode that was filled, or is gone, in a txn still under way is left to the next time.
"""

from coordination.errors import KeeperError
from coordination.state.clock import Clock
from coordination.state.data_tree import DataTree
from coordination.state.prep import Prep
from coordination.state.proposals import Proposals
from coordination.state.znode import ttl_of_owner
from coordination.wire import opcodes


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
        self._portion = max(1, per_minute // 60)
        self._pause_ms = max(1000, 60_000 // per_minute)
        self._due_ms: int | None = None

    def next_deadline(self) -> int | None:
        """When `tick` has something to look at, in ms of `now_ms`."""
        if self._due_ms is None and (self._tree.containers or self._tree.ttls):
            self._due_ms = self._clock.now_ms + self._check_ms
        return self._due_ms

    def tick(self) -> None:
        if self._due_ms is not None and self._due_ms <= self._clock.now_ms:
            self._due_ms = None
            found = self._candidates()
            self._remove(found[: self._portion])
            if len(found) > self._portion:
                self._due_ms = self._clock.now_ms + self._pause_ms

    def _remove(self, paths: list[str]) -> None:
        for path in paths:
            try:
                body = self._prep.delete_container(path, self._proposals.zxid + 1)
            except KeeperError:
                continue
            self._proposals.propose(None, 0, 0, opcodes.DELETE_CONTAINER, body)

    def _candidates(self) -> list[str]:
        nodes, wall_ms = self._tree.nodes, self._clock.wall_ms
        found = []
        for path in self._tree.containers:
            node = nodes[path]
            over = node.creations > 0 or 0 < self._never_used_ms < wall_ms - node.mtime_ms
            if over and not node.child_count:  # one without creations waits for its first child
                found.append(path)
        for path in self._tree.ttls:
            node = nodes[path]
            if not node.child_count and wall_ms - node.mtime_ms > ttl_of_owner(node.owner):
                found.append(path)
        return found
