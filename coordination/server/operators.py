"""The ports for operators: the admin server and /metrics, when they are switched on.

In: settings.  Out: sockets that listen, and tasks that serve them.  Knows no page.
Answers to AdminServerFactory and MetricsProviderBootstrap.

(1) Nothing of HTTP is imported before one of the two is asked for: a server without them starts as fast as ever.
"""

import socket
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import trio

from coordination.server.config import Config, ConfigError
from coordination.server.journal import Journal
from coordination.server.listening import PortTakenError, listen
from coordination.server.readings import Readings
from coordination.server.snapshots import Snapshotter


class OperatorPorts(NamedTuple):
    """Sockets that listen for HTTP; None: off."""

    admin: socket.socket | None = None
    metrics: socket.socket | None = None

    def close(self) -> None:
        for each in self:
            if each is not None:
                each.close()


def operator_ports(config: Config) -> OperatorPorts:
    """Listen where the settings say so.  ConfigError without the extra; PortTakenError."""
    if config.admin is None and config.metrics is None:
        return OperatorPorts()
    try:
        import coordination.server.http_admin
        import coordination.server.http_metrics
        import coordination.server.http_serving  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"the admin server and /metrics need the extra `admin`, and {error.name} is not installed. "
            "Run: pip install 'brokerdemo[admin]', or leave admin.enableServer and metricsProvider.className out."
        ) from None
    admin, metrics = config.admin, config.metrics
    ports = OperatorPorts(None if admin is None else listen(admin.host, admin.port))
    try:
        return ports._replace(metrics=None if metrics is None else listen(metrics.host, metrics.port))
    except PortTakenError:
        ports.close()
        raise


def start_http(
    nursery: trio.Nursery,
    config: Config,
    ports: OperatorPorts,
    readings: Readings,
    snapshots: Snapshotter | None,
    journal: Journal,
) -> None:
    """Serve the operators' ports that are on; trouble there ends nothing here."""
    if ports.admin is None and ports.metrics is None:
        return
    from coordination.server import http_admin, http_metrics
    from coordination.server.http_serving import serve_http

    def failed(name: str) -> Callable[[BaseException], None]:
        return lambda error: journal.write("http_request_failed", name=name, what=repr(error))

    for name, settings, port in (("admin", config.admin, ports.admin), ("metrics", config.metrics, ports.metrics)):
        if settings is not None and port is not None:
            journal.write(f"serving_{name}", host=settings.host, port=port.getsockname()[1])
            if not (settings.host.startswith("127.") or settings.host in ("localhost", "::1")):
                journal.write("exposed", name=name, host=settings.host, what="whoever reaches this address can read it")
    if ports.admin is not None and config.admin is not None:
        take = None if snapshots is None else snapshots.take
        pages = http_admin.application(config.admin, readings, take, failed("admin"))
        idle_ms = config.admin.idle_timeout_ms
        nursery.start_soon(partial(serve_http, pages, ports.admin, journal, "admin", idle_timeout_ms=idle_ms))
    if ports.metrics is not None and config.metrics is not None:
        pages = http_metrics.application(config.metrics, readings, failed("metrics"))
        nursery.start_soon(serve_http, pages, ports.metrics, journal, "metrics")
