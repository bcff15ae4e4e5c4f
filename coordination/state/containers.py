"""The server's own deletions: containers that had children and have none now, TTL nodes whose time is over.

In: the tree, the time.  Out: proposals of deleteContainer.  Knows no connection.  Answers to ZooKeeper's
ContainerManager.

(1) A tree without containers and TTL nodes has no deadline: an idle server sleeps.
(2) A znode that was filled, or is gone, in a txn still under way is left to the next time.
"""

from coordination.errors import KeeperError
from coordination.state.clock import Clock
from coordination.state.data_tree import DataTree
from coordination.state.prep import Prep
from coordination.state.proposals import Proposals
from coordination.state.znode import ttl_of_owner
from coordination.wire import opcodes


class ContainerManager:
    def __init__(self, tree: DataTree, prep: Prep, proposals: Proposals, clock: Clock, check_ms: int) -> None:
        """`check_ms`: how long between two looks."""
        self._tree = tree
        self._prep = prep
        self._proposals = proposals
        self._clock = clock
        self._check_ms = check_ms
        self._due_ms: int | None = None

    def next_deadline(self) -> int | None:
        """When `tick` has something to look at, in ms of `now_ms`."""
        if self._due_ms is None and (self._tree.containers or self._tree.ttls):
            self._due_ms = self._clock.now_ms + self._check_ms
        return self._due_ms

    def tick(self) -> None:
        if self._due_ms is not None and self._due_ms <= self._clock.now_ms:
            self._due_ms = None
            self._remove()

    def _remove(self) -> None:
        for path in self._candidates():
            try:
                body = self._prep.delete_container(path, self._proposals.zxid + 1)
            except KeeperError:
                continue
            self._proposals.propose(None, 0, 0, opcodes.DELETE_CONTAINER, body)

    def _candidates(self) -> list[str]:
        nodes, wall_ms = self._tree.nodes, self._clock.wall_ms
        found = [path for path in self._tree.containers if not nodes[path].child_count and nodes[path].creations > 0]
        for path in self._tree.ttls:
            node = nodes[path]
            if not node.child_count and wall_ms - node.mtime_ms > ttl_of_owner(node.owner):
                found.append(path)
        return found
