"""Settings: zoo.cfg, a file of properties and command line options become one frozen Config.

In: texts of `key=value` lines and the options given.  Out: a Config, and what the user should be warned about.
Reads no file itself and touches nothing outside.  Answers to QuorumPeerConfig and ServerConfig.

(1) An option given on the command line wins over zoo.cfg, that over the properties, as in ZooKeeper: in zoo.cfg `x.y`
    is the property `zookeeper.x.y`.  A property is named with or without that prefix.
(2) What this server cannot do and a wrong success would follow from (several members, an unknown metrics provider, an
    admin server over TLS) is refused; anything else that is unknown is only reported, once each.
(3) Ports of operators (admin, metrics) are on loopback unless an address is given, and off unless asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from coordination.auth import settings as auth_settings
from coordination.server import config_keys, tls
from coordination.server.config_members import ClientAddress, lone_client_address
from coordination.server.config_reader import JAVA_INT_MAX, ConfigError, ConfigReader
from coordination.server.operator_settings import (
    PROMETHEUS,
    AdminSettings,
    AuditSettings,
    LogSettings,
    MetricsSettings,
    admin_settings,
    audit_settings,
    log_settings,
    metrics_settings,
    user_name,
)
from coordination.server.properties import parse_properties
from coordination.state.connection_throttle import ThrottleSettings
from coordination.state.ready import Settings
from coordination.wire.server_connection import WORDS

__all__ = ["ALL_WORDS", "PROMETHEUS", "AdminSettings", "AuditSettings", "Config", "ConfigError", "LogSettings"]
__all__ += ["MetricsSettings", "build", "parse_properties"]

ALL_WORDS = frozenset(word.decode() for word in WORDS)
SNAP_COUNT_DEFAULT = 100_000
_SECRETS = ("password", "digest", "secret", "token")
_ONLY_PROPERTIES = ("jute.", "znode.")  # over zoo.cfg's, which to ZooKeeper are `zookeeper.jute...`


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
    keep_alive: bool = False
    """SO_KEEPALIVE on every client's socket."""
    handshakes_max: int = -1
    """TLS handshakes under way, above which a new TLS client is turned away; -1: no limit."""
    port_unification: bool = False
    """The plain client port takes TLS clients too."""
    certificates_reloaded: bool = False
    """Key and trust stores are read again when their files have changed."""
    directory_autocreate: bool = True
    """A data directory that is not there is made."""
    prealloc_bytes: int = 64 << 20
    log_bytes_max: int = 0
    """A log file that is larger is followed by a new one (txnLogSizeLimitInKb); 0: only a snapshot ends one."""
    snapshot_compression: str = ""
    """"" or "gz"."""
    snap_count: int = SNAP_COUNT_DEFAULT
    snap_log_bytes: int = 4 << 30
    """A snapshot comes also after so many bytes of log, at most (snapSizeLimitInKb); 0: however many."""
    snap_retain_count: int = 3
    purge_interval_h: int = 0
    """0, ZooKeeper's default: nothing is ever removed.  Otherwise old files go at the start and every so many hours."""
    log: LogSettings = field(default_factory=LogSettings)
    audit: AuditSettings | None = None
    admin: AdminSettings | None = None
    metrics: MetricsSettings | None = None
    slow_sync_ms: int = 1000
    sessionless_ms: int = 10_000
    text: str = ""
    """zoo.cfg as it was read, secrets masked."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """The properties as they were read, secrets masked."""
    ignored: tuple[str, ...] = ()
    """Keys nobody knows."""
    meant: Mapping[str, str] = field(default_factory=dict)
    """Of those, the known key each is probably meant to be."""
    without_effect: tuple[str, ...] = ()
    """Keys Apache ZooKeeper knows and this server has nothing to do with."""
    warnings: tuple[str, ...] = ()
    """Of the keys without effect: what is so instead of what they promise."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Key -> the file and line that said it last."""


