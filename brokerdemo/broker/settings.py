"""Live settings: which keys there are, what values they take, and which znode wins.

In:  the text settings of the /config znodes.  Out: a frozen `Settings`, or precise refusals. Pure; reading and applying
is `config_watch`. Answers to Kafka's DynamicBrokerConfig and ConfigDef.

    default or start option  <  /config/cluster  <  /config/brokers/<id>        (and per topic: /config/topics/<t>)

(1) A znode is taken whole or not at all: one bad key keeps all of its last good settings.
(2) An unknown key is refused, never ignored: a typing mistake must not look applied.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from brokerdemo.broker.options import SESSION_TIMEOUT_MS_MAX, SESSION_TIMEOUT_MS_MIN
from brokerdemo.control.model import ControllerSettings
from brokerdemo.znodes import ZnodeValueError

REASSIGN_DELAY_MS_MAX = 30 * 86_400_000
RACK_LENGTH_MAX = 249

Value = str | int | bool


def _whole(minimum: int, maximum: int) -> Callable[[str], Value]:
    def parse(text: str) -> Value:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"not a whole number; use {minimum} to {maximum}") from None
        if not minimum <= value <= maximum:
            raise ValueError(f"out of bounds; use {minimum} to {maximum}")
        return value

    return parse


def _one_of(*choices: str) -> Callable[[str], Value]:
    def parse(text: str) -> Value:
        if text.lower() not in choices:
            raise ValueError(f"not known; use one of {', '.join(choices)}")
        return text.lower()

    return parse


def _truth(text: str) -> Value:
    if text.lower() not in ("true", "false"):
        raise ValueError("use true or false")
    return text.lower() == "true"


def _rack(text: str) -> Value:
    if len(text) > RACK_LENGTH_MAX or not text.isprintable():
        raise ValueError(f"use at most {RACK_LENGTH_MAX} printable characters")
    return text


@dataclass(frozen=True, slots=True)
class Key:
    """A setting: the scopes it may stand in, how its text becomes a value, and what it does."""

    scopes: frozenset[str]
    parse: Callable[[str], Value]
    does: str


CLUSTER, BROKER, TOPIC = "cluster", "broker", "topic"

KEYS: Mapping[str, Key] = {
    "log.level": Key(
        frozenset({CLUSTER, BROKER}), _one_of("debug", "info", "warning", "error"), "what goes to the log file"
    ),
    "session.timeout.ms": Key(
        frozenset({CLUSTER, BROKER}),
        _whole(SESSION_TIMEOUT_MS_MIN, SESSION_TIMEOUT_MS_MAX),
        "how soon a silent broker counts as dead; the server may grant another",
    ),
    "reassign.delay.ms": Key(
        frozenset({CLUSTER, TOPIC}),
        _whole(0, REASSIGN_DELAY_MS_MAX),
        "how long a broker may be away before its replicas move to others; 0 = at once",
    ),
    "auto.leader.rebalance.enable": Key(
        frozenset({CLUSTER}), _truth, "leadership returns to the first replica when it is back in the ISR"
    ),
    "broker.rack": Key(frozenset({BROKER}), _rack, "replicas of a partition are spread over racks"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What is in force in one broker."""

    session_timeout_ms: int
    rack: str
    log_level: str = "info"
    controller: ControllerSettings = field(default_factory=ControllerSettings)


def parse(scope: str, znode: str, config: Mapping[str, str]) -> tuple[dict[str, Value], list[ZnodeValueError]]:
    """Typed values of one znode's settings, and what is wrong with it (then nothing of it is to be used)."""
    values: dict[str, Value] = {}
    refused: list[ZnodeValueError] = []
    for name, text in config.items():
        key = KEYS.get(name)
        if key is None:
            known = ", ".join(sorted(k for k, v in KEYS.items() if scope in v.scopes))
            refused.append(ZnodeValueError(znode, name, text, f"no such setting here; known are {known}"))
        elif scope not in key.scopes:
            where = " or ".join(sorted(key.scopes))
            refused.append(ZnodeValueError(znode, name, text, f"cannot be set for a {scope}, only for a {where}"))
        else:
            try:
                values[name] = key.parse(text)
            except ValueError as error:
                refused.append(ZnodeValueError(znode, name, text, str(error)))
    return values, refused


def in_force(
    base: Settings,
    cluster: Mapping[str, Value],
    broker: Mapping[str, Value],
    topics: Mapping[str, Mapping[str, Value]],
) -> Settings:
    """The settings that result: broker over cluster over `base`."""
    merged = {**cluster, **broker}
    controller = ControllerSettings(
        reassign_delay_ms=int(merged.get("reassign.delay.ms", base.controller.reassign_delay_ms)),
        auto_leader_rebalance=bool(merged.get("auto.leader.rebalance.enable", base.controller.auto_leader_rebalance)),
        topic_reassign_delay_ms={
            topic: int(values["reassign.delay.ms"])
            for topic, values in sorted(topics.items())
            if "reassign.delay.ms" in values
        },
    )
    return Settings(
        session_timeout_ms=int(merged.get("session.timeout.ms", base.session_timeout_ms)),
        rack=str(merged.get("broker.rack", base.rack)),
        log_level=str(merged.get("log.level", base.log_level)),
        controller=controller,
    )
