"""Behind the pytest fixtures: clusters by shape, their synchronous face, the clean-up after each test.

In: the shape a test asks for.  Out: `Brokers`, a cluster in its steady state. Imported when the first test asks, never
by the plugin itself. The synchronous verbs are the scenario's own, each in an event loop of its own for as long as it
takes: there is one meaning of `kill`, not two.
"""

import itertools
import os
import random
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import trio

from brokerdemo.cluster import launcher, layout
from brokerdemo.cluster.control import AsyncControlClient
from brokerdemo.cluster.errors import ClusterError
from brokerdemo.durations import parse_ms
from brokerdemo.scenario.dsl import WITHIN, Cluster
from brokerdemo.scenario.runner import fresh_cluster
from brokerdemo.scenario.view import ConfigChange, Fault, Recovery, Restarted, View
from brokerdemo.scenario.waiting import Event

_T = TypeVar("_T")


class Brokers:
    """A running cluster, for synchronous tests; `brokers.aio` is the same for trio."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.socket_path = layout.layout(name).socket_path
        self.aio = Cluster(AsyncControlClient(self.socket_path), rng=random.Random(seed))
        """The scenario's `Cluster`: `await brokers.aio.kill("controller")`, `async with brokers.aio.paused(3): ...`"""
        self._topics: list[str] = []

    def _run(self, verb: Callable[..., Awaitable[_T]], *args: Any, **kwargs: Any) -> _T:
        try:
            trio.lowlevel.current_trio_token()
        except RuntimeError:
            return trio.run(partial(verb, *args, **kwargs))
        raise RuntimeError(f"inside a trio test, await brokers.aio.{getattr(verb, '__name__', '...')}(...) instead")

    # ---- looking ----

    def view(self) -> View:
        """The cluster as it is now."""
        return self._run(self.aio.refresh)

    @property
    def controller(self) -> int:
        """Broker id of the controller, looked up now."""
        self.view()
        return self.aio.controller

    @property
    def bootstrap(self) -> str:
        """`host:port,...` of the live brokers, for a client of your own."""
        self.view()
        return self.aio.bootstrap

    @property
    def zookeeper(self) -> str:
        """Connect string of the coordination service behind the brokers."""
        self.view()
        return self.aio.zookeeper

    def leader(self, topic: str, partition: int) -> int | None:
        """Who leads a partition now; None when nobody does."""
        return self.view().leader(topic, partition)

    def isr(self, topic: str, partition: int) -> tuple[int, ...]:
        return self.view().isr(topic, partition)

    # ---- doing ----

    def topic(self, name: str, *, partitions: int = 3, rf: int = 3) -> str:
        """Make a topic for this test; returns its real name (unique), and it is deleted afterwards."""
        real = f"{name}-{uuid.uuid4().hex[:8]}"
        self._run(self.aio.create_topic, real, partitions=partitions, rf=rf)
        self._topics.append(real)
        return real

    def kill(self, target: int | str, *, signal: str = "KILL") -> Fault:
        """As `Cluster.kill`: returns at once; `recovered` waits."""
        return self._run(self.aio.kill, target, signal=signal)

    def kill_together(self, *targets: int | str) -> tuple[Fault, ...]:
        return self._run(self.aio.kill_together, *targets)

    def terminate(self, target: int | str) -> Fault:
        return self._run(self.aio.terminate, target)

    def pause(self, target: int | str, *, for_: str | None = None) -> Fault:
        return self._run(self.aio.pause, target, for_=for_)

    def resume(self, target: int | str) -> None:
        self._run(self.aio.resume, target)

    @contextmanager
    def paused(self, target: int | str) -> Iterator[Fault]:
        """Paused inside the block, resumed after it whatever happens."""
        fault = self.pause(target)
        try:
            yield fault
        finally:
            self.resume(fault.target)

    def restart(self, target: int | str, *, rolling: bool = False, clean: bool = False) -> tuple[Restarted, ...]:
        return self._run(self.aio.restart, target, rolling=rolling, clean=clean)

    def heal(self) -> None:
        self._run(self.aio.heal)

    def configure(self, scope: str, settings: Mapping[str, str]) -> ConfigChange:
        """Write settings; who applied them after how many ms, who refused."""
        return self._run(self.aio.config.set, scope, settings)

    # ---- waiting ----

    def recovered(self, fault: Fault, *, within: str = WITHIN) -> Recovery:
        return self._run(self.aio.recovered, fault, within=within)

    def steady(self, *, within: str = WITHIN) -> None:
        self._run(self.aio.steady, within=within)

    def in_sync(self, *, within: str = WITHIN) -> None:
        self._run(self.aio.in_sync, within=within)

    def until(self, holds: Callable[[View], bool], what: str, *, within: str = WITHIN) -> None:
        self._run(self.aio.until, holds, what, within=within)

    def event(self, name: str, *, within: str = WITHIN, **fields: Any) -> Event:
        return self._run(self.aio.event, name, within=within, **fields)

    def clean_up(self) -> str:
        """Heal, delete the test's topics, assert the steady state; what is wrong if that fails, else nothing."""
        try:
            self.heal()
            while self._topics:
                self._run(self.aio.delete_topic, self._topics.pop())
            self.steady()
        except (AssertionError, ClusterError) as error:
            self._topics.clear()
            return str(error)
        return ""


