"""Startup: from the lock to the last partition led, step by step, and where the time went.

In: a supervisor whose parts exist. Out: a running cluster, and the result of `up`. Each step waits for its event:
nothing is polled, nothing slept.

(1) Brokers are forked when the coordination service serves, all at once; they register side by side.
(2) The first error ends the start; undoing it is the supervisor's.
"""

import datetime
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import brokerdemo
import coordination
from brokerdemo import znodes
from brokerdemo.cluster import ports
from brokerdemo.cluster.coordinator import Coordinator
from brokerdemo.cluster.elsewhere import Elsewhere
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.cluster.launcher import DEFAULT_BASE_PORT, DEFAULT_COORDINATION_PORT, TopicSpec
from brokerdemo.cluster.members import Member, start_failed
from brokerdemo.cluster.topic_verbs import TopicVerbs

if TYPE_CHECKING:
    from brokerdemo.cluster.supervisor import Supervisor

Tell = Callable[[str, str, float], Awaitable[None]]
"""Tells one finished step: its name, its detail, ms since `up` was asked."""


class Startup:
    """One start. `asked_ns` is when `up` was asked for; `marks` are instants of the time before the supervisor."""

    def __init__(self, supervisor: "Supervisor", asked_ns: int, marks: dict[str, int], tell: Tell) -> None:
        self._sup = supervisor
        self._options = supervisor.options
        self._asked_ns = asked_ns
        self._marks = dict(marks)
        self._tell = tell

    def _ms(self, t_ns: int) -> float:
        return round((t_ns - self._asked_ns) / 1e6, 1)

    async def _step(self, name: str, detail: str) -> None:
        now_ns = time.monotonic_ns()
        self._marks[name] = now_ns
        await self._tell(name, detail, self._ms(now_ns))

    def too_slow(self) -> ClusterError:
        """The error for a cluster that is not ready in time."""
        missing = [f"broker {m.broker}" for m in self._sup.host.members.values() if not m.registered]
        return ClusterError(
            Code.TIMED_OUT,
            f"the cluster is not ready within {self._options.ready_within_ms} ms",
            f"not registered: {', '.join(missing) or 'none'}; controller: {self._sup.heard.controller or 'none'}",
            f"read {self._sup.place.state_dir}",
        )

    async def run(self) -> dict[str, Any]:
        """Start everything; the result of `up`. ClusterError when something cannot be started."""
        options = self._options
        self._marks["supervisor"] = time.monotonic_ns()
        if self._sup.was_stale:
            swept = (
                f", killed {len(self._sup.stale)} of its processes"
                if self._sup.stale
                else "; none of its processes was left"
            )
            await self._step("stale state", f"removed: the last supervisor was killed{swept}")
        wanted = [options.port_of(broker) for broker in options.ids]
        if self._sup.embedded:
            wanted.append(self._coordination_port())
        ports.check_free(options.host, wanted, self._wants(wanted))
        self._sup.log.emit(
            "cluster_starting",
            cluster=options.name,
            wall_time=datetime.datetime.now(datetime.UTC).isoformat(),
            connect=options.connect or "embedded",
            session_timeout_ms=options.session_timeout_ms,
            seed=self._sup.seed,
            brokers=list(options.ids),
            certificates=options.certificates,
            version=brokerdemo.__version__,
        )
        since = self._sup.log.last_seq
        await self._start_coordination()
        self._make_members()
        members = list(self._sup.host.members.values())
        self._sup.nursery.start_soon(self._sup.service.run, self._sup.host.connect)
        if not self._sup.embedded:
            async with self._sup.service.client("up"):
                await self._step("coordination", f"external, {self._sup.host.connect}")
            self._sup.log.emit("coordination_started", connect=self._sup.host.connect, mode="external")
            self._sup.nursery.start_soon(self._follow_elsewhere)
        for member in members:
            await member.start(self._sup.nursery)
        self._marks["forked"] = time.monotonic_ns()
        self._sup.write_cluster_json()
        await self._all_registered(since)
        await self._step(f"brokers {ids_text(options.ids)}", self._addresses())
        controller = await self._controller(since)
        await self._step("controller", f"broker {controller[0]}, epoch {controller[1]}")
        topics = await self._make_topics(since)
        ms = self._ms(time.monotonic_ns())
        self._sup.log.emit("cluster_ready", ms=ms, brokers=list(options.ids))
        address = options.advertise or options.host
        marks = sorted(self._marks.items(), key=lambda mark: mark[1])
        return {
            "cluster": options.name,
            "socket": os.fspath(self._sup.place.socket_path),
            "state_dir": os.fspath(self._sup.place.state_dir),
            "connect": self._sup.host.connect,
            "mode": "embedded" if self._sup.embedded else "external",
            "brokers": [
                {"id": m.broker, "host": address, "port": m.port, "pid": m.child.pid if m.child else None}
                for m in members
            ],
            "controller": {"id": controller[0], "epoch": controller[1]},
            "topics": topics,
            "session_timeout_ms": self._sup.faults.session_timeout_ms,
            "seed": self._sup.seed,
            "ms": ms,
            "where_ms": {name: self._ms(ns) for name, ns in marks},
        }

    def _coordination_port(self) -> int:
        if self._options.coordination_port is not None:
            return self._options.coordination_port
        if self._options.base_port in (0, DEFAULT_BASE_PORT):
            return DEFAULT_COORDINATION_PORT if self._options.base_port else 0
        return self._options.base_port - 1

    def _wants(self, wanted: list[int]) -> str:
        n = len(self._options.ids)
        text = f"brokerdemo wants {ids_text(tuple(sorted(wanted[:n])))} for {n} brokers"
        return f"{text} and {wanted[-1]} for the coordination server" if self._sup.embedded else text

    def _data_root(self) -> Path:
        return Path(self._options.data) if self._options.data else self._sup.place.state_dir

    async def _start_coordination(self) -> None:
        if self._options.connect is not None:
            self._sup.host.connect = self._options.connect
            self._sup.host.service_up.set()
            return
        data = self._data_root() / "coordination"
        log = self._sup.place.state_dir / "coordination.log"
        coordinator = Coordinator(
            self._sup.host, bind=self._options.host, port=self._coordination_port(), data_dir=data, log=log
        )
        self._sup.coordinator = coordinator
        self._sup.faults.attach(coordinator)
        await coordinator.start(self._sup.nursery)
        await self._step("coordination", f"embedded, {coordinator.connect}")

    def _make_members(self) -> None:
        options = self._options
        for place, broker in enumerate(options.ids):
            directory = self._sup.place.broker_dir(broker)
            data_dir = self._data_root() / "brokers" / str(broker) / "data"
            said = {
                "broker_id": broker,
                "host": options.host,
                "port": options.port_of(broker),
                "connect": self._sup.host.connect,
                "session_timeout_ms": options.session_timeout_ms,
                "data_dir": os.fspath(data_dir),
                "rack": options.racks[place % len(options.racks)] if options.racks else "",
                "log_file": os.fspath(directory / "log.ndjson"),
                "advertised_host": options.advertise,
            }
            self._sup.host.members[broker] = Member(broker, said, directory, data_dir, self._sup.host)

    async def _follow_elsewhere(self) -> None:
        elsewhere = Elsewhere(self._sup.host)
        while True:
            zk = await self._sup.service.connected()
            try:
                await elsewhere.run(zk)
            except* coordination.CoordinationError:
                pass  # the session ended, and its watches with it; the next one looks at everything again

    async def _all_registered(self, since: int) -> None:
        left = set(self._sup.host.members)
        async for record in self._sup.log.follow(since):
            event = record.event
            if event["event"] == "broker_registered":
                left.discard(event["broker"])
                self._marks.setdefault("first_registered", event["t_ns"])
            elif event["event"] == "process_exited" and "broker" in event:
                raise start_failed(self._sup.host.members[event["broker"]], event)
            if not left:
                self._marks["registered"] = event["t_ns"]
                return

    async def _controller(self, since: int) -> tuple[int, int]:
        if self._sup.embedded:
            async for record in self._sup.log.follow(since):
                if record.event["event"] == "controller_elected":
                    self._marks["elected"] = record.event["t_ns"]
                    break
            assert self._sup.heard.controller is not None
            return self._sup.heard.controller
        # An ensemble shared with other hosts: its controller may be one of theirs, so the znode is asked.
        async with self._sup.service.client("up") as zk, zk.watch_data(znodes.MASTER) as changes:
            async for found in changes:
                if found is not None:
                    master = znodes.Master.decode(found[0])
                    return master.broker, master.controller_epoch
        raise AssertionError("a watch has no end")

    def _addresses(self) -> str:
        known = [m.port for m in self._sup.host.members.values()]
        host = self._options.advertise or self._options.host
        if known == list(range(known[0], known[0] + len(known))):
            return f"{host}:{ids_text(tuple(known))}"
        return f"{host}, ports {', '.join(map(str, known))}"

    async def _make_topics(self, since: int) -> list[dict[str, Any]]:
        wanted = self._options.topics
        if wanted is None:
            wanted = (TopicSpec(name="demo", partitions=6, rf=min(3, len(self._options.ids))),)
        topics = TopicVerbs(self._sup)
        made: list[dict[str, Any]] = []
        for topic in wanted:
            try:
                await topics.create_topic(topic.name, topic.partitions, topic.rf)
            except ClusterError as error:
                if error.code != Code.CONFLICT:
                    raise
                # Kept data, or another host's topic.
                there = [key for key in self._sup.service.last_picture.partitions if key[0] == topic.name]
                await topics.wait_led(topic.name, len(there), since)
                made.append({"name": topic.name, "partitions": len(there), "existed": True})
                await self._step(f"topic {topic.name}", f"{len(there)} partitions, was there already, all led")
                continue
            await topics.wait_led(topic.name, topic.partitions, since)
            self._marks["led"] = time.monotonic_ns()
            made.append({"name": topic.name, "partitions": topic.partitions, "rf": topic.rf})
            await self._step(f"topic {topic.name}", f"{topic.partitions} partitions, rf {topic.rf}, all led")
        return made


def ids_text(ids: tuple[int, ...]) -> str:
    """`1-5` for a run, else `1, 3, 7`."""
    if len(ids) > 1 and list(ids) == list(range(ids[0], ids[0] + len(ids))):
        return f"{ids[0]}-{ids[-1]}"
    return ", ".join(map(str, ids))
