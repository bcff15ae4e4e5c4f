"""The words a scenario is written in: `Cluster`, what can be done to it and what can be waited for.

In: verbs of a story.  Out: requests to the supervisor, waits on its event stream, measured values. trio shell; also the
`brokers.aio` of the pytest fixture.

(1) Nothing sleeps and nothing polls: a wait ends at the event that ends it, or at its deadline with the evidence.
(2) A fault with an end is a context manager, healed in `finally`, shielded, with a deadline of its own.
(3) `"random"` is chosen by the run's own generator: the seed fixes the choices (not the scheduling of real processes).
(4) Every recovery, restart and config change is measured once, by the supervisor's clock, under the built-in names.
"""

import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from brokerdemo.cluster.control import AsyncControlClient
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.durations import parse_ms
from brokerdemo.observe import waterfall
from brokerdemo.observe.events import matches
from brokerdemo.scenario.declare import Scenario, scenario
from brokerdemo.scenario.view import ConfigChange, Fault, Recovery, Restarted, View
from brokerdemo.scenario.waiting import Event, NotInTime, Waiter

__all__ = ["Cluster", "Event", "NotInTime", "NotRecovered", "Scenario", "scenario"]

Record = Callable[[str, float, str], None]

WITHIN = "10s"
HEAL_WITHIN_MS = 20_000


