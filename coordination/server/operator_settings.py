"""Settings of what operators look at: the admin server, /metrics, the server's own log, the audit log.

In: a ConfigReader.  Out: one frozen record each, None for what is off; ConfigError.
Opens nothing.  Answers to JettyAdminServer's and PrometheusMetricsProvider's settings, and to logback.xml.

(1) Off unless asked for, and on loopback unless an address is given.
(2) What would be served less safely than the setting says (HTTPS) is refused.
"""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from coordination.server.config_reader import ConfigError, ConfigReader

PROMETHEUS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
_OTHER_PROVIDERS = (
    "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
)
AUDIT_LOGGER = "org.apache.zookeeper.audit.Slf4jAuditLogger"


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """The admin server over HTTP; None in Config: off."""

    host: str = "127.0.0.1"
    port: int = 8080
    command_url: str = "/commands"
    idle_timeout_ms: int = 30_000
    allowed_hosts: tuple[str, ...] = ()
    """Names a browser or a proxy may know this server by, beside localhost and the address connected to."""
    token_file: Path | None = None
    """Holds the token that commands with an effect ask for; without it there are none."""
    snapshot_enabled: bool = True
    snapshot_every_us: int = 300_000
    """At most one snapshot is taken in so long.  ZooKeeper's key and guide say ms; its 3.9 counts microseconds."""


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """/metrics for Prometheus; None in Config: off."""

    host: str = "127.0.0.1"
    port: int = 7000
    allowed_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The server's own log; the names are those of ZooKeeper's logback.xml."""

    level: str = "info"
    """Of the file (log.threshold)."""
    console_level: str | None = None
    """None: as --log-level says; with a file, errors only."""
    file: Path | None = None
    file_bytes_max: int = 256 << 20
    file_count: int = 20
    """How many older files are kept."""


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Who changed what; None in Config: off."""

    file: Path | None = None
    """None: lines of the server's own log."""
    file_bytes_max: int = 10 << 20
    file_count: int = 10


def admin_settings(reader: ConfigReader) -> AdminSettings | None:
    enabled = reader.flag("admin.enableServer", False)
    for key in ("admin.forceHttps", "admin.portUnification", "admin.needClientAuth"):
        if reader.flag(key, False) and enabled:
            raise ConfigError(
                f"{key}=true, and the admin server speaks plain HTTP. Remove the line, or put a TLS proxy."
            )
    token_file, url = reader.text("admin.tokenFile", ""), reader.text("admin.commandURL", "/commands").rstrip("/")
    settings = AdminSettings(
        host=reader.text("admin.serverAddress", "127.0.0.1"),
        port=reader.port("admin.serverPort", 8080),
        command_url=url,
        idle_timeout_ms=reader.integer("admin.idleTimeout", 30_000, at_least=1),
        allowed_hosts=reader.names("admin.allowedHosts"),
        token_file=Path(token_file) if token_file else None,
        snapshot_enabled=reader.flag("admin.snapshot.enabled", True),
        snapshot_every_us=reader.integer("admin.rateLimiterIntervalInMS", 300_000, at_least=0),
    )
    if enabled and not url.startswith("/"):
        raise ConfigError(f"admin.commandURL={url or '/'} must begin with / and name something, as /commands does.")
    return settings if enabled else None


def metrics_settings(reader: ConfigReader) -> MetricsSettings | None:
    provider = reader.text("metricsProvider.className", _OTHER_PROVIDERS[0])
    settings = MetricsSettings(
        host=reader.text("metricsProvider.httpHost", "127.0.0.1"),
        port=reader.port("metricsProvider.httpPort", 7000),
        allowed_hosts=reader.names("metricsProvider.allowedHosts"),
    )
    https = reader.has("metricsProvider.httpsPort")
    if provider == PROMETHEUS:
        if https:
            raise ConfigError(
                "metricsProvider.httpsPort is set, and metrics are served over plain HTTP. "
                "Set metricsProvider.httpPort, and put a TLS proxy if it must be."
            )
        return settings
    if provider not in _OTHER_PROVIDERS:
        known = ", ".join((PROMETHEUS, *_OTHER_PROVIDERS))
        raise ConfigError(f"metricsProvider.className={provider}: this server loads no classes. It has {known}.")
    return None


def log_settings(reader: ConfigReader) -> LogSettings:
    name, directory = reader.text("log.file", ""), reader.text("log.dir", "")
    if directory and not name:
        name = "zookeeper.log"
    return LogSettings(
        level=reader.level("log.threshold", "INFO"),
        console_level=reader.level("console.threshold", "INFO") if reader.has("console.threshold") else None,
        file=Path(directory, name) if name else None,
        file_bytes_max=reader.size("log.maxfilesize", "256MB"),
        file_count=reader.integer("log.maxbackupindex", 20, at_least=0, at_most=10_000),
    )


def user_name() -> str:
    """Whom this process belongs to."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return "?"


def audit_settings(reader: ConfigReader) -> AuditSettings | None:
    """As the audit appender of ZooKeeper's logback.xml: zookeeper_audit.log beside the log, where that is a file."""
    enabled = reader.flag("audit.enable", False)
    logger = reader.text("audit.impl.class", AUDIT_LOGGER)
    if enabled and logger != AUDIT_LOGGER:
        raise ConfigError(f"audit.impl.class={logger}: this server loads no classes. It has {AUDIT_LOGGER}.")
    name, directory = reader.text("auditlog.file", ""), reader.text("log.dir", "")
    if directory and not name:
        name = "zookeeper_audit.log"
    settings = AuditSettings(
        file=Path(directory, name) if name else None,
        file_bytes_max=reader.size("auditlog.maxfilesize", "10MB"),
        file_count=reader.integer("auditlog.maxbackupindex", 10, at_least=0, at_most=10_000),
    )
    return settings if enabled else None
