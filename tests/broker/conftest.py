"""Brokers against a coordination server that is a real process: ours, and with `-m peers` Apache ZooKeeper.

Most brokers of these tests run in the test's own process, each with a session of its own; those that are stopped with a
signal or have to die run as processes of their own (`child`).
"""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio

import coordination
from brokerdemo import znodes
from brokerdemo.broker.channel import Channel
from brokerdemo.broker.main import Broker
from brokerdemo.broker.options import BrokerOptions
from brokerdemo.observe import events as vocabulary
from brokerdemo.znodes import PartitionState, ReplicaAssignment, Topic
from coordination.testing import apache, server

SESSION_TIMEOUT_MS = 1500
PATIENCE_S = 40.0

Said = dict[str, Any]


class Events:
    """What brokers said, in the order it was heard."""

    def __init__(self) -> None:
        self.heard: list[Said] = []
        self._news = trio.Event()

    def hear(self, said: Said) -> None:
        assert vocabulary.problems(said) == []
        self.heard.append(said)
        self._news.set()

    def all(self, since: int = 0, **pattern: object) -> list[Said]:
        return [said for said in self.heard[since:] if vocabulary.matches(said, pattern)]

    async def first(self, since: int = 0, **pattern: object) -> Said:
        """The first event that matches, waiting for it."""
        await self.until(lambda: bool(self.all(since, **pattern)), f"{pattern}")
        return self.all(since, **pattern)[0]

    async def until(self, reached: Callable[[], bool], what: str = "it") -> None:
        with trio.move_on_after(PATIENCE_S) as patience:
            while not reached():
                await self._news.wait()
                self._news = trio.Event()
        if patience.cancelled_caught:
            lines = "\n".join(f"{said['source']} {said['event']} {vocabulary.text(said)}" for said in self.heard)
            raise AssertionError(f"{what} did not happen within {PATIENCE_S} s; heard:\n{lines}")


class Running:
    """A broker in this process."""

    def __init__(self, options: BrokerOptions) -> None:
        self.options = options
        self.events = Events()
        self.channel = Channel(options.broker_id)
        self.channel.listeners.append(self.events.hear)
        self.broker = Broker(options, self.channel)
        self.stop = trio.Event()
        self.ended = trio.Event()
        self.code: int | None = None

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.channel.drain)
            self.code = await self.broker.run(self.stop)
            nursery.cancel_scope.cancel()
        self.ended.set()

    async def stopped(self) -> int | None:
        self.stop.set()
        await self.ended.wait()
        return self.code


class Child:
    """A broker as a process, with its channel."""

    def __init__(self, options: BrokerOptions, events: Events) -> None:
        self.options = options
        self.events = Events()
        self._all = events
        self.certificate: Said | None = None
        ours, theirs = socket.socketpair()
        with theirs:
            said = {f: getattr(options, f) for f in options.__slots__} | {"channel_fd": theirs.fileno()}
            program = (
                "import sys; from brokerdemo.broker.main import run;"
                "from brokerdemo.broker.options import BrokerOptions;"
                f"sys.exit(run(BrokerOptions(**{said!r})))"
            )
            self.process = subprocess.Popen([sys.executable, "-c", program], pass_fds=[theirs.fileno()])
        self.channel = trio.socket.from_stdlib_socket(ours)

    async def listen(self) -> None:
        buffer = b""
        while data := await self.channel.recv(65536):
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                said = json.loads(line)
                if "certificate" in said:
                    self.certificate = said["certificate"]
                else:
                    self.events.hear(said)
                    self._all.hear(said)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        with trio.fail_after(PATIENCE_S):
            return await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)


