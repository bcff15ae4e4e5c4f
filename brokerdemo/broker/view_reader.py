"""Reads the controller's view of the cluster from the znodes, and keeps it between two looks.

In:  a session.  Out: `ClusterView`s. Decides nothing. Answers to Kafka's KafkaController.initializeControllerContext.

(1) `everything` reads all of it; the others read again what a watch said may have changed.
(2) Requests go out side by side: a look costs as many round trips as the znodes are deep, not as many as there are.
    `known` says which partitions this broker knew of; their states are asked for without waiting for the topic's value.
    It is a guess about what to read and nothing else: what is planned on is read, after the election.
(3) What this controller wrote itself is taken over with the versions the service answered (`wrote`), so the next step
    needs no reading. Every write checks those versions: a wrong one is refused, and then everything is read again.
(4) A value that cannot be used is told once and left out; it stops neither the reader nor the controller.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

import trio

import coordination
from brokerdemo import znodes
from brokerdemo.control.model import (
    Broker,
    ClusterView,
    ControllerSettings,
    Create,
    Delete,
    Operation,
    Set,
    TopicView,
)
from brokerdemo.znodes import PartitionState, ReassignRequest, Topic, Worker, ZnodeValueError


class ViewReader:
    """The cluster as last read by one controller."""

    def __init__(
        self,
        zk: "coordination.Client",
        refused: Callable[[ZnodeValueError], None],
        known: Callable[[], Mapping[str, Collection[int]]] = dict,
    ) -> None:
        self._zk = zk
        self._known = known
        self._tell = refused
        self._told: set[str] = set()
        self._brokers: dict[int, Broker] = {}
        self._topics: dict[str, TopicView] = {}
        self._mzxids: dict[str, int] = {}
        self._deletions: frozenset[str] = frozenset()
        self._topic_configs: frozenset[str] = frozenset()
        self._reassign: ReassignRequest | ZnodeValueError | None = None

    def view(self, master_epoch_version: int, settings: ControllerSettings) -> ClusterView:
        return ClusterView(
            master_epoch_version,
            dict(self._brokers),
            dict(self._topics),
            self._deletions,
            self._topic_configs,
            self._reassign,
            settings,
        )

    def topic_mzxid(self, name: str) -> int | None:
        """The zxid of a topic's value as last read; unlike its version it tells a topic from one made again."""
        return self._mzxids.get(name)

    async def everything(self, *, urgent: bool = False) -> None:
        """All of it. `urgent` leaves out the request to move replicas: no death waits for an operator."""
        self._topics.clear()
        reads = [self.workers, self.all_topics, self.deletions]
        await side_by_side(reads if urgent else [*reads, self.reassign])
        await self.topics(self._deletions & self._topics.keys())

    async def workers(self) -> None:
        names = await self._children(znodes.WORKERS)
        ids = [number for name in names if (number := znodes.parse_id(name)) is not None]
        found: dict[int, Broker] = {}

        async def read(broker_id: int) -> None:
            path = znodes.worker_path(broker_id)
            try:
                value, stat = await self._zk.get(path)
                found[broker_id] = Broker(broker_id, stat.czxid, Worker.decode(value, path))
            except coordination.NoNodeError:
                pass
            except ZnodeValueError as error:
                self._refuse(error)

        await side_by_side([_bound(read, broker_id) for broker_id in ids])
        self._brokers = found

    async def all_topics(self) -> None:
        names = await self._children(znodes.TOPICS)
        for gone in self._topics.keys() - set(names):
            del self._topics[gone]
        await self.topics(names)

    async def topics(self, names: Iterable[str]) -> None:
        await side_by_side([_bound(self._topic, name) for name in names])

    async def requests(self) -> None:
        """What operators ask for: deletions and moves."""
        await side_by_side([self.deletions, self.reassign])
        await self.topics(self._deletions & self._topics.keys())

    async def deletions(self) -> None:
        names = await self._children(znodes.DELETE_TOPICS)
        self._topic_configs = frozenset(await self._children(znodes.CONFIG_TOPICS)) if names else frozenset()
        self._deletions = frozenset(names)

    async def reassign(self) -> None:
        try:
            value, _ = await self._zk.get(znodes.REASSIGN_PARTITIONS)
            self._reassign = ReassignRequest.decode(value)
        except coordination.NoNodeError:
            self._reassign = None
        except ZnodeValueError as error:
            self._reassign = error  # the controller answers it

    async def _topic(self, name: str) -> None:
        path = znodes.topic_path(name)
        topic: Topic | None = None
        version = -1
        states: dict[int, tuple[PartitionState, int]] = {}
        unreadable: set[int] = set()

        async def value() -> None:
            nonlocal topic, version
            try:
                data, stat = await self._zk.get(path)
                version, self._mzxids[name] = stat.version, stat.mzxid
                topic = Topic.decode(data, path)
            except coordination.NoNodeError:
                pass
            except ZnodeValueError as error:
                self._refuse(error)

        async def state(partition: int) -> None:
            where = znodes.state_path(name, partition)
            try:
                data, stat = await self._zk.get(where)
                states[partition] = (PartitionState.decode(data, where), stat.version)
            except coordination.NoNodeError:
                pass
            except ZnodeValueError as error:
                unreadable.add(partition)
                self._refuse(error)

        guess = set(self._known().get(name, ()))
        await side_by_side([value, *(_bound(state, partition) for partition in sorted(guess))])
        if version < 0 or (topic is None and name not in self._deletions):
            self._topics.pop(name, None)
            return
        topic = topic or Topic("")
        await side_by_side([_bound(state, partition) for partition in topic.partitions if partition not in guess])
        found = states.keys() | unreadable
        partitions_node, partition_nodes = True, frozenset(found)
        if not topic.partitions.keys() <= found or name in self._deletions or not found:
            # New, half made or half deleted: which znodes there are matters now.
            try:
                listed = await self._zk.children(znodes.partitions_path(name))
            except coordination.NoNodeError:
                partitions_node, listed = False, []
            partition_nodes = frozenset(n for child in listed if (n := znodes.parse_id(child)) is not None)
            more = sorted(partition_nodes - found)
            await side_by_side([_bound(state, partition) for partition in more])
        self._topics[name] = TopicView(
            topic, version, partitions_node, partition_nodes, dict(sorted(states.items())), frozenset(unreadable)
        )

    async def _children(self, path: str) -> list[str]:
        try:
            return await self._zk.children(path)
        except coordination.NoNodeError:
            return []

    def _refuse(self, error: ZnodeValueError) -> None:
        if str(error) not in self._told:
            self._told.add(str(error))
            self._tell(error)

    # ---- own writes --------------------------------------------------------------------------------------------------

    def wrote(self, operations: Sequence[Operation], results: "Sequence[str | coordination.Stat | bool]") -> bool:
        """Take over what a multi of ours changed. False: it touched what is not kept here; read again."""
        known = True
        for operation, result in zip(operations, results, strict=True):
            match operation:
                case Set(path, value, _) | Create(path, value) if where := znodes.partition_of_state_path(path):
                    name, partition = where
                    topic = self._topics[name]
                    version = result.version if isinstance(result, coordination.Stat) else 0
                    states = {**topic.states, partition: (PartitionState.decode(value, path), version)}
                    self._topics[name] = TopicView(
                        topic.topic, topic.version, True, topic.partition_nodes | {partition}, states, topic.unreadable
                    )
                case Set() | Delete():
                    known = False
                case _:
                    pass  # parents, and the check
        return known


async def side_by_side(reads: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Runs all of them at once; their requests share the connection."""
    if len(reads) <= 1:
        for read in reads:
            await read()
        return
    async with trio.open_nursery() as nursery:
        for read in reads:
            nursery.start_soon(read)


def _bound(read: Callable[..., Awaitable[None]], argument: int | str) -> Callable[[], Awaitable[None]]:
    async def call() -> None:
        await read(argument)

    return call