def build(
    zoo_cfg: Mapping[str, str],
    properties: Mapping[str, str],
    options: Mapping[str, Any],
    *,
    jaas_text: str | None = None,
    dynamic: Mapping[str, str] | None = None,
    my_id: str | None = None,
    places: Mapping[str, str] | None = None,
) -> Config:
    """Put the three together; options that are None were not given.  ConfigError names key and value.

    `jaas_text`: what the file says that the property `java.security.auth.login.config` names.
    `dynamic`: what the file says that `dynamicConfigFile` names.  `my_id`: the first line of dataDir's file `myid`.
    `places`: where each key stands, for complaints.
    """
    properties = {key.removeprefix("-D"): value for key, value in properties.items()}
    named = {key.removeprefix("zookeeper."): value for key, value in properties.items()}
    merged = {**named, **zoo_cfg, **(dynamic or {})}
    merged |= {key: value for key, value in named.items() if key.startswith(_ONLY_PROPERTIES)}
    reader = ConfigReader(merged)
    reader.has("dynamicConfigFile")
    address = lone_client_address(
        {**named, **zoo_cfg},
        dynamic,
        my_id=my_id,
        multi_address=named.get("multiAddress.enabled", "").lower() == "true",  # zoo.cfg's is not asked, there either
        standalone=reader.flag("standaloneEnabled", True),
    )
    _take_member(merged, address)
    # A zoo.cfg without it means ZooKeeper's default; 2000 is what its sample file has.
    tick_ms = reader.integer("tickTime", 3000 if zoo_cfg else 2000, at_least=1)
    tick_ms = options.get("tick_time_ms") or tick_ms
    least = reader.integer("minSessionTimeout", -1, at_least=-1)
    most = reader.integer("maxSessionTimeout", -1, at_least=-1)
    least = options.get("min_session_timeout_ms") or (2 * tick_ms if least == -1 else least)
    most = options.get("max_session_timeout_ms") or (20 * tick_ms if most == -1 else most)
    if least > most:
        raise ConfigError(f"minSessionTimeout ({least} ms) is above maxSessionTimeout ({most} ms); swap or widen them.")
    secure = reader.has("secureClientPort")
    only_secure = secure and not reader.has("clientPort")
    all_named = {**properties, **{f"zookeeper.{key}": value for key, value in merged.items()}}
    try:
        speaks_tls = secure or reader.flag("client.portUnification", False)
        auth = auth_settings.read(all_named, jaas_text=jaas_text, secure=speaks_tls)
    except auth_settings.AuthSettingsError as error:
        raise ConfigError(str(error)) from None
    if reader.flag("emulate353TTLNodes", False):
        raise ConfigError(
            "emulate353TTLNodes=true, and TTL znodes as ZooKeeper 3.5.3 stored them are unknown here: they would end "
            "like ephemerals. Let Apache ZooKeeper serve them, or remove the line if there are none."
        )
    audit = audit_settings(reader)
    read_only_mode = reader.flag("readonlymode.enabled", False)
    whitelist, given_words = reader.text("4lw.commands.whitelist", ""), options.get("words")
    words = _words(whitelist if given_words is None else given_words, read_only_mode=read_only_mode)
    pipeline = Settings(
        tick_time_ms=tick_ms,
        min_session_timeout_ms=least,
        max_session_timeout_ms=most,
        frame_bytes_max=reader.integer("jute.maxbuffer", 0xFFFFF, at_least=64),
        container_check_ms=reader.integer("znode.container.checkIntervalMs", 60_000, at_least=1),
        extended_types=reader.flag("extendedTypesEnabled", False),
        enforce_quota=reader.flag("enforceQuota", False),
        auth=auth,
        reconfig_enabled=reader.flag("reconfigEnabled", False),
        digest_enabled=reader.flag("digest.enabled", False),
        awaits_trace_mask="stmk" in words,
        container_never_used_ms=reader.integer("znode.container.maxNeverUsedIntervalMs", 0, at_least=0),
        containers_per_minute=reader.integer("znode.container.maxPerMinute", 10_000, at_least=1, at_most=60_000_000),
        connection_throttle=_throttle(reader),
        audit_as=None if audit is None else user_name(),
    )
    requests_max = reader.integer("request_throttle_max_requests", 0, at_least=0) or JAVA_INT_MAX
    data, data_log = reader.text("dataDir", ""), reader.text("dataLogDir", "")
    compression = reader.text("snapshot.compression.method", "").lower()
    if compression not in ("", "gz", "snappy"):
        raise ConfigError(
            f"snapshot.compression.method={compression} is neither gz nor snappy. Leave it out for plain snapshots."
        )
    config = Config(
        host=reader.text("clientPortAddress", "127.0.0.1"),
        port=None if only_secure else reader.port("clientPort", 2181),
        secure_host=reader.text("secureClientPortAddress", reader.text("clientPortAddress", "127.0.0.1")),
        secure_port=reader.port("secureClientPort", 0) if secure else None,
        ssl={key: value for key, value in merged.items() if key.startswith("ssl.")},
        data_dir=Path(data) if data else None,
        data_log_dir=Path(data_log) if data_log else None,
        pipeline=pipeline,
        max_client_connections=max(0, reader.integer("maxClientCnxns", 60)),
        max_connections=max(0, reader.integer("maxCnxns", 0)),
        # Both stop reading from clients; ZooKeeper's throttler does so before its queue, the limit behind it.
        outstanding_max=min(reader.integer("globalOutstandingLimit", 10_000, at_least=1), requests_max),
        words=words,
        force_sync=reader.flag("forceSync", True),
        listen_backlog=reader.integer("clientPortListenBacklog", -1, at_least=-1),
        keep_alive=reader.flag("clientTcpKeepAlive", False),
        handshakes_max=reader.integer("netty.server.outstandingHandshake.limit", -1, at_least=-1),
        port_unification=reader.flag("client.portUnification", False),
        certificates_reloaded=reader.flag("client.certReload", False),
        directory_autocreate=reader.flag("datadir.autocreate", True),
        prealloc_bytes=reader.integer("preAllocSize", 64 << 10, at_least=0) << 10,
        log_bytes_max=max(0, reader.integer("txnLogSizeLimitInKb", -1)) << 10,
        snapshot_compression="gz" if compression in ("gz", "snappy") else "",
        snap_count=reader.integer("snapCount", SNAP_COUNT_DEFAULT, at_least=2),
        snap_log_bytes=max(0, reader.integer("snapSizeLimitInKb", 4 << 20)) << 10,
        # Fewer than three is raised to three, as there.
        snap_retain_count=max(3, reader.integer("autopurge.snapRetainCount", 3)),
        purge_interval_h=max(0, reader.integer("autopurge.purgeInterval", 0)),
        log=log_settings(reader),
        audit=audit,
        admin=admin_settings(reader),
        metrics=metrics_settings(reader),
        slow_sync_ms=reader.integer("fsync.warningthresholdms", 1000, at_least=0),
        sessionless_ms=reader.integer("nio.sessionlessCnxnTimeout", 10_000, at_least=1),
        text="".join(f"{key}={_masked(key, value)}\n" for key, value in zoo_cfg.items()),
        properties={key: _masked(key, value) for key, value in properties.items()},
    )
    for key in filter(merged.__contains__, config_keys.INTEGERS):
        reader.integer(key, 0)
    for key in filter(merged.__contains__, config_keys.FLAGS):
        reader.flag(key, False)
    unknown = sorted(key for key in merged if not _knows(key, reader))
    without_effect = sorted(key for key in merged if config_keys.is_ignored(key))
    warnings = [
        f"{key}={merged[key]} has no effect here: {so}"
        for key, so in config_keys.PROMISES.items()
        if merged.get(key, "false").lower() not in ("false", "no", "0", "-1", "")
    ]
    warnings += [
        f"{key} of the properties has no effect: zoo.cfg says otherwise, and wins"
        for key, value in named.items()
        if zoo_cfg.get(key, value) != value and not key.startswith(_ONLY_PROPERTIES)
    ]
    if compression == "snappy":
        warnings.append("snapshot.compression.method=snappy: snappy is only read, snapshots are written with gzip")
    if "ssl.ciphersuites" in merged and "TLSv1.2" not in merged.get("ssl.enabledProtocols", ""):
        warnings.append("ssl.ciphersuites has no effect here: it chooses among the suites of TLS 1.2, which is off")
    elif "ssl.ciphersuites" in merged:
        warnings.append("ssl.ciphersuites chooses among the suites of TLS 1.2; those of TLS 1.3 are all on")
    known = (*reader.read, *tls.KEYS, *auth_settings.KEYS)
    near = {key: config_keys.nearest(key, known) for key in unknown}
    meant = {key: name for key, name in near.items() if name is not None}
    config = replace(
        config,
        ignored=tuple(unknown),
        meant=meant,
        without_effect=tuple(without_effect),
        warnings=tuple(warnings),
        places=dict(places or {}),
    )
    return _with_options(config, options)


