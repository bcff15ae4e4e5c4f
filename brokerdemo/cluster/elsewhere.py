"""Elsewhere: what brokers of other hosts do, read off the znodes, so that a fault here is followed to its end there.

In: watches on /workers, /master and /topics. Out: the events a local broker would have sent, with `source: znodes`.
Runs only with `--connect`: brokers of an embedded service are all ours, and speak for themselves.

(1) Only what a process elsewhere would have said is said for it: the acting controller's and the leaders' events.
(2) Such an event is stamped when the znode's change arrived here: a little later than it happened, never earlier. For
    `leader_started` it means that the leader is chosen and committed, not that it has begun (`certainty: committed`).
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

import coordination
from brokerdemo import znodes
from brokerdemo.cluster.members import Host
from brokerdemo.observe.events import Event, partition_name

SOURCE = "znodes"


class Elsewhere:
    """Watches an ensemble shared with other hosts."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._controller: tuple[int, int] | None = None

    def _is_here(self, broker: int) -> bool:
        return broker in self._host.members

    @property
    def _controller_elsewhere(self) -> bool:
        return self._controller is not None and not self._is_here(self._controller[0])

    def _say(self, name: str, **fields: Any) -> None:
        event: Event = {
            "event": name,
            "t_ns": time.monotonic_ns(),
            "source": SOURCE,
            "certainty": "committed",
            **fields,
        }
        self._host.complete(event)
        self._host.log.append(event)

    async def run(self, zk: coordination.Client) -> None:
        """Follow everything that is not ours, as long as the session lives (then: a group with its error)."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._master, zk)
            nursery.start_soon(self._workers, zk)
            nursery.start_soon(self._children, zk, znodes.TOPICS, self._topic)

    async def _master(self, zk: coordination.Client) -> None:
        async with zk.watch_data(znodes.MASTER) as changes:
            async for found in changes:
                master = _decoded(znodes.Master.decode, found)
                if master is None:
                    continue
                self._controller = (master.broker, master.controller_epoch)
                if not self._is_here(master.broker):
                    self._say("controller_elected", broker=master.broker, controller_epoch=master.controller_epoch)

    async def _workers(self, zk: coordination.Client) -> None:
        before: set[int] = set()
        async with zk.watch_children(znodes.WORKERS) as changes:
            async for names in changes:
                now = {broker for name in names or () if (broker := znodes.parse_id(name)) is not None}
                if self._controller_elsewhere:
                    for broker in sorted(before - now):
                        self._say("broker_lost", broker=broker, by="unknown")
                before = now

    async def _children(
        self, zk: coordination.Client, parent: str, follow: Callable[[coordination.Client, str], Awaitable[None]]
    ) -> None:
        """One task per child, as long as the child is there."""
        running: dict[str, trio.CancelScope] = {}

        async def one(name: str, scope: trio.CancelScope) -> None:
            with scope:
                await follow(zk, name)

        async with trio.open_nursery() as nursery, zk.watch_children(parent) as changes:
            async for names in changes:
                present = set(names or ())
                for gone in running.keys() - present:
                    running.pop(gone).cancel()
                for new in sorted(present - running.keys()):
                    running[new] = trio.CancelScope()
                    nursery.start_soon(one, new, running[new])

    async def _topic(self, zk: coordination.Client, topic: str) -> None:
        async def partition(zk: coordination.Client, name: str) -> None:
            number = znodes.parse_id(name)
            if number is not None:
                await self._partition(zk, topic, number)

        await self._children(zk, znodes.partitions_path(topic), partition)

    async def _partition(self, zk: coordination.Client, topic: str, number: int) -> None:
        told: tuple[int, int] | None = None
        about = {"topic": topic, "partition": number}
        async with zk.watch_data(znodes.state_path(topic, number)) as changes:
            async for found in changes:
                state = _decoded(znodes.PartitionState.decode, found)
                if state is None or (state.leader, state.leader_epoch) == told:
                    continue
                first, told = told is None, (state.leader, state.leader_epoch)
                if self._controller_elsewhere and not first:
                    written = [partition_name(topic, number)]
                    self._say("assignment_written", controller_epoch=state.controller_epoch, partitions=written)
                if state.leader == znodes.NO_LEADER:
                    if self._controller_elsewhere:
                        self._say("partition_offline", **about, isr=list(state.isr))
                elif not self._is_here(state.leader):
                    self._say("leader_started", broker=state.leader, **about, leader_epoch=state.leader_epoch)


def _decoded(decode: Callable[..., Any], found: tuple[bytes, coordination.Stat] | None) -> Any:
    """The value read; None when it is not there, or cannot be used: status names that one."""
    if found is None:
        return None
    try:
        return decode(found[0])
    except znodes.ZnodeValueError:
        return None
