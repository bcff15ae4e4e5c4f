"""Process verbs: kill, pause, resume, restart, down, and what they can be aimed at, for the control socket.

In: a request's arguments. Out: streamed steps and a result (`control.VERBS` says which). Acts through the
supervisor's parts: `faults` sends signals, `host` holds the members, `log` says what came of it. Decides nothing about
the cluster itself.

(1) An answer comes when the effect was observed, not when the signal was sent.
"""

import signal
import time
from typing import TYPE_CHECKING, Any

import trio

from brokerdemo.cluster import targets as target_grammar
from brokerdemo.cluster.control_server import WITHIN_MS, Arguments, Conversation, Verb
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.cluster.faults import SIGNALS, overdue
from brokerdemo.cluster.members import Member, start_failed
from brokerdemo.cluster.targets import COORDINATOR, Target, View
from brokerdemo.cluster.znode_view import Picture
from brokerdemo.observe.timeline import FaultTimeline

if TYPE_CHECKING:
    from brokerdemo.cluster.supervisor import Supervisor

GRACE_S = 5.0


class ProcessVerbs:
    def __init__(self, supervisor: "Supervisor") -> None:
        self._sup = supervisor

    def verbs(self) -> dict[str, Verb]:
        return {
            "targets": self.targets,
            "kill": self.kill,
            "pause": self.pause,
            "resume": self.resume,
            "restart": self.restart,
            "down": self.down,
        }

    # -- whom -------------------------------------------------------------------------------------------------------

    async def targets(self, talk: Conversation, said: dict[str, Any]) -> Any:
        picture, _fresh = await self._sup.service.picture_if_any()
        return {"targets": self._view(picture).valid()}

    def _view(self, picture: Picture) -> View:
        members = self._sup.host.members
        return View(
            brokers=tuple(sorted(members)),
            live=frozenset(m.broker for m in members.values() if m.alive and not m.paused and not m.doomed),
            controller=picture.controller[0] if picture.controller else None,
            leaders={key: p.leader for key, p in picture.partitions.items()},
            followers={key: tuple(b for b in p.isr if b != p.leader) for key, p in picture.partitions.items()},
            embedded=self._sup.embedded,
        )

    async def _resolve(self, ask: Arguments, *, to_signal: bool = False) -> tuple[list[Target], Picture]:
        picture, _fresh = await self._sup.service.picture_if_any()
        targets = target_grammar.find(ask.targets(), self._view(picture), self._sup.rng)
        if to_signal and targets == sorted(self._sup.host.members):
            # Nobody who says `all` means the dead; when there are no others the error says so.
            targets = [target for target in targets if self._alive(target)] or targets
        return targets, picture

    # -- faults ------------------------------------------------------------------------------------------------------

    async def kill(self, talk: Conversation, said: dict[str, Any]) -> Any:
        ask = Arguments("kill", said)
        name = ask.text("signal", "KILL").upper().removeprefix("SIG")
        if name not in SIGNALS:
            raise ClusterError(
                Code.USAGE, f"{name} is not a signal for kill", f"use {', '.join(SIGNALS)}", "brokerdemo kill 3"
            )
        targets, picture = await self._resolve(ask, to_signal=True)
        kind = "pause" if name == "STOP" else "kill"
        faults = self._sup.faults.inject(targets, kind, SIGNALS[name], picture)
        return await self._reports(talk, faults, ask.flag("wait", True), ask.ms("within_ms", WITHIN_MS))

    async def pause(self, talk: Conversation, said: dict[str, Any]) -> Any:
        ask = Arguments("pause", said)
        for_ms = ask.whole("for_ms", most=3_600_000)
        targets, picture = await self._resolve(ask, to_signal=True)
        faults = self._sup.faults.inject(targets, "pause", signal.SIGSTOP, picture, for_ms=for_ms)
        if for_ms is not None:
            for target in targets:
                # In the supervisor's own nursery: it heals also when the one who asked has left.
                self._sup.nursery.start_soon(self._heal_after, target, for_ms / 1000)
        return await self._reports(talk, faults, ask.flag("wait", False), ask.ms("within_ms", WITHIN_MS))

    async def _heal_after(self, target: Target, seconds: float) -> None:
        await trio.sleep(seconds)  # the fault's own duration, not a wait for something
        if self._alive(target):
            self._sup.faults.heal(target)

    def _alive(self, target: Target) -> bool:
        if target == COORDINATOR:
            return self._sup.coordinator is not None and self._sup.coordinator.alive
        return self._sup.host.members[target].alive

    async def _reports(
        self, talk: Conversation, faults: list[FaultTimeline], wait: bool, within_ms: float | None
    ) -> Any:
        late = wait and not await self._sup.faults.wait(faults, within_ms, talk.say)
        reports = [fault.report() for fault in faults]
        if wait:
            picture, fresh = await self._sup.service.picture_if_any()
            for report in reports:
                report["degraded"] = picture.degraded() if fresh else None
        if late:
            assert within_ms is not None
            raise overdue(faults, reports, within_ms)
        return reports[0] if len(reports) == 1 else reports

    async def resume(self, talk: Conversation, said: dict[str, Any]) -> Any:
        ask = Arguments("resume", said)
        targets, _picture = await self._resolve(ask)
        since = self._sup.log.last_seq
        resumed: list[Target] = []
        healed: dict[int, FaultTimeline] = {}
        sent_ns = time.monotonic_ns()
        for target in targets:
            if not self._alive(target):
                continue
            holder = self._sup.coordinator if target == COORDINATOR else self._sup.host.members[target]
            assert holder is not None
            assert holder.child is not None
            if not holder.child.stopped:
                continue
            fault = self._sup.faults.heal(target)
            resumed.append(target)
            if fault is not None and target != COORDINATOR and fault.stages_ns()["detected"] is not None:
                healed[target] = fault
        result: dict[str, Any] = {"resumed": resumed, "faults": [f.fault for f in healed.values()], "fenced": {}}
        if ask.flag("wait", True) and healed:
            # They were given up: back means registered again, as a new incarnation of themselves.
            within_ms = ask.ms("within_ms", WITHIN_MS)
            assert within_ms is not None
            left = set(healed)
            with trio.move_on_after(within_ms / 1000):
                async for record in self._sup.log.follow(since):
                    event = record.event
                    if event["event"] == "broker_registered" and event["broker"] in left:
                        left.discard(event["broker"])
                        ms = round((event["t_ns"] - sent_ns) / 1e6, 3)
                        result["fenced"][str(event["broker"])] = {"registered_ms": ms}
                        if not left:
                            break
            if left:
                raise ClusterError(
                    Code.TIMED_OUT, f"brokers {sorted(left)} did not register again within {within_ms:.0f} ms", "",
                    "brokerdemo events --since last-fault", result=result,
                )  # fmt: skip
        return result

    # -- restart, down -----------------------------------------------------------------------------------------------

    async def restart(self, talk: Conversation, said: dict[str, Any]) -> Any:
        ask = Arguments("restart", said)
        targets, _picture = await self._resolve(ask)
        rolling, clean = ask.flag("rolling"), ask.flag("clean")
        within_ms = ask.ms("within_ms", WITHIN_MS)
        assert within_ms is not None
        restarted: list[dict[str, Any]] = []
        brokers = [target for target in targets if target != COORDINATOR]
        if COORDINATOR in targets:
            restarted.append(await self._restart_coordinator(within_ms))
        for group in [[b] for b in brokers] if rolling else [brokers] if brokers else []:
            members = [self._sup.host.members[broker] for broker in group]
            await self._sup.host.stop(
                members, grace_s=GRACE_S, on_end=lambda m: talk.step("stopped", f"broker {m.broker}")
            )
            async with trio.open_nursery() as nursery:
                for member in members:
                    nursery.start_soon(self._start_again, member, clean, within_ms, restarted)
            for member in members:
                talk.step("in sync", f"broker {member.broker}")
        return {"restarted": restarted}

    async def _restart_coordinator(self, within_ms: float) -> dict[str, Any]:
        """kill -9; the supervisor starts it again, as it always does."""
        coordinator = self._sup.coordinator
        assert coordinator is not None, "targets refuse it when the service is external"
        if coordinator.alive:
            fault = self._sup.faults.inject([COORDINATOR], "restart", signal.SIGKILL, self._sup.service.last_picture)[0]
            if not await self._sup.faults.wait([fault], within_ms, lambda _line: None):
                raise overdue([fault], [fault.report()], within_ms)
            assert coordinator.child is not None
            ready_ms = fault.report()["stages_ms"]["serving"]
            return {"process": COORDINATOR, "pid": coordinator.child.pid, "ready_ms": ready_ms, "fault": fault.fault}
        await coordinator.start(self._sup.nursery, again=True)
        assert coordinator.child is not None
        return {"process": COORDINATOR, "pid": coordinator.child.pid, "ready_ms": coordinator.ready_ms}

    async def _start_again(
        self, member: Member, clean: bool, within_ms: float, restarted: list[dict[str, Any]]
    ) -> None:
        if clean:
            member.wipe()
        since = self._sup.log.last_seq
        began_ns = time.monotonic_ns()
        child = await member.start(self._sup.nursery)
        self._sup.write_cluster_json()
        entry: dict[str, Any] = {"broker": member.broker, "pid": child.pid, "registered_ms": None, "in_sync_ms": None}
        restarted.append(entry)
        with trio.move_on_after(within_ms / 1000):
            async for record in self._sup.log.follow(since):
                event = record.event
                if event.get("broker") != member.broker:
                    continue
                if event["event"] == "process_exited" and event["pid"] == child.pid:
                    raise start_failed(member, event)
                if event["event"] == "broker_registered":
                    entry["registered_ms"] = round((event["t_ns"] - began_ns) / 1e6, 3)
                    break
            while True:
                before = self._sup.log.last_seq
                picture = await self._sup.service.picture(must=True)
                if not picture.out_of_sync(member.broker):
                    entry["in_sync_ms"] = round((picture.read_ns - began_ns) / 1e6, 3)
                    break
                await self._sup.log.wait_change(after=before)
        if entry["in_sync_ms"] is None:
            raise ClusterError(
                Code.TIMED_OUT, f"broker {member.broker} is not in sync within {within_ms:.0f} ms",
                "registered" if entry["registered_ms"] is not None else "it did not register",
                "brokerdemo status --wide", result={"restarted": restarted},
            )  # fmt: skip

    async def down(self, talk: Conversation, said: dict[str, Any]) -> Any:
        ask = Arguments("down", said)
        force, keep_data = ask.flag("force"), ask.flag("keep_data")
        return await self._sup.stop(force=force, keep_data=keep_data, reason="down", say=talk.step)