def _knows(key: str, reader: ConfigReader) -> bool:
    return key in reader.read or config_keys.is_ignored(key) or auth_settings.knows(key) or key in tls.KEYS


def _take_member(merged: dict[str, str], address: ClientAddress | None) -> None:
    """Take the lone member's line out; its client address counts where clientPort does not say."""
    for key in [key for key in merged if key.startswith("server.")]:
        del merged[key]
    if address is not None and "clientPort" not in merged:
        merged["clientPort"] = str(address.port)
        if address.host:
            merged.setdefault("clientPortAddress", address.host)


def _throttle(reader: ConfigReader) -> ThrottleSettings:
    reader.has("netty.server.earlyDropSecureConnectionHandshakes")  # it is always early here
    return ThrottleSettings(
        tokens=reader.integer("connection_throttle_tokens", 0, at_least=0),
        fill_ms=reader.integer("connection_throttle_fill_time", 1, at_least=1),
        fill_count=reader.integer("connection_throttle_fill_count", 1, at_least=1),
        freeze_ms=reader.integer("connection_throttle_freeze_time", -1, at_least=-1),
        drop_increase=reader.share("connection_throttle_drop_increase", 0.02),
        drop_decrease=reader.share("connection_throttle_drop_decrease", 0.002),
        decrease_ratio=reader.share("connection_throttle_decrease_ratio", 0.0),
        weighted=reader.flag("connection_throttle_weight_enabled", False),
        global_weight=reader.integer("connection_throttle_global_session_weight", 3, at_least=1),
        renew_weight=reader.integer("connection_throttle_renew_session_weight", 2, at_least=1),
    )


def _with_options(config: Config, options: Mapping[str, Any]) -> Config:
    given = {key: options[key] for key in ("host", "port") if options.get(key) is not None}
    if options.get("data") is not None:
        given["data_dir"] = Path(options["data"])
        given["data_log_dir"] = None
    if options.get("in_memory"):
        given["data_dir"] = given["data_log_dir"] = None
    if options.get("log_file") is not None:
        given["log"] = replace(config.log, file=Path(options["log_file"]))
    config = replace(config, **given)
    if config.data_dir is None and not options.get("in_memory"):
        raise ConfigError("no data directory. Give --data DIR (or dataDir in zoo.cfg), or --in-memory to keep nothing.")
    return config


def _masked(key: str, value: str) -> str:
    return "***" if any(each in key.lower() for each in _SECRETS) else value


def _words(text: str, *, read_only_mode: bool) -> frozenset[str]:
    """The whitelist; srvr is always in it, because zkServer.sh asks it, and isro where clients look for a server that
    can write (source: FourLetterCommands.isEnabled).
    """
    names = ["srvr", *(["isro"] if read_only_mode else []), *(each.strip() for each in text.split(",") if each.strip())]
    if any(name in ("*", "all") for name in names):
        return ALL_WORDS
    return frozenset(names)
