"""`up`: start a cluster, print each step as it finishes, then stay as its viewer, or leave it running (`-d`).

The cluster never depends on this process once it is ready: the foreground command only watches (viewer.py) and asks for
`down` when it is told to end.
"""

import os
from typing import Annotated, Any

import typer

from brokerdemo.cli import exits, screen, viewer
from brokerdemo.cli import options as opt
from brokerdemo.cli.settings import Setting, resolve
from brokerdemo.cluster import launcher

EPILOG = opt.examples(
    "brokerdemo up                       # five brokers; d detaches, Ctrl-C stops",
    "brokerdemo up -n 3 -d               # in the background",
    "brokerdemo up --topic orders:12:3 --session-timeout 6s",
    "brokerdemo up --no-certificates     # see what the session timeout costs",
    "brokerdemo up --connect zk1:2181    # on a real ZooKeeper",
)


def add(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(up)


def up(
    brokers: Annotated[str, typer.Option("-n", "--brokers", metavar="N", help="How many brokers (5).")] = "",
    name: Annotated[str, typer.Option("--name", help="The cluster's name (default).")] = "",
    detach: Annotated[bool, typer.Option("-d", "--detach", help="Return once it is ready.")] = False,
    connect: Annotated[str, typer.Option("--connect", metavar="HOST:PORT,...", help="Use this ZooKeeper.")] = "",
    topic: Annotated[
        list[str] | None, typer.Option("--topic", metavar="NAME:PARTS:RF", help="A topic (demo:6:3), or none. Repeat.")
    ] = None,
    session_timeout: Annotated[
        str, typer.Option("--session-timeout", metavar="DURATION", help="How soon a hang is noticed (1500ms).")
    ] = "",
    base_port: Annotated[
        str, typer.Option("--base-port", metavar="PORT|auto", help="First broker's port (19092).")
    ] = "",
    data: Annotated[str, typer.Option("--data", metavar="DIR", help="Keep the data here, also after down.")] = "",
    seed: Annotated[str, typer.Option("--seed", metavar="N", help="Fixes what `random` chooses.")] = "",
    no_certificates: Annotated[
        bool, typer.Option("--no-certificates", help="Detect every death by the session timeout.")
    ] = False,
    racks: Annotated[str, typer.Option("--racks", metavar="A,B,...", help="Racks, given to the brokers in turn.")] = "",
    broker_ids: Annotated[str, typer.Option("--broker-ids", metavar="1-3", help="Instead of 1..N.")] = "",
    host: Annotated[str, typer.Option("--host", help="Address the brokers bind (127.0.0.1).")] = "",
    advertise: Annotated[str, typer.Option("--advertise", metavar="HOST", help="What brokers tell clients.")] = "",
    wait: Annotated[str, typer.Option("--wait", metavar="DURATION", help="Give up if not ready by then (30s).")] = "",
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Show each value and its origin; start nothing.")
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Start a cluster; any of its processes can be killed."""
    given = {
        "brokers": brokers, "name": name, "connect": connect, "session-timeout": session_timeout,
        "base-port": base_port, "data": data, "seed": seed, "racks": racks, "wait": wait,
        "broker-ids": broker_ids, "host": host, "advertise": advertise, "topic": ",".join(topic or []),
    }  # fmt: skip
    flags: dict[str, str | None] = {key: value or None for key, value in given.items()}
    flags["certificates"] = "false" if no_certificates else None
    settings = resolve(flags, os.environ)
    if print_config:
        _print_config(settings, as_json)
        return
    wanted = options_of(settings)
    result: dict[str, Any] = {}

    def announce() -> None:
        if as_json:
            screen.emit(opt.with_schema("brokerdemo.up/1", result))
        else:
            _print_ready(wanted, result, detach)

    try:
        for answer in launcher.start(wanted):
            if "step" in answer:
                _print_step(answer["step"], as_json)
            if answer.get("ok"):
                result = answer["result"]
        if detach:
            announce()
            return
        code = viewer.watch(wanted.name, announce, as_json=as_json)
    except exits.Interrupted:
        # Before "ready" the half-started cluster ends by itself; after it, and before the viewer hears signals, it is
        # ours to end.
        if not result:
            raise exits.Interrupted("\nStopped while starting: nothing is left running.") from None
        if not detach:
            viewer.stop(wanted.name)
        raise
    raise typer.Exit(code)


def options_of(settings: dict[str, Setting]) -> launcher.UpOptions:
    """The launcher's options out of text; every error names the option and where its value came from."""

    def whole(name: str) -> int:
        text = settings[name].value
        if not text.isdigit():
            raise opt.usage(
                f"{settings[name].origin}: {text!r} is not a whole number", f"brokerdemo up --{name} {_DEFAULT[name]}"
            )
        return int(text)

    def ms(name: str) -> int:
        found = opt.duration_ms(settings[name].value, settings[name].origin)
        assert found is not None
        return found

    topics = [text for text in settings["topic"].value.split(",") if text]
    no_topic = topics == ["none"]  # a host that joins a cluster makes none of its own
    ids = settings["broker-ids"].value
    return launcher.UpOptions(
        name=settings["name"].value,
        brokers=whole("brokers"),
        broker_ids=launcher.parse_broker_ids(ids) if ids else None,
        connect=settings["connect"].value or None,
        session_timeout_ms=ms("session-timeout"),
        topics=() if no_topic else tuple(launcher.TopicSpec.parse(text) for text in topics) or None,
        base_port=0 if settings["base-port"].value == "auto" else whole("base-port"),
        host=settings["host"].value,
        advertise=settings["advertise"].value or None,
        data=os.path.abspath(settings["data"].value) if settings["data"].value else None,
        seed=whole("seed") if settings["seed"].value else None,
        certificates=_truth(settings["certificates"]),
        racks=tuple(rack for rack in settings["racks"].value.split(",") if rack),
        ready_within_ms=ms("wait"),
    )


_DEFAULT = {"brokers": "5", "base-port": "19092", "seed": "42"}


def _truth(setting: Setting) -> bool:
    if setting.value.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise opt.usage(f"{setting.origin}: {setting.value!r} is neither true nor false", "certificates = true")
    return setting.value.lower() in ("true", "1", "yes")


def _print_config(settings: dict[str, Setting], as_json: bool) -> None:
    if as_json:
        values = {name: {"value": s.value, "origin": s.origin} for name, s in settings.items()}
        screen.emit({"schema": "brokerdemo.config/1", "settings": values})
        return
    for line in screen.table(
        ("SETTING", "VALUE", "FROM"), [(n, s.value or "-", s.origin) for n, s in settings.items()]
    ):
        screen.out(line)


def _print_step(step: dict[str, Any], as_json: bool) -> None:
    if as_json:
        screen.emit({"step": step})
        return
    look = screen.the()
    mark = screen.paint_err(" ok ", "good")
    stamp = f"{step['ms']:.0f} ms".rjust(9)
    detail_w = max(24, min(look.width, 90) - 4 - 16 - 10)
    screen.say(f"{mark} {step['name']!s:<14} {step.get('detail', '')!s:<{detail_w}}{screen.paint_err(stamp, 'dim')}")


def _print_ready(wanted: launcher.UpOptions, result: dict[str, Any], detach: bool) -> None:
    sets = "how soon a hang is noticed; a death is proven at once"
    if not wanted.certificates:
        sets = "how soon any death is noticed, certificates are off"
    screen.say(screen.paint_err(f'Cluster "{wanted.name}" is up', "good") + f" in {result.get('ms', 0):.0f} ms.")
    granted_ms = result.get("session_timeout_ms", wanted.session_timeout_ms)
    asked = f" (asked for {wanted.session_timeout_ms} ms, granted by the service)"
    screen.say(f"Session timeout {granted_ms} ms{asked if granted_ms != wanted.session_timeout_ms else ''}: {sets}.")
    flag = "" if wanted.name == "default" else f" --cluster {wanted.name}"
    addresses = [f"{b['host']}:{b['port']}" for b in result.get("brokers", ())]
    rows = [
        ("watch", f"brokerdemo status --watch{flag}"),
        ("break it", f"brokerdemo kill controller{flag}"),
        ("connect", f"ZooKeeper {result.get('connect', '?')}     brokers {','.join(addresses[:3])}"),
        ("stop", f"brokerdemo down{flag}" if detach else "Ctrl-C (twice: kill)     d: detach, the cluster stays"),
    ]
    screen.say()
    for label, text in rows:
        screen.say(f"  {screen.paint_err(label.ljust(10), 'dim')}{text}")
    screen.say()