class Clusters:
    """The clusters of one pytest session, by shape."""

    def __init__(self, *, keep: bool = False) -> None:
        self._keep = keep
        self._by_shape: dict[str, tuple[Brokers, ExitStack]] = {}
        self._numbers = itertools.count(1)

    def get(self, **shape: Any) -> Brokers:
        """The cluster of this shape, started if there is none."""
        key = repr(sorted(shape.items()))
        if key not in self._by_shape:
            self._by_shape[key] = self._start(**shape)
        return self._by_shape[key][0]

    def _start(
        self,
        n: int = 5,
        session_timeout: str = "1500ms",
        topics: Mapping[str, tuple[int, int]] | None = None,
        certificates: bool = True,
        seed: int = 42,
    ) -> tuple[Brokers, ExitStack]:
        # The worker's name keeps xdist's processes apart in logs; the pid alone would do for safety.
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        name = f"pytest-{worker}-{os.getpid()}-{next(self._numbers)}"
        specs = None
        if topics is not None:
            specs = tuple(launcher.TopicSpec(name=t, partitions=p, rf=rf) for t, (p, rf) in topics.items())
        options = launcher.UpOptions(
            name=name, brokers=n, session_timeout_ms=parse_ms(session_timeout), topics=specs, base_port=0, seed=seed,
            certificates=certificates,
        )  # fmt: skip
        stack = ExitStack()
        if self._keep:
            for _ in launcher.start(options):
                pass
            stack.callback(print, f"\nkept: brokerdemo status --cluster {name}")
        else:
            stack.enter_context(fresh_cluster(options))
        return Brokers(name, seed), stack

    def clean_up(self, brokers: Brokers) -> str:
        """After a test. A cluster that cannot be made whole is thrown away, so that the next test gets a new one."""
        trouble = brokers.clean_up()
        if trouble:
            for shape, (known, stack) in list(self._by_shape.items()):
                if known is brokers:
                    del self._by_shape[shape]
                    stack.close()
        return trouble

    def close(self) -> None:
        while self._by_shape:
            _, (_, stack) = self._by_shape.popitem()
            stack.close()


# ---- the coordination service alone ----------------------------------------------------------------------------------


@dataclass(slots=True)
class ZooKeeper:
    """A coordination service: `hosts` is a connect string for any ZooKeeper client."""

    hosts: str
    external: bool = False
    _tests: int = 0

    @contextmanager
    def for_test(self) -> Iterator["ZooKeeper"]:
        """The same service under a chroot of its own, removed afterwards: tests do not see each other's znodes."""
        from kazoo.client import KazooClient

        self._tests += 1
        root = f"/pytest-{os.getpid()}-{self._tests}"
        client: Any = KazooClient(self.hosts)  # type: ignore[no-untyped-call]
        client.start()
        try:
            client.create(root)
            yield ZooKeeper(self.hosts + root, self.external)
            client.delete(root, recursive=True)
        finally:
            client.stop()
            client.close()


@contextmanager
def zookeeper_server() -> Iterator[ZooKeeper]:
    """Our own server, in memory, on a port the system chooses."""
    from coordination.testing.server import serve

    with serve() as server:
        yield ZooKeeper(server.connect)
