"""`status` and `ps`: one look at the cluster, a live one, or a health check for scripts.

The supervisor's answer is `brokerdemo.status/1` and is printed as it is with `--json`; the table shows a part of it.
`--watch` follows the event stream and asks again when something happened: nothing is polled.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from brokerdemo.cli import options as opt
from brokerdemo.cli import screen
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.durations import clock

JSON = Mapping[str, Any]

_STATE_ROLE = {"live": "good", "suspect": "warn", "paused": "warn", "dead": "bad"}


def add(app: typer.Typer) -> None:
    app.command(
        "status",
        epilog=opt.examples(
            "brokerdemo status --watch         # follows every change until Ctrl-C",
            "brokerdemo status --check         # exit 6 unless every replica is in sync",
            "brokerdemo status --json | jq .controller.id",
        ),
    )(status)
    app.command("ps", help="The same as `status --wide`.")(ps)


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Redraw at every change.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit 6 if a broker or a replica is missing.")] = False,
    wide: Annotated[bool, typer.Option("--wide", help="Also processes, sessions and every partition.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Who lives, who is the controller, who leads what."""
    if watch:
        follow(wide=wide, as_json=as_json)
        return
    found = opt.client().call("status")
    show(found, wide=wide, as_json=as_json)
    if check and (troubles := problems_of(found)):
        raise ClusterError(
            Code.UNHEALTHY, "the cluster is not healthy", "\n".join(troubles), "brokerdemo status --wide"
        )


def ps(as_json: opt.Json = False) -> None:
    status(wide=True, as_json=as_json)


def show(found: JSON, *, wide: bool, as_json: bool) -> None:
    if as_json:
        screen.emit(found)
        return
    for line in lines_of(found, wide=wide):
        screen.out(line)


def follow(*, wide: bool, as_json: bool) -> None:
    """Print a status at the start and after every burst of events, in place on a terminal."""
    client = opt.client()
    look = screen.the()
    since = client.call("events")["last_seq"]
    found = client.call("status")
    redraw = look.interactive and not as_json
    if redraw:
        screen.out(_ALTERNATE_SCREEN)
    try:
        with client.request("events", follow=True, since=since) as answers:
            _draw(found, wide=wide, as_json=as_json, redraw=redraw)
            for _ in answers:
                found = client.call("status")
                _draw(found, wide=wide, as_json=as_json, redraw=redraw)
    finally:
        if redraw:
            # Back to what was on the terminal before, with the last picture under it.
            screen.out(_MAIN_SCREEN)
            show(found, wide=wide, as_json=False)


_ALTERNATE_SCREEN, _MAIN_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


def _draw(found: JSON, *, wide: bool, as_json: bool, redraw: bool) -> None:
    if redraw:
        # Home, then each line with "clear to its end", then "clear below": no flicker, and nothing is left behind.
        screen.out("\x1b[H" + "\x1b[K\n".join(lines_of(found, wide=wide)) + "\x1b[K\x1b[J")
    else:
        show(found, wide=wide, as_json=as_json)


def partitions_of(found: JSON) -> list[tuple[str, JSON]]:
    """(topic name, partition) of every partition."""
    return [(topic["name"], p) for topic in found.get("topics", ()) for p in topic.get("partitions", ())]


def problems_of(found: JSON) -> list[str]:
    """What keeps the cluster from being healthy, one sentence each; empty when nothing does."""
    troubles = [f"broker {b['id']} is {b['state']}" for b in found.get("brokers", ()) if b["state"] != "live"]
    if (found.get("controller") or {}).get("id") is None:
        troubles.append("there is no controller")
    for name, p in partitions_of(found):
        if p["leader"] is None or p["leader"] < 0:
            troubles.append(f"{name}/{p['partition']} is offline: no live replica in sync")
        elif missing := sorted(set(p["replicas"]) - set(p["isr"])):
            troubles.append(f"{name}/{p['partition']} is under-replicated: {_ids(missing)} not in sync")
    return troubles + _refusals(found.get("config_rejected") or ())