class Cluster:
    """Brokers of one test, in a chroot of their own."""

    def __init__(self, connect: str, nursery: trio.Nursery, zk: coordination.Client) -> None:
        self.connect = connect
        self.zk = zk
        self.events = Events()
        self.brokers: dict[int, Running] = {}
        self.children: list[Child] = []
        self._nursery = nursery

    def start(self, broker_id: int, **options: Any) -> Running:
        """A broker in this process."""
        running = Running(self.options(broker_id, **options))
        running.channel.listeners.append(self.events.hear)
        self.brokers[broker_id] = running
        self._nursery.start_soon(running.run)
        return running

    async def up(self, *broker_ids: int) -> None:
        """Start brokers and wait until each is registered."""
        for broker_id in broker_ids:
            self.start(broker_id)
        for broker_id in broker_ids:
            await self.brokers[broker_id].events.first(event="broker_registered")

    def child(self, broker_id: int, **options: Any) -> Child:
        """A broker as a process."""
        child = Child(self.options(broker_id, **options), self.events)
        self.children.append(child)
        self._nursery.start_soon(child.listen)
        return child

    def options(self, broker_id: int, **options: Any) -> BrokerOptions:
        merged = {"session_timeout_ms": SESSION_TIMEOUT_MS, "owner": f"owner-{broker_id}", **options}
        return BrokerOptions(broker_id=broker_id, connect=self.connect, **merged)

    async def topic(self, name: str, *replicas: tuple[int, ...]) -> None:
        """Create a topic and wait until every partition is led."""
        assigned = {p: ReplicaAssignment(r) for p, r in enumerate(replicas)}
        since = len(self.events.heard)
        await self.zk.create(znodes.topic_path(name), Topic(uuid4().hex, assigned).encode())
        for partition in assigned:
            await self.events.first(since, event="leader_started", topic=name, partition=partition)

    async def state(self, topic: str, partition: int) -> PartitionState:
        return PartitionState.decode((await self.zk.get(znodes.state_path(topic, partition)))[0])

    async def becomes(self, topic: str, partition: int, right: Callable[[PartitionState], bool]) -> PartitionState:
        """The partition's state once it is right."""
        with trio.fail_after(PATIENCE_S):
            async with self.zk.watch_data(znodes.state_path(topic, partition)) as changes:
                async for item in changes:
                    if item is not None and right(state := PartitionState.decode(item[0])):
                        return state
        raise AssertionError("unreachable")


def _start(name: str, data_dir: Path | None) -> Any:
    if name == "ours":
        return server.serve(data_dir)
    reason = apache.why_unavailable()
    if reason:
        pytest.skip(reason)
    return apache.standalone(tick_time_ms=200)


SERVERS = ["ours", pytest.param("apache", marks=pytest.mark.peers)]


@pytest.fixture(scope="session", params=SERVERS)
def shared(request: pytest.FixtureRequest) -> Iterator[Any]:
    """One server for all tests that do it no harm."""
    with _start(request.param, None) as running:
        yield running


@pytest.fixture(params=SERVERS)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A server to kill and restart; it keeps its data."""
    with _start(request.param, tmp_path / "data") as running:
        yield running


@contextmanager
def _ended(cluster: Cluster) -> Iterator[None]:
    try:
        yield
    finally:
        for child in cluster.children:
            child.process.kill()
            child.process.wait()
            child.channel.close()


async def _cluster(connect: str) -> AsyncIterator[Cluster]:
    chroot = f"/test-{uuid4().hex[:8]}"
    async with coordination.connect(connect, session_timeout_ms=10_000) as outside:
        await outside.create(chroot)
    async with (
        coordination.connect(connect + chroot, session_timeout_ms=10_000) as zk,
        trio.open_nursery() as nursery,
    ):
        cluster = Cluster(connect + chroot, nursery, zk)
        with _ended(cluster):
            yield cluster
            for running in cluster.brokers.values():
                running.stop.set()
            for running in cluster.brokers.values():
                await running.ended.wait()
            nursery.cancel_scope.cancel()


@pytest.fixture
async def cluster(shared: Any) -> AsyncIterator[Cluster]:
    """No brokers yet, on the shared server."""
    async for made in _cluster(shared.connect):
        yield made


@pytest.fixture
async def own_cluster(own: Any) -> AsyncIterator[Cluster]:
    """No brokers yet, on a server of its own."""
    async for made in _cluster(own.connect):
        yield made
