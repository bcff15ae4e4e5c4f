"""What this broker leads and follows: /topics watched, roles taken at the leader epochs found there.

In:  changes of /topics, of a topic's assignment, of the state of each partition this broker holds a replica of.
Out: `Roles`, and the events leader_started and follower_started. Decides nothing: the controller did. Answers to
Kafka's ReplicaManager.becomeLeaderOrFollower.

(1) Level-triggered: what is read is what is done; a change missed in between was not needed.
(2) A role is taken at a higher leader epoch than the last one only; the epochs outlive sessions and fences.
(3) A state that counts this broker in under an older broker epoch is from before it was away: nothing is led on it.
(4) A topic deleted and made again is another topic (its id differs), so its epochs start again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import trio

import coordination
from brokerdemo import znodes
from brokerdemo.broker.channel import Channel
from brokerdemo.znodes import NO_LEADER, PartitionState, Topic, ZnodeValueError


@dataclass(frozen=True, slots=True)
class Role:
    """This broker's part in one partition. `leader` -1: nobody leads."""

    leader: int
    leader_epoch: int


class Roles:
    """What one broker process does, over all of its sessions. Keys: (topic, partition)."""

    def __init__(self, broker_id: int, channel: Channel) -> None:
        self._broker_id = broker_id
        self._channel = channel
        self._roles: dict[tuple[str, int], Role] = {}
        self._epochs: dict[tuple[str, str, int], int] = {}

    @property
    def leads(self) -> list[tuple[str, int]]:
        return sorted(where for where, role in self._roles.items() if role.leader == self._broker_id)

    @property
    def held(self) -> Mapping[tuple[str, int], Role]:
        return self._roles

    def take(self, topic: str, topic_id: str, partition: int, state: PartitionState, broker_epoch: int) -> None:
        """Act on a state that was read, if it is news."""
        key = (topic, topic_id, partition)
        if state.leader_epoch <= self._epochs.get(key, -1):
            return
        mine = state.leader == self._broker_id
        if mine and state.broker_epochs.get(self._broker_id, broker_epoch) != broker_epoch:
            return
        self._epochs[key] = state.leader_epoch
        self._roles[topic, partition] = Role(state.leader, state.leader_epoch)
        about = {"topic": topic, "partition": partition, "leader_epoch": state.leader_epoch}
        if mine:
            self._channel.emit("leader_started", **about)
        elif state.leader != NO_LEADER:
            self._channel.emit("follower_started", **about, leader=state.leader)

    def drop(self, topic: str, partition: int) -> None:
        """The replica is not here any more."""
        self._roles.pop((topic, partition), None)

    def forget_topic(self, topic: str) -> None:
        for where in [w for w in self._roles if w[0] == topic]:
            del self._roles[where]
        for key in [k for k in self._epochs if k[0] == topic]:
            del self._epochs[key]


class PartitionsWatch:
    """Watches for one session."""

    def __init__(self, zk: "coordination.Client", roles: Roles, channel: Channel, broker_id: int, epoch: int) -> None:
        self._zk = zk
        self._roles = roles
        self._channel = channel
        self._broker_id = broker_id
        self._broker_epoch = epoch
        self._topics: dict[str, trio.CancelScope] = {}
        self.known: dict[str, frozenset[int]] = {}  # partitions of every topic, as last seen

    async def run(self) -> None:
        """Runs until cancelled or the session is over (`SessionExpiredError`)."""
        async with trio.open_nursery() as nursery, self._zk.watch_children(znodes.TOPICS) as changes:
            async for names in changes:
                present = set(names or ())
                for name in present - self._topics.keys():
                    self._topics[name] = trio.CancelScope()
                    nursery.start_soon(self._topic, name, self._topics[name])
                for name in self._topics.keys() - present:
                    self._topics.pop(name).cancel()
                    self.known.pop(name, None)
                    self._roles.forget_topic(name)

    async def _topic(self, name: str, scope: trio.CancelScope) -> None:
        path = znodes.topic_path(name)
        partitions: dict[int, trio.CancelScope] = {}
        topic_id = ""
        with scope:
            async with trio.open_nursery() as nursery, self._zk.watch_data(path) as changes:
                async for item in changes:
                    if item is None:
                        continue  # the watch on /topics ends this
                    try:
                        topic = Topic.decode(item[0], path)
                    except ZnodeValueError as error:
                        self._refused(error)
                        continue
                    again = topic_id not in ("", topic.topic_id)
                    topic_id = topic.topic_id
                    self.known[name] = frozenset(topic.partitions)
                    mine = {p for p, a in topic.partitions.items() if self._broker_id in a.replicas}
                    for partition in [p for p in partitions if again or p not in mine]:
                        partitions.pop(partition).cancel()
                        self._roles.drop(name, partition)
                    for partition in mine - partitions.keys():
                        partitions[partition] = trio.CancelScope()
                        nursery.start_soon(self._partition, name, topic_id, partition, partitions[partition])

    async def _partition(self, topic: str, topic_id: str, partition: int, scope: trio.CancelScope) -> None:
        path = znodes.state_path(topic, partition)
        with scope:
            async with self._zk.watch_data(path) as changes:
                async for item in changes:
                    if item is None:
                        self._roles.drop(topic, partition)
                        continue
                    try:
                        state = PartitionState.decode(item[0], path)
                    except ZnodeValueError as error:
                        self._refused(error)
                        continue
                    self._roles.take(topic, topic_id, partition, state, self._broker_epoch)

    def _refused(self, error: ZnodeValueError) -> None:
        self._channel.log(
            "error", "znode_refused", znode=error.znode, key=error.key, value=repr(error.value), reason=error.reason
        )