def _refusals(rejected: Sequence[JSON]) -> list[str]:
    """One sentence per bad value, with the brokers that refused it."""
    brokers: dict[str, list[int]] = {}
    for one in rejected:
        said = f"{one.get('key')}={one.get('value')!r} in {one.get('znode')}: {one.get('reason')}"
        brokers.setdefault(said, []).append(one["broker"])
    return [f"refused by {_brokers(ids)}: {said}" for said, ids in brokers.items()]


def _brokers(ids: list[int]) -> str:
    return f"broker{'s' if len(ids) > 1 else ''} {_ids(sorted(ids))}"


def lines_of(found: JSON, *, wide: bool = False) -> list[str]:
    """The screen: a headline, counts, the brokers; with `wide` also partitions and what is wrong."""
    paint = screen.the().paint
    brokers, partitions = found.get("brokers", []), partitions_of(found)
    controller = found.get("controller") or {}
    states = [broker["state"] for broker in brokers]
    counts = "  ".join(
        paint(f"{states.count(state)} {state}", role if states.count(state) else "dim")
        for state, role in _STATE_ROLE.items()
        if state != "paused" or "paused" in states
    )
    who = (
        f"controller {controller['id']} (epoch {controller['epoch']})"
        if controller.get("id")
        else paint("no controller", "bad")
    )
    offline = sum(1 for _, p in partitions if p["leader"] is None or p["leader"] < 0)
    under = sum(1 for _, p in partitions if set(p["replicas"]) - set(p["isr"]))
    service = found.get("coordination") or {}
    lines = [
        f"{paint(str(found.get('cluster')), 'strong')}   up {clock(found.get('uptime_ms', 0))}   {who}   {counts}",
        f"partitions {len(partitions)}   "
        + paint(f"under-replicated {under}", "warn" if under else "dim")
        + "   "
        + paint(f"offline {offline}", "bad" if offline else "dim")
        + f"   coordination {service.get('mode', '?')} {service.get('connect', '?')}"
        + ("" if service.get("state") in (None, "connected") else paint(f" {service['state']}", "bad")),
        "",
        *_broker_lines(brokers, controller.get("id"), wide=wide),
    ]
    if wide and partitions:
        lines += ["", *_partition_lines(partitions)]
    if troubles := [text for text in problems_of(found) if "under-replicated" not in text]:
        lines += ["", *(paint(f"! {text}", "warn") for text in troubles)]
    return lines


def _broker_lines(brokers: list[JSON], controller: int | None, *, wide: bool) -> list[str]:
    header = ["ID", "STATE", "ROLE", "LEADS", "FOLLOWS", "PID", "ADDRESS", "UPTIME"]
    if wide:
        header += ["EPOCH", "RACK", "RSS"]
    rows = []
    for b in brokers:
        row = [
            b["id"], b["state"], "controller" if b["id"] == controller else "-", b["leads"], b["follows"],
            b.get("pid") or "-", f"{b['host']}:{b['port']}" if b.get("port") else "-",
            clock(b["uptime_ms"]) if b.get("uptime_ms") is not None else "-",
        ]  # fmt: skip
        if wide:
            row += [b.get("epoch") or "-", b.get("rack") or "-", f"{b['rss_mib']:.0f} MiB" if b.get("rss_mib") else "-"]
        rows.append(row)
    drawn = screen.table(header, rows, right=(0, 3, 4, 5))
    paint = screen.the().paint
    coloured = [
        line.replace(f"  {b['state']} ", "  " + paint(b["state"], _STATE_ROLE.get(b["state"], "dim")) + " ", 1)
        for line, b in zip(drawn[1:], brokers, strict=True)
    ]
    return [paint(drawn[0], "dim"), *coloured]


def _partition_lines(partitions: list[tuple[str, JSON]]) -> list[str]:
    rows = []
    for name, p in partitions:
        leader = p["leader"] if p["leader"] is not None and p["leader"] >= 0 else "none"
        rows.append((f"{name}/{p['partition']}", leader, p["leader_epoch"], _ids(p["replicas"]), _ids(p["isr"])))
    drawn = screen.table(("PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN SYNC"), rows, right=(1, 2))
    return [screen.the().paint(drawn[0], "dim"), *drawn[1:]]


def _ids(ids: list[int]) -> str:
    return ",".join(map(str, ids)) or "-"
