"""Settings: zoo.cfg, a file of properties and command line options become one frozen Config.

In: texts of `key=value` lines and the options given.  Out: a Config, and the keys nobody knows (to be warned about).
Reads no file itself and touches nothing outside.  Answers to QuorumPeerConfig and ServerConfig.

(1) An option given on the command line wins over the properties, those over zoo.cfg.
(2) What this server cannot do and a wrong success would follow from (several members) is refused; anything else that is
    unknown is only reported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from coordination.auth import settings as auth_settings
from coordination.server import tls
from coordination.state.ready import Settings
from coordination.wire.server_connection import WORDS

ALL_WORDS = frozenset(word.decode() for word in WORDS)
SNAP_COUNT_DEFAULT = 100_000

# Keys of zoo.cfg that mean something elsewhere in ZooKeeper and nothing for a server of one: known, ignored.
_KNOWN_AND_IGNORED = frozenset(
    (
        "admin.enableServer",
        "admin.serverPort",
        "clientPortListenBacklog",
        "electionAlg",
        "initLimit",
        "localSessionsEnabled",
        "localSessionsUpgradingEnabled",
        "metricsProvider.className",
        "peerType",
        "readonlymode.enabled",
        "serverCnxnFactory",
        "standaloneEnabled",
        "syncLimit",
        "syncEnabled",
    )
)


class ConfigError(Exception):
    """The settings cannot be used; the message says which, why and what to do."""


@dataclass(frozen=True, slots=True)
class Config:
    host: str = "127.0.0.1"
    port: int | None = 2181
    """None: only the secure port is served."""
    secure_host: str = "127.0.0.1"
    secure_port: int | None = None
    ssl: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The keys `ssl.*`; they may hold passwords."""
    data_dir: Path | None = None
    """None: in memory, nothing is kept."""
    data_log_dir: Path | None = None
    pipeline: Settings = field(default_factory=Settings)
    max_client_connections: int = 60
    """Per address; 0 is no limit."""
    max_connections: int = 0
    """Of all addresses; 0 is no limit."""
    outstanding_max: int = 10_000
    """Txns under way, above which no client is read from until the log has caught up."""
    words: frozenset[str] = frozenset(("srvr",))
    force_sync: bool = True
    listen_backlog: int = -1
    """How many connections may wait to be accepted; -1: as many as this server likes."""
    prealloc_bytes: int = 64 << 20
    snap_count: int = SNAP_COUNT_DEFAULT
    snap_retain_count: int = 3
    purge_interval_h: int = 0
    """0, ZooKeeper's default: nothing is ever removed. Otherwise old files go after each snapshot."""
    ignored: tuple[str, ...] = ()
    """Keys nobody knows."""


def parse_properties(text: str) -> dict[str, str]:
    """`key=value` lines; `#` and `!` begin comments, a backslash at the end of a line continues it."""
    found: dict[str, str] = {}
    for raw in text.replace("\\\n", "").splitlines():
        line = raw.strip()
        if not line or line[0] in "#!":
            continue
        key, _, value = line.partition("=")
        found[key.strip()] = value.strip()
    return found