class NotRecovered(AssertionError):
    """A fault was not over by its deadline; the text holds its waterfall as far as it got."""

    def __init__(self, why: str, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        super().__init__(why + "\n" + "\n".join(waterfall.render(raw, width=100)))


def _no_record(metric: str, value: float, fault: str) -> None:
    """Where nobody collects metrics (the pytest fixture's async side)."""


class Cluster:
    """A running cluster. Reading (`controller`, `leader(...)`) answers from the last look; `refresh()` looks again.

    Every verb and every wait refreshes, so the properties are as new as the last `await`.
    """

    def __init__(
        self, client: AsyncControlClient, *, rng: random.Random | None = None, record: Record = _no_record
    ) -> None:
        self._client = client
        self._waiter = Waiter(client)
        self._record = record
        self._since = 0  # the newest event before the last verb: what waits look back to
        self.view = View({})
        self.random = rng or random.Random()
        self.config = Config(self)

    # ---- looking ---------------------------------------------------------------------------------------------------

    async def refresh(self) -> View:
        """Look again; the properties answer from it until the next look."""
        self.view = View(await self._ask("status"))
        return self.view

    @property
    def controller(self) -> int:
        """Broker id of the controller; AssertionError while there is none."""
        found = self.view.controller
        assert found is not None, "there is no controller now: await cluster.steady() first"
        return found

    @property
    def controller_epoch(self) -> int:
        return self.view.controller_epoch

    @property
    def brokers(self) -> tuple[int, ...]:
        return self.view.brokers

    @property
    def live(self) -> tuple[int, ...]:
        return self.view.live

    @property
    def bootstrap(self) -> str:
        """`host:port,...` of the live brokers, for a client of your own."""
        rows = self.view.status.get("brokers", ())
        return ",".join(f"{b['host']}:{b['port']}" for b in rows if b["state"] == "live")

    @property
    def zookeeper(self) -> str:
        """The coordination service's connect string."""
        return str(self.view.status["coordination"]["connect"])

    def leader(self, topic: str, partition: int) -> int | None:
        """Broker id of the partition's leader; None when nobody leads it."""
        return self.view.leader(topic, partition)

    def isr(self, topic: str, partition: int) -> tuple[int, ...]:
        return self.view.isr(topic, partition)

    # ---- doing -----------------------------------------------------------------------------------------------------

    async def kill(self, target: int | str, *, signal: str = "KILL") -> Fault:
        """Send a signal to one process and return at once; `recovered` waits for what follows."""
        (fault,) = await self.kill_together(target, signal=signal)
        return fault

    async def kill_together(self, *targets: int | str, signal: str = "KILL") -> tuple[Fault, ...]:
        """The same for several, signalled back to back: one Fault each."""
        chosen = [self._choose(target) for target in targets]
        return await self._inject("kill", targets=chosen, signal=signal, wait=False)

    async def terminate(self, target: int | str) -> Fault:
        """SIGTERM: the broker resigns, says goodbye and exits."""
        return await self.kill(target, signal="TERM")

    async def pause(self, target: int | str, *, for_: str | None = None) -> Fault:
        """SIGSTOP: it keeps its sockets and says nothing. `for_` resumes it by itself."""
        (fault,) = await self._inject(
            "pause", targets=[self._choose(target)], for_ms=parse_ms(for_) if for_ else None, wait=False
        )
        return fault

    async def resume(self, target: int | str) -> None:
        """SIGCONT; returns when the broker has taken note (fenced and registered again, if its session ended)."""
        await self._mark_time()
        await self._ask("resume", targets=[target], within_ms=parse_ms(WITHIN))
        await self.refresh()

    @asynccontextmanager
    async def paused(self, target: int | str) -> AsyncIterator[Fault]:
        """Paused inside the block, resumed after it whatever happens."""
        fault = await self.pause(target)
        try:
            yield fault
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + HEAL_WITHIN_MS / 1000):
                await self.resume(fault.target)

    async def restart(
        self, target: int | str, *, rolling: bool = False, clean: bool = False, within: str = "20s"
    ) -> tuple[Restarted, ...]:
        """Stop and start (or start what is dead); returns when registered and in sync again."""
        await self._mark_time()
        found = await self._ask(
            "restart", targets=[self._choose(target)], rolling=rolling, clean=clean, within_ms=parse_ms(within)
        )
        done = []
        for raw in found.get("restarted", ()):
            name = raw.get("broker")
            one = Restarted(
                name if isinstance(name, int) else str(raw.get("process", "coordinator")),
                int(raw.get("pid") or 0), raw.get("registered_ms"), raw.get("in_sync_ms"), raw,
            )  # fmt: skip
            if one.registered_ms is not None:
                self._record("rejoin_ms", one.registered_ms, "")
            if one.in_sync_ms is not None:
                self._record("in_sync_ms", one.in_sync_ms, "")
            done.append(one)
        await self.refresh()
        return tuple(done)

    async def create_topic(self, name: str, *, partitions: int = 6, rf: int = 3, within: str = WITHIN) -> None:
        """Make a topic; returns when every partition is led."""
        await self._mark_time()
        await self._ask("topics_create", name=name, partitions=partitions, rf=rf, within_ms=parse_ms(within))
        await self.refresh()

    async def delete_topic(self, name: str, *, within: str = WITHIN) -> None:
        await self._mark_time()
        await self._ask("topics_delete", name=name, within_ms=parse_ms(within))
        await self.refresh()

    async def heal(self) -> None:
        """Undo every fault: resume what is paused, start what is dead, wait for the steady state."""

        async def look() -> list[str]:
            rows = (await self.refresh()).status.get("brokers", ())
            if paused := [b["id"] for b in rows if b["state"] == "paused"]:
                await self._ask("resume", targets=paused, within_ms=HEAL_WITHIN_MS)
            # By its process, not by its state: the service may take a session timeout to hear of a death.
            if gone := [b["id"] for b in rows if b.get("pid") is None and b.get("local", True)]:
                await self._ask("restart", targets=gone, within_ms=HEAL_WITHIN_MS)
            return (await self.refresh()).not_steady()

        # At every event anew: a signal may have been sent a moment ago and its effect still be to come.
        await self._waiter.view(look, since=self._since, within_ms=HEAL_WITHIN_MS)

    async def mark(self, label: str) -> None:
        """Put a mark of your own into the event stream."""
        await self._mark_time()
        await self.emit({"event": "mark", "label": label, "source": "runner"})

    async def emit(self, event: Event) -> None:
        """Put an event of the catalogue into the stream, as the runner does."""
        await self._ask("emit", event=dict(event))

    async def timeline(self, fault: str) -> Mapping[str, Any]:
        """The `brokerdemo.fault/1` object of a fault, as far as it got."""
        found: Mapping[str, Any] = await self._ask("timeline", fault=fault)
        return found

    def metric(self, name: str, value: float) -> None:
        """Record a value of a metric the scenario declared; thresholds may name it."""
        self._record(name, value, "")

    # ---- waiting ---------------------------------------------------------------------------------------------------

    async def recovered(self, fault: Fault, *, within: str = WITHIN) -> Recovery:
        """Wait until every partition the fault touched is served again. NotRecovered shows how far it got."""
        within_ms = parse_ms(within)
        try:
            await self._waiter.event(
                lambda event: event.get("event") == "fault_recovered" and event.get("fault") == fault.id,
                since=fault.seq, within_ms=within_ms, waited_for=lambda: f"{fault.kind} of {fault.target} to be over",
            )  # fmt: skip
        except NotInTime as late:
            raw = await self.timeline(fault.id)
            raise NotRecovered(str(late), raw) from None
        recovery = Recovery.of(await self.timeline(fault.id))
        for name, value in recovery.metrics().items():
            self._record(name, value, fault.id)
        await self.refresh()
        return recovery

    async def steady(self, *, within: str = WITHIN) -> None:
        """Wait for the steady state: a controller, every broker live, every partition led, every ISR full."""
        await self._until(View.not_steady, within)

    async def in_sync(self, *, within: str = WITHIN) -> None:
        """Wait until every ISR is full."""
        await self._until(View.not_in_sync, within)

    async def led(self, *, within: str = WITHIN) -> None:
        """Wait until every partition has a leader."""
        await self._until(View.not_led, within)

    async def controller_is(self, broker: int, *, within: str = WITHIN) -> None:
        await self._until(lambda v: [] if v.controller == broker else [f"broker {broker} to be the controller"], within)

    async def until(self, holds: Callable[[View], bool], what: str, *, within: str = WITHIN) -> None:
        """Wait for a condition on the cluster's view; `what` completes "waited 2s for ..."."""
        await self._until(lambda view: [] if holds(view) else [what], within)

    async def event(self, name: str, *, within: str = WITHIN, since: int | None = None, **fields: Any) -> Event:
        """Wait for an event with these fields; one since the last verb counts, unless `since` says otherwise."""
        pattern = {"event": name, **fields}
        said = " ".join([name, *(f"{key}={value}" for key, value in fields.items())])
        return await self._waiter.event(
            lambda event: matches(event, pattern),
            since=self._since if since is None else since, within_ms=parse_ms(within), waited_for=lambda: said,
        )  # fmt: skip

    async def events(self, *, since: int | None = None) -> list[Event]:
        """Every event since the last verb (or after `since`), without waiting."""
        found: list[Event] = []
        start = self._since if since is None else since
        await self._client.call("events", lambda answer: found.append(answer["event"]), since=start)
        return found

    async def now(self) -> int:
        """The newest event's sequence number, for `since=`."""
        return await self._waiter.last_seq()

    # ---- inside ----------------------------------------------------------------------------------------------------

    async def _ask(self, verb: str, **args: Any) -> Any:
        try:
            return await self._client.call(verb, **args)
        except ClusterError as error:
            if error.code != Code.TIMED_OUT:
                raise
            seen = await self.events()
            raise NotInTime(f"{verb}: {error.what}", args.get("within_ms") or 0, seen) from None

    async def _mark_time(self) -> int:
        self._since = await self._waiter.last_seq()
        return self._since

    async def _inject(self, verb: str, **args: Any) -> tuple[Fault, ...]:
        seq = await self._mark_time()
        found = await self._ask(verb, **args)
        return tuple(Fault.of(raw, seq) for raw in (found if isinstance(found, list) else [found]))

    def _choose(self, target: int | str) -> int | str:
        if target != "random":
            return target
        assert self.live, "no live broker to choose from: await cluster.steady() first"
        return self.random.choice(sorted(self.live))

    async def _until(self, missing: Callable[[View], list[str]], within: str) -> None:
        async def look() -> list[str]:
            return missing(await self.refresh())

        await self._waiter.view(look, since=self._since, within_ms=parse_ms(within))


class Config:
    """`cluster.config`: the live settings."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def get(self, scope: str = "cluster") -> dict[str, str]:
        """The settings of `cluster`, `broker:3` or `topic:orders`."""
        found = await self._cluster._ask("config_get", scope=scope)
        return dict(found.get("config") or {})

    async def set(self, scope: str, settings: Mapping[str, str], *, within: str = WITHIN) -> ConfigChange:
        """Write settings and wait until every live broker has applied or refused them."""
        cluster = self._cluster
        await cluster._mark_time()
        found = await cluster._ask("config_set", scope=scope, settings=dict(settings), within_ms=parse_ms(within))
        applied = {int(one["broker"]): float(one["delay_ms"]) for one in found.get("applied", ())}
        for delay_ms in applied.values():
            cluster._record("config_delay_ms", delay_ms, "")
        return ConfigChange(scope, applied, tuple(found.get("rejected", ())))
