"""Znode view: the cluster as its znodes say, read in one sweep; and the little that is known without them.

In: a connected client. Out: a `Picture`, plain data. What cannot be read (a topic deleted meanwhile, a value written by
hand) is left out or named in `problems`, never guessed. Knows nothing of processes.

(1) A picture is not a snapshot: znodes are read one by one. Nothing is decided by it but what to show and whom to
    signal.
(2) Reads of one sweep are sent together, so a sweep costs a few round trips whatever the number of partitions.
"""

import time
from dataclasses import dataclass, field
from typing import Any

import trio

import coordination
from brokerdemo import znodes
from brokerdemo.observe.events import Event, partition_name

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Partition:
    replicas: tuple[int, ...]
    leader: int
    leader_epoch: int
    isr: tuple[int, ...]


@dataclass(slots=True)
class Picture:
    """What the znodes said at `read_ns`."""

    read_ns: int = 0
    controller: tuple[int, int] | None = None
    """Broker id and controller epoch."""
    workers: dict[int, tuple[znodes.Worker, int]] = field(default_factory=dict)
    """id -> what it registered, and its czxid, the broker epoch."""
    partitions: dict[Key, Partition] = field(default_factory=dict)
    topics: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    """The znodes `problems` is about."""

    def led_by(self, broker: int) -> dict[str, int]:
        """Partitions it leads, with their leader epochs."""
        return {partition_name(*key): p.leader_epoch for key, p in self.partitions.items() if p.leader == broker}

    def followed_by(self, broker: int) -> list[str]:
        """Partitions it follows in sync."""
        return [partition_name(*k) for k, p in self.partitions.items() if p.leader != broker and broker in p.isr]

    def out_of_sync(self, broker: int) -> list[str]:
        """Partitions it should hold and is not in sync with."""
        return [partition_name(*k) for k, p in self.partitions.items() if broker in p.replicas and broker not in p.isr]

    def topics_json(self) -> list[dict[str, Any]]:
        """`topics` of `brokerdemo.status/1`."""
        return [{"name": topic, "partitions": self.partitions_json(topic)} for topic in self.topics]

    def partitions_json(self, topic: str) -> list[dict[str, Any]]:
        """One topic's partitions, in order."""
        return [
            {
                "partition": number,
                "leader": p.leader,
                "leader_epoch": p.leader_epoch,
                "replicas": list(p.replicas),
                "isr": list(p.isr),
            }
            for (name, number), p in sorted(self.partitions.items())
            if name == topic
        ]

    def degraded(self) -> dict[str, int]:
        """How many partitions there are, and how many lack a replica or a leader."""
        parts = self.partitions.values()
        return {
            "partitions": len(parts),
            "under_replicated": sum(1 for p in parts if set(p.replicas) - set(p.isr)),
            "offline": sum(1 for p in parts if p.leader < 0),
        }


async def read(zk: coordination.Client) -> Picture:
    """One sweep over /master, /workers and /topics; raises the client's errors when the service does not answer."""
    picture = Picture(read_ns=time.monotonic_ns())

    async def master() -> None:
        if (found := await _get(zk, znodes.MASTER)) is not None:
            said = _decoded(picture, znodes.Master.decode, found[0], znodes.MASTER)
            picture.controller = None if said is None else (said.broker, said.controller_epoch)

    async def worker(name: str) -> None:
        broker = znodes.parse_id(name)
        path = f"{znodes.WORKERS}/{name}"
        if broker is not None and (found := await _get(zk, path)) is not None:
            said = _decoded(picture, znodes.Worker.decode, found[0], path)
            if said is not None:
                picture.workers[broker] = (said, found[1].czxid)

    async def topic(name: str) -> None:
        path = znodes.topic_path(name)
        if (found := await _get(zk, path)) is None:
            return
        said = _decoded(picture, znodes.Topic.decode, found[0], path)
        if said is None:
            return
        picture.topics.append(name)
        async with trio.open_nursery() as nursery:
            for number, assigned in said.partitions.items():
                nursery.start_soon(partition, (name, number), assigned.replicas)

    async def partition(key: Key, replicas: tuple[int, ...]) -> None:
        path = znodes.state_path(*key)
        found = await _get(zk, path)
        state = None if found is None else _decoded(picture, znodes.PartitionState.decode, found[0], path)
        if state is None:
            picture.partitions[key] = Partition(replicas, znodes.NO_LEADER, 0, ())
        else:
            picture.partitions[key] = Partition(replicas, state.leader, state.leader_epoch, tuple(state.isr))

    async def under(parent: str, one: Any) -> None:
        try:
            names = await zk.children(parent)
        except coordination.NoNodeError:
            return
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(one, name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(master)
        nursery.start_soon(under, znodes.WORKERS, worker)
        nursery.start_soon(under, znodes.TOPICS, topic)
    picture.topics.sort()
    return picture


async def _get(zk: coordination.Client, path: str) -> tuple[bytes, coordination.Stat] | None:
    try:
        return await zk.get(path)
    except coordination.NoNodeError:
        return None


def _decoded(picture: Picture, decode: Any, value: bytes, path: str) -> Any:
    try:
        return decode(value, path)
    except znodes.ZnodeValueError as error:
        picture.problems.append(str(error))
        picture.unreadable.add(error.znode)
        return None


class Heard:
    """What the events of this host's brokers say, for when the znodes cannot be asked, or not in time.

    Complete while all brokers of the cluster run here; a part of the truth otherwise.
    """

    def __init__(self) -> None:
        self.controller: tuple[int, int] | None = None
        self._roles: dict[Key, tuple[int, int]] = {}
        self._following: dict[Key, set[int]] = {}

    def listen(self, event: Event) -> None:
        """A listener of the event log."""
        match event["event"]:
            case "controller_elected":
                if self.controller is None or event["controller_epoch"] >= self.controller[1]:
                    self.controller = (event["broker"], event["controller_epoch"])
            case "leader_started" | "follower_started" as name:
                key = (event["topic"], event["partition"])
                broker, epoch = event["broker"], event["leader_epoch"]
                following = self._following.setdefault(key, set())
                if name == "follower_started":
                    following.add(broker)
                elif key not in self._roles or epoch >= self._roles[key][1]:
                    self._roles[key] = (broker, epoch)
                    following.discard(broker)
            case "partition_offline":
                self._roles.pop((event["topic"], event["partition"]), None)
            case "broker_lost":
                for followers in self._following.values():
                    followers.discard(event["broker"])
            case "topic_deleted":
                for key in [key for key in self._roles if key[0] == event["topic"]]:
                    self._roles.pop(key)
                    self._following.pop(key, None)

    def picture(self) -> Picture:
        """The same as a `Picture`; replicas are those who follow or lead."""
        found = Picture(read_ns=time.monotonic_ns(), controller=self.controller)
        for key, (leader, epoch) in self._roles.items():
            isr = (leader, *sorted(self._following.get(key, set()) - {leader}))
            found.partitions[key] = Partition(isr, leader, epoch, isr)
        found.topics = sorted({topic for topic, _ in self._roles})
        return found
