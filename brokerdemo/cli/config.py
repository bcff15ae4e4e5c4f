"""`config get|set|watch`: the settings in the /config znodes, and how long each broker took to apply them.

SCOPE is `cluster`, `broker:3` or `topic:orders`. A value a broker refuses is an error of the command: the broker keeps
its last good settings, and the answer names broker, key, value and reason.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from brokerdemo.cli import options as opt
from brokerdemo.cli import screen
from brokerdemo.cli.events import WallClock
from brokerdemo.cli.events import show as show_event
from brokerdemo.cluster.errors import ClusterError, Code

JSON = Mapping[str, Any]

Scope = Annotated[str, typer.Argument(metavar="[SCOPE]", help="cluster, broker:3 or topic:orders.", show_default=False)]
# What people call a setting -> what it is called in the znode.
_ALIASES = {"session.timeout": "session.timeout.ms", "reassign.delay": "reassign.delay.ms"}


def add(app: typer.Typer) -> None:
    config = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    config.command(epilog=opt.examples("brokerdemo config get cluster", "brokerdemo config get broker:3 log.level"))(
        get
    )
    config.command(
        "set",
        epilog=opt.examples(
            "brokerdemo config set cluster log.level=debug",
            "brokerdemo config set cluster session.timeout.ms=500",
            "brokerdemo config set broker:3 broker.rack=b",
            "brokerdemo config set topic:orders reassign.delay.ms=0",
        ),
    )(set_)
    config.command(epilog=opt.examples("brokerdemo config watch cluster"))(watch)
    app.add_typer(config, name="config", help="Read, change and watch live settings.")


def get(
    scope: Scope = "cluster",
    key: Annotated[str, typer.Argument(metavar="[KEY]", show_default=False)] = "",
    as_json: opt.Json = False,
) -> None:
    """The settings of a scope, or one of them."""
    found = opt.client().call("config_get", scope=scope, key=key or None)
    if as_json:
        screen.emit(opt.with_schema("brokerdemo.settings/1", found))
        return
    settings = found.get("config") or {}
    if key:
        if key not in settings:
            raise ClusterError(
                Code.NOT_FOUND, f"{key} is not set in {scope}", f"set: {', '.join(sorted(settings)) or 'nothing'}",
                f"brokerdemo config set {scope} {key}=VALUE",
            )  # fmt: skip
        screen.out(str(settings[key]))
        return
    for name, value in sorted(settings.items()):
        screen.out(f"{name}={value}")
    if not settings:
        screen.say(f"nothing is set in {found.get('znode', scope)}; the defaults apply")


def set_(
    scope: Annotated[str, typer.Argument(metavar="SCOPE", show_default=False)],
    settings: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", show_default=False)],
    within: opt.Within = "",
    as_json: opt.Json = False,
) -> None:
    """Change settings; returns when every live broker has applied them."""
    wanted = opt.pairs(settings, "brokerdemo config set cluster log.level=debug")
    wanted = {_ALIASES.get(key, key): _value(key, value) for key, value in wanted.items()}
    found = opt.client().call(
        "config_set", scope=scope, settings=wanted, within_ms=opt.duration_ms(within, "--within") or 10_000
    )
    if as_json:
        screen.emit(opt.with_schema("brokerdemo.config_set/1", found))
    else:
        paint = screen.the().paint
        screen.out(f"{found.get('znode')}  " + "  ".join(f"{k}={v}" for k, v in wanted.items()))
        applied = sorted(found.get("applied", ()), key=lambda one: one["delay_ms"])
        for one in applied:
            screen.out(f"  broker {one['broker']}  {paint('applied', 'good')} after {one['delay_ms']:.1f} ms")
    if rejected := found.get("rejected"):
        one = rejected[0]
        who = ", ".join(str(each["broker"]) for each in rejected)
        raise ClusterError(
            Code.USAGE,
            f"{one['key']}={one['value']!r} was refused by broker{'s' if len(rejected) > 1 else ''} {who}",
            f"{one['reason']}\nthe last good settings stay in force; the bad value is still in {found.get('znode')}",
            f"brokerdemo config set {scope} {one['key']}=...",
        )


def _value(key: str, value: str) -> str:
    """`session.timeout=2s` is welcome; the znode holds `session.timeout.ms=2000`, as Kafka's would."""
    return str(opt.duration_ms(value, key)) if key in _ALIASES else value


def watch(scope: Scope = "cluster", as_json: opt.Json = False) -> None:
    """A scope's settings now, then each change and which broker took or refused it, until Ctrl-C."""
    client, clock = opt.client(), WallClock()
    since = client.call("events")["last_seq"]
    found = client.call("config_get", scope=scope)
    if as_json:
        screen.emit(opt.with_schema("brokerdemo.settings/1", found))
    else:
        settings = "  ".join(f"{key}={value}" for key, value in sorted((found.get("config") or {}).items()))
        screen.out(f"{found['znode']}  {settings or 'nothing is set; the defaults apply'}")
    with client.request("events", follow=True, since=since) as answers:
        for answer in answers:
            event = answer.get("event") or {}
            if event.get("event") in _ABOUT_SETTINGS and event.get("znode") == found["znode"]:
                show_event(event, clock, as_json=as_json)


# A change written by another client shows in what the brokers say of it.
_ABOUT_SETTINGS = {"config_written", "config_applied", "config_rejected"}