def build(
    zoo_cfg: Mapping[str, str],
    properties: Mapping[str, str],
    options: Mapping[str, Any],
    *,
    jaas_text: str | None = None,
) -> Config:
    """Put the three together; options that are None were not given.  ConfigError names key and value.

    `jaas_text`: what the file says that the property `java.security.auth.login.config` names.
    """
    merged = dict(zoo_cfg)
    for key, value in properties.items():
        short = key.removeprefix("zookeeper.")
        merged[short] = value
    reader = _Reader(merged)
    members = [key for key in merged if key.startswith("server.")]
    if len(members) > 1:
        raise ConfigError(
            f"zoo.cfg names {len(members)} members ({', '.join(sorted(members))}), and this server cannot form an "
            "ensemble yet. Remove the server.N lines to run it alone, or use Apache ZooKeeper for an ensemble."
        )
    for member in members:
        merged.pop(member)
    tick_ms = options.get("tick_time_ms") or reader.integer("tickTime", 2000, at_least=1)
    least = reader.integer("minSessionTimeout", -1)
    most = reader.integer("maxSessionTimeout", -1)
    least = options.get("min_session_timeout_ms") or (2 * tick_ms if least == -1 else least)
    most = options.get("max_session_timeout_ms") or (20 * tick_ms if most == -1 else most)
    if least > most:
        raise ConfigError(f"minSessionTimeout ({least} ms) is above maxSessionTimeout ({most} ms); swap or widen them.")
    secure = "secureClientPort" in merged
    only_secure = secure and "clientPort" not in merged
    named = {**{f"zookeeper.{key}": value for key, value in merged.items()}, **properties}
    try:
        auth = auth_settings.read(named, jaas_text=jaas_text, secure=secure)
    except auth_settings.AuthSettingsError as error:
        raise ConfigError(str(error)) from None
    pipeline = Settings(
        tick_time_ms=tick_ms,
        min_session_timeout_ms=least,
        max_session_timeout_ms=most,
        frame_bytes_max=reader.number_of_bytes("jute.maxbuffer", 0xFFFFF),
        container_check_ms=reader.integer("znode.container.checkIntervalMs", 60_000, at_least=1),
        extended_types=reader.flag("extendedTypesEnabled", False),
        enforce_quota=reader.flag("enforceQuota", False),
        auth=auth,
        reconfig_enabled=reader.flag("reconfigEnabled", False),
    )
    config = Config(
        host=reader.text("clientPortAddress", "127.0.0.1"),
        port=None if only_secure else reader.integer("clientPort", 2181, at_least=0),
        secure_host=reader.text("secureClientPortAddress", reader.text("clientPortAddress", "127.0.0.1")),
        secure_port=reader.integer("secureClientPort", 0, at_least=0) if secure else None,
        ssl={key: value for key, value in merged.items() if key.startswith("ssl.")},
        pipeline=pipeline,
        max_client_connections=reader.integer("maxClientCnxns", 60, at_least=0),
        max_connections=reader.integer("maxCnxns", 0, at_least=0),
        outstanding_max=reader.integer("globalOutstandingLimit", 10_000, at_least=1),
        words=_words(reader.text("4lw.commands.whitelist", "srvr")),
        force_sync=reader.flag("forceSync", True),
        prealloc_bytes=reader.integer("preAllocSize", 64 << 10, at_least=0) << 10,
        snap_count=reader.integer("snapCount", SNAP_COUNT_DEFAULT, at_least=2),
        snap_retain_count=reader.integer("autopurge.snapRetainCount", 3, at_least=3),
        purge_interval_h=reader.integer("autopurge.purgeInterval", 0, at_least=0),
    )
    data, data_log = reader.text("dataDir", ""), reader.text("dataLogDir", "")
    config = replace(
        config,
        data_dir=Path(data) if data else None,
        data_log_dir=Path(data_log) if data_log else None,
        ignored=tuple(
            sorted(
                key
                for key in merged
                if key not in reader.read
                and key not in _KNOWN_AND_IGNORED
                and not auth_settings.knows(key)
                and key not in tls.KEYS
            )
        ),
    )
    return _with_options(config, options)


def _with_options(config: Config, options: Mapping[str, Any]) -> Config:
    given = {key: options[key] for key in ("host", "port") if options.get(key) is not None}
    if options.get("words") is not None:
        given["words"] = _words(options["words"])
    if options.get("data") is not None:
        given["data_dir"] = Path(options["data"])
        given["data_log_dir"] = None
    if options.get("in_memory"):
        given["data_dir"] = given["data_log_dir"] = None
    config = replace(config, **given)
    if config.data_dir is None and not options.get("in_memory"):
        raise ConfigError("no data directory. Give --data DIR (or dataDir in zoo.cfg), or --in-memory to keep nothing.")
    return config


def _words(text: str) -> frozenset[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if any(name in ("*", "all") for name in names):
        return ALL_WORDS
    return frozenset(names)


class _Reader:
    """Typed access to the merged keys; remembers which were asked for."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.read: set[str] = set()

    def text(self, key: str, default: str) -> str:
        self.read.add(key)
        return self._values.get(key, default)

    def integer(self, key: str, default: int, *, at_least: int = -(1 << 62)) -> int:
        raw = self.text(key, str(default))
        try:
            number = int(raw, 0)
        except ValueError:
            raise ConfigError(f"{key}={raw} is not a whole number; give one, or leave the line out.") from None
        if number < at_least:
            raise ConfigError(f"{key}={raw} is below {at_least}; give at least that, or leave the line out.")
        return number

    def number_of_bytes(self, key: str, default: int) -> int:
        return self.integer(key, default, at_least=64)

    def flag(self, key: str, default: bool) -> bool:
        raw = self.text(key, "yes" if default else "no").lower()
        if raw in ("yes", "true"):
            return True
        if raw in ("no", "false"):
            return False
        raise ConfigError(f"{key}={raw} is neither yes nor no.")
