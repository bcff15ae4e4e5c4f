"""One event as one line for people: `broker 4  controller_elected  epoch 2`. Pure; no event is too new to be shown.

In: an event as the supervisor streams it (JSON).  Out: text. An event this file has no sentence for is printed as its
fields, so the line never says less than `--json` would have.
"""

from collections.abc import Callable, Mapping
from typing import Any

JSON = Mapping[str, Any]

_FRAME = {"seq", "t_ns", "source", "event", "fault", "ok"}


def sentence(event: JSON) -> str:
    """What the event says, without its time and source."""
    say = _SENTENCES.get(str(event.get("event")))
    try:
        return say(event) if say else _fields(event)
    except (KeyError, TypeError, ValueError):
        return _fields(event)


def role_of(event: JSON) -> str:
    """good, bad, warn, accent or dim: how much the line wants to be seen."""
    return _ROLES.get(str(event.get("event")), "dim")


def line(event: JSON, *, clock: str = "", numbered: bool = True) -> str:
    """The whole line, in fixed columns."""
    seq = event.get("seq")
    number = f"{seq if seq is not None else '-':>6}  " if numbered else "  "
    head = number + (f"{clock}  " if clock else "")
    fault = f"  [{event['fault']}]" if event.get("fault") else ""
    return f"{head}{event.get('source', '?'):<12}  {event.get('event', '?'):<23}  {sentence(event)}{fault}".rstrip()


def _fields(event: JSON) -> str:
    shown = (f"{key}={_short(value)}" for key, value in event.items() if key not in _FRAME and value is not None)
    return " ".join(shown)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _some(partitions: list[str]) -> str:
    names = [str(name) for name in partitions]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _partition(event: JSON) -> str:
    return f"{event['topic']}/{event['partition']}"


def _fault(event: JSON) -> str:
    roles = ", ".join(str(role) for role in event.get("roles", ()))
    return f"{event['kind']} {_target(event['target'])}" + (f" ({roles})" if roles else "")


def _target(target: object) -> str:
    return f"broker {target}" if isinstance(target, int) else str(target)


def _exit(event: JSON) -> str:
    name = f"broker {event['broker']}" if event.get("broker") is not None else str(event.get("process", "process"))
    code = event.get("exit_code", event.get("code", "?"))
    return f"{name}: signal {event['signal']}" if event.get("signal") else f"{name}: exit {code}"


def _pairs(settings: JSON) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def _changed(event: JSON) -> str:
    changed = event.get("changed")
    what = _pairs(changed) if isinstance(changed, Mapping) else str(changed or "-")
    delay = f"  after {event['delay_ms']:.1f} ms" if event.get("delay_ms") is not None else ""
    return f"{event['znode']}: {what}{delay}"


_SENTENCES: Mapping[str, Callable[[JSON], str]] = {
    "fault_injected": _fault,
    "process_exited": _exit,
    "session_closed": lambda e: f"death certificate of broker {e['broker']} served ({e.get('certainty', 'proven')})",
    "broker_registered": lambda e: (
        f"/workers/{e['broker']} created" + (f", czxid {e['zxid']:#x}" if "zxid" in e else "")
    ),
    "broker_fenced": lambda e: f"broker {e['broker']} found itself deposed: {e.get('reason', '')}",
    "session_timeout_changed": lambda e: f"broker {e['broker']}: {e['session_timeout_ms']} ms from now on",
    "broker_lost": lambda e: f"/workers/{e['broker']} is gone (by {e.get('by', 'unknown')})",
    "controller_elected": lambda e: f"broker {e['broker']} holds /master at epoch {e['controller_epoch']}",
    "controller_resigned": lambda e: f"broker {e['broker']}, epoch {e['controller_epoch']}: {e.get('reason', '')}",
    "leader_started": lambda e: f"broker {e['broker']} leads {_partition(e)} at leader epoch {e['leader_epoch']}",
    "follower_started": lambda e: f"broker {e['broker']} follows {_partition(e)} at leader epoch {e['leader_epoch']}",
    "assignment_planned": lambda e: (
        f"{_some(e['partitions'])}: {e['moves']} replica moves, at least {e['lower_bound']} needed"
    ),
    "assignment_written": lambda e: (
        f"{_some(e['partitions'])} at controller epoch {e['controller_epoch']}"
        + (f", zxid {e['zxid']:#x}" if isinstance(e.get("zxid"), int) else "")
    ),
    "fault_recovered": lambda e: f"after {e['ms']:.1f} ms, detected by {e.get('detected_by')}",
    "fault_healed": lambda e: f"{e['kind']} of {_target(e['target'])} is over",
    "isr_changed": lambda e: f"{_partition(e)} isr {','.join(map(str, e['isr']))}",
    "partition_offline": lambda e: f"{_partition(e)} has no live replica in sync",
    "config_written": lambda e: f"{e['znode']}: {_pairs(e['settings'])}",
    "config_applied": lambda e: f"broker {e['broker']} {_changed(e)}",
    "config_rejected": lambda e: f"broker {e['broker']} {e['znode']}: {e['key']}={e['value']!r}: {e['reason']}",
}

_ROLES: Mapping[str, str] = {
    "fault_injected": "bad",
    "fault_healed": "good",
    "fault_recovered": "good",
    "cluster_ready": "good",
    "process_exited": "bad",
    "session_closed": "warn",
    "broker_lost": "warn",
    "broker_fenced": "warn",
    "broker_registered": "good",
    "controller_elected": "accent",
    "controller_resigned": "warn",
    "assignment_planned": "accent",
    "assignment_written": "accent",
    "leader_started": "good",
    "partition_offline": "bad",
    "config_applied": "good",
    "config_rejected": "bad",
}
