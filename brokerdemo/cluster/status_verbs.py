"""Status verbs: that the supervisor lives, and what the cluster looks like now, for the control socket.

In: nothing but the question. Out: results (`control.VERBS` says which). Changes nothing: reads the supervisor's parts,
and the znodes through `service`.

(1) `status` always answers: what cannot be read now is shown as last known, and said to be so.
"""

import os
import time
from typing import TYPE_CHECKING, Any

from brokerdemo.cluster.control_server import Conversation, Verb
from brokerdemo.cluster.members import Member
from brokerdemo.cluster.processes import rss_bytes
from brokerdemo.cluster.znode_view import Picture

if TYPE_CHECKING:
    from brokerdemo.cluster.supervisor import Supervisor

STATUS_SCHEMA = "brokerdemo.status/1"


class StatusVerbs:
    def __init__(self, supervisor: "Supervisor") -> None:
        self._sup = supervisor

    def verbs(self) -> dict[str, Verb]:
        return {"ping": self.ping, "status": self.status}

    async def ping(self, talk: Conversation, said: dict[str, Any]) -> Any:
        sup = self._sup
        return {
            "cluster": sup.options.name,
            "pid": os.getpid(),
            "uptime_ms": sup.uptime_ms(),
            "zygote_pid": sup.zygote_pid,
        }

    async def status(self, talk: Conversation, said: dict[str, Any]) -> Any:
        sup = self._sup
        picture, fresh = await sup.service.picture_if_any()
        controller = picture.controller
        found: dict[str, Any] = {
            "schema": STATUS_SCHEMA,
            "cluster": sup.options.name,
            "uptime_ms": sup.uptime_ms(),
            "coordination": {
                "connect": sup.host.connect,
                "mode": "embedded" if sup.embedded else "external",
                "state": "connected" if fresh else "unreachable",
                "pid": sup.coordinator.child.pid if sup.coordinator and sup.coordinator.child else None,
            },
            "controller": {"id": controller[0], "epoch": controller[1]} if controller else {"id": None, "epoch": None},
            "brokers": self._brokers(picture, fresh),
            "topics": picture.topics_json(),
            "session_timeout_ms": sup.faults.session_timeout_ms,
            "certificates": sup.options.certificates,
            "last_seq": sup.log.last_seq,
            "last_fault": sup.faults.last.fault if sup.faults.last else None,
            "supervisor": {"pid": os.getpid(), "zygote_pid": sup.zygote_pid, "rss_mib": _mib(os.getpid())},
            "problems": list(picture.problems),
            "config_rejected": sup.refusals.now(picture.unreadable if fresh else None),
            "as_of_ms": round((time.monotonic_ns() - picture.read_ns) / 1e6, 3) if not fresh else 0.0,
        }
        return found

    def _brokers(self, picture: Picture, fresh: bool) -> list[dict[str, Any]]:
        members = self._sup.host.members
        found = []
        for broker in sorted(members.keys() | picture.workers.keys()):
            member, registered = members.get(broker), picture.workers.get(broker)
            entry: dict[str, Any] = {
                "id": broker,
                "state": state_of(member, registered is not None if fresh else None),
                "pid": member.child.pid if member and member.child and member.child.alive else None,
                "host": registered[0].host if registered else (self._sup.options.advertise or self._sup.options.host),
                "port": registered[0].port if registered else (member.port if member else 0),
                "epoch": registered[1] if registered else None,
                "rack": registered[0].rack if registered else (member.options.get("rack", "") if member else ""),
                "leads": len(picture.led_by(broker)),
                "follows": len(picture.followed_by(broker)),
                "out_of_sync": picture.out_of_sync(broker),
                "local": member is not None,
            }
            if member is not None and member.child is not None and member.child.alive:
                entry["uptime_ms"] = round((time.monotonic_ns() - member.child.started_ns) / 1e6, 1)
                entry["rss_mib"] = _mib(member.child.pid)
            found.append(entry)
        return found


def state_of(member: Member | None, registered: bool | None) -> str:
    """live, suspect, dead or paused. `registered` None: the znodes cannot be read now.

    suspect = process and registration disagree: it runs and is not registered (starting, or fenced and on its way
    back), or its process is gone or about to be and the service does not know yet (its session has not timed out).
    """
    if member is None:
        return "live"  # on another host: its registration is what is known of it
    if registered is None:
        registered = member.registered
    if member.paused:
        return "paused"
    if member.alive:
        return "live" if registered and not member.doomed else "suspect"
    return "suspect" if registered else "dead"


def _mib(pid: int) -> float | None:
    found = rss_bytes(pid)
    return None if found is None else round(found / 2**20, 1)
