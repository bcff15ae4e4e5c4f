"""Event verbs: the event log read, followed, waited for and written to, for the control socket.

In: a place in the log, a pattern, an event of the caller. Out: events as the log keeps them, timelines of faults.
Knows of the cluster only what was said of it (`log`, `faults`).

(1) Without `since` a follower starts now; one that does not follow gets no more than where now is.
"""

import time
from typing import TYPE_CHECKING, Any

import trio

from brokerdemo.cluster.control_server import WITHIN_MS, Arguments, Conversation, Verb
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.observe.events import matches

if TYPE_CHECKING:
    from brokerdemo.cluster.supervisor import Supervisor


class EventVerbs:
    def __init__(self, supervisor: "Supervisor") -> None:
        self._sup = supervisor

    def verbs(self) -> dict[str, Verb]:
        return {"events": self.events, "timeline": self.timeline, "await": self.await_event, "emit": self.emit}

    def _since(self, said: dict[str, Any], default: int) -> int:
        since = said.get("since")
        if since is None:
            return default
        if since == "last-fault":
            last = self._sup.faults.last
            return last.injected["seq"] - 1 if last is not None else 0
        if isinstance(since, int) and not isinstance(since, bool) and since >= 0:
            return since
        raise ClusterError(
            Code.USAGE, f"since={since!r} is neither a seq nor last-fault", "", "brokerdemo events --since last-fault"
        )

    async def events(self, talk: Conversation, said: dict[str, Any]) -> Any:
        ask = Arguments("events", said)
        follow = ask.flag("follow")
        log = self._sup.log
        # Without `since` a follower starts now, and one that does not follow gets no more than where now is.
        since = self._since(said, log.last_seq)
        if follow:
            async for record in log.follow(since):
                await talk.send(b'{"event":' + record.line + b"}\n")
        upto = log.last_seq
        wanted = max(since + 1, log.first_seq)
        if wanted <= upto:
            async for record in log.follow(wanted - 1):
                await talk.send(b'{"event":' + record.line + b"}\n")
                if record.event["seq"] >= upto:
                    break
        return {"last_seq": upto, "first_seq": log.first_seq}

    async def timeline(self, talk: Conversation, said: dict[str, Any]) -> Any:
        fault = self._sup.faults.get(Arguments("timeline", said).text("fault", "last"))
        return {**fault.report(), "events": self._sup.log.kept(fault.injected["seq"] - 1)[:500]}

    async def await_event(self, talk: Conversation, said: dict[str, Any]) -> Any:
        ask = Arguments("await", said)
        pattern = ask.mapping("event", required=True)
        within_ms = ask.ms("within_ms", WITHIN_MS)
        assert within_ms is not None
        with trio.move_on_after(within_ms / 1000):
            async for record in self._sup.log.follow(self._since(said, self._sup.log.last_seq)):
                if matches(record.event, pattern):
                    return {"event": record.event}
        last = ", ".join(f"{e.get('source')} {e['event']}" for e in self._sup.log.kept(self._sup.log.last_seq - 10))
        raise ClusterError(
            Code.TIMED_OUT,
            f"no event {pattern} within {within_ms:.0f} ms",
            f"the last ones were: {last}",
            "brokerdemo events -f",
        )

    async def emit(self, talk: Conversation, said: dict[str, Any]) -> Any:
        event = Arguments("emit", said).mapping("event", required=True)
        if not isinstance(event.get("event"), str) or not event["event"]:
            raise ClusterError(Code.USAGE, "an event needs a name", 'its field "event"', "")
        t_ns = event.get("t_ns")
        own = {"source": "runner", "t_ns": t_ns if isinstance(t_ns, int) else time.monotonic_ns()}
        kept = self._sup.log.append({**own, **{k: v for k, v in event.items() if k not in ("seq", "t_ns")}})
        return {"seq": kept["seq"]}
