"""Topic verbs: create, list, describe and delete, for the control socket. They write znodes, as any client could, and
wait for the effect.

In: topic names and sizes. Out: znodes; what the cluster made of them. The znodes are the door: the controller acts on
what it sees there, never on a call.

(1) A topic is created with its replicas placed (by the controller's own placement); leaders are the controller's.
"""

import time
import uuid
from typing import TYPE_CHECKING, Any

import trio

import coordination
from brokerdemo import znodes
from brokerdemo.cluster.config_verbs import ANSWER_WITHIN_MS, as_text, read_config
from brokerdemo.cluster.control_server import Arguments, Conversation, Verb
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.control.placement import assign_new_topic
from brokerdemo.observe.events import Event

if TYPE_CHECKING:
    from brokerdemo.cluster.supervisor import Supervisor


class TopicVerbs:
    def __init__(self, supervisor: "Supervisor") -> None:
        self._sup = supervisor

    def verbs(self) -> dict[str, Verb]:
        return {
            "topics_create": self.topics_create,
            "topics_list": self.topics_list,
            "topics_describe": self.topics_describe,
            "topics_delete": self.topics_delete,
        }

    async def topics_list(self, talk: Conversation, said: dict[str, Any]) -> Any:
        return {"topics": (await self._sup.service.picture(must=True)).topics_json()}

    async def topics_describe(self, talk: Conversation, said: dict[str, Any]) -> Any:
        name = Arguments("topics_describe", said).text("name")
        picture = await self._sup.service.picture(must=True)
        if name not in picture.topics:
            raise no_topic(name, picture.topics)
        async with self._sup.service.client("topics describe") as zk:
            config, _version = await read_config(zk, znodes.topic_config_path(name))
        return {"name": name, "partitions": picture.partitions_json(name), "config": dict(config.config)}

    async def topics_create(self, talk: Conversation, said: dict[str, Any]) -> Any:
        ask = Arguments("topics_create", said)
        name = ask.text("name")
        partitions, rf = ask.whole("partitions", 6, least=1, most=10_000), ask.whole("rf", 3, least=1, most=200)
        within_ms = ask.ms("within_ms", ANSWER_WITHIN_MS)
        assert partitions is not None
        assert rf is not None
        assert within_ms is not None
        began_ns = time.monotonic_ns()
        since = self._sup.log.last_seq
        await self.create_topic(name, partitions, rf, ask.mapping("configs"))
        with trio.move_on_after(within_ms / 1000) as scope:
            await self.wait_led(name, partitions, since)
        picture = await self._sup.service.picture()
        result = {
            "name": name, "partitions": picture.partitions_json(name), "ms": round((time.monotonic_ns() - began_ns) /
            1e6, 3),
        }  # fmt: skip
        if scope.cancelled_caught:
            raise ClusterError(
                Code.TIMED_OUT, f"topic {name} is created, but not all of it is led within {within_ms:.0f} ms",
                "there may be no controller now", "brokerdemo status --wide", result=result,
            )  # fmt: skip
        return result

    async def create_topic(self, name: str, partitions: int, rf: int, configs: dict[str, Any] | None = None) -> None:
        """Place and write a topic; ClusterError 4 when it exists, 2 when it cannot be."""
        try:
            znodes.check_topic_name(name)
        except ValueError as error:
            raise ClusterError(Code.USAGE, str(error), "", "brokerdemo topics create orders") from None
        picture = await self._sup.service.picture(must=True)
        racks = {broker: worker.rack for broker, (worker, _czxid) in picture.workers.items()}
        try:
            existing = {key: p.replicas for key, p in picture.partitions.items()}
            placed = assign_new_topic(partitions, rf, racks, existing)
        except ValueError as error:
            raise ClusterError(
                Code.USAGE, f"topic {name} cannot be created", str(error), "brokerdemo topics create -r 1"
            ) from None
        topic = znodes.Topic(
            uuid.uuid4().hex, {number: znodes.ReplicaAssignment(replicas) for number, replicas in placed.items()}
        )
        async with self._sup.service.client("topics create") as zk:
            if configs:
                value = znodes.Config({k: as_text(v) for k, v in configs.items()}).encode()
                await zk.create(znodes.topic_config_path(name), value, makepath=True)
            try:
                await zk.create(znodes.topic_path(name), topic.encode(), makepath=True)
            except coordination.NodeExistsError:
                raise ClusterError(
                    Code.CONFLICT, f"topic {name} exists already", "", f"brokerdemo topics describe {name}"
                ) from None
        self._sup.log.emit("topic_created", topic=name, partitions=partitions, rf=rf)

    async def wait_led(self, name: str, partitions: int, since: int) -> None:
        """Wait until every partition of the topic has said leader_started, or its znode names a leader elsewhere."""
        here = self._sup.host.members.keys()
        left = set(range(partitions))
        if self._sup.embedded:
            await self._hear_leaders(name, left, since)
            return
        # Brokers of other hosts are heard through their znodes only.
        async with trio.open_nursery() as nursery:

            async def elsewhere(number: int) -> None:
                async with (
                    self._sup.service.client("topics create") as zk,
                    zk.watch_data(znodes.state_path(name, number)) as changes,
                ):
                    async for found in changes:
                        leader = znodes.PartitionState.decode(found[0]).leader if found else znodes.NO_LEADER
                        if leader >= 0 and leader not in here:
                            left.discard(number)
                            if not left:
                                nursery.cancel_scope.cancel()
                            return

            for number in range(partitions):
                nursery.start_soon(elsewhere, number)
            await self._hear_leaders(name, left, since)
            nursery.cancel_scope.cancel()

    async def _hear_leaders(self, name: str, left: set[int], since: int) -> None:
        async for record in self._sup.log.follow(since):
            event: Event = record.event
            if event["event"] == "leader_started" and event["topic"] == name:
                left.discard(event["partition"])
                if not left:
                    return

    async def topics_delete(self, talk: Conversation, said: dict[str, Any]) -> Any:
        ask = Arguments("topics_delete", said)
        name, within_ms = ask.text("name"), ask.ms("within_ms", ANSWER_WITHIN_MS)
        assert within_ms is not None
        picture = await self._sup.service.picture(must=True)
        if name not in picture.topics:
            raise no_topic(name, picture.topics)
        began_ns = time.monotonic_ns()
        async with self._sup.service.client("topics delete") as zk:
            try:
                await zk.create(znodes.delete_topic_path(name), b"", makepath=True)
            except coordination.NodeExistsError:
                pass  # asked for already; wait with whoever asked
            with trio.move_on_after(within_ms / 1000) as scope:
                async with zk.watch_exists(znodes.topic_path(name)) as changes:
                    async for stat in changes:
                        if stat is None:
                            break
        if scope.cancelled_caught:
            raise ClusterError(
                Code.TIMED_OUT, f"topic {name} is not gone within {within_ms:.0f} ms",
                "its deletion stays asked for; a controller is needed", "brokerdemo status",
            )  # fmt: skip
        return {"name": name, "ms": round((time.monotonic_ns() - began_ns) / 1e6, 3)}


def no_topic(name: str, known: list[str]) -> ClusterError:
    return ClusterError(
        Code.NOT_FOUND, f"no topic {name}", f"topics: {', '.join(known) or 'none'}", f"brokerdemo topics create {name}"
    )
