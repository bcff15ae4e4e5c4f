"""Where clients come in: the plain port, the secure one, and the certificates they show.

In: settings.  Out: sockets that listen, with the context of those that speak TLS; a task that renews it.
Knows no connection.  Answers to the configure methods of NIOServerCnxnFactory and NettyServerCnxnFactory, and to the
reloading half of X509Util.

(1) All sockets listen, or none is left open.
(2) Certificates that cannot be used do not replace those that are; the log says why, and the next change is tried.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import trio

from coordination.server import tls
from coordination.server.client import Listener
from coordination.server.config import Config, ConfigError
from coordination.server.journal import Journal
from coordination.server.listening import PortTakenError, listen

LOOK_EVERY_S = 1.0


def open_listeners(config: Config) -> list[Listener]:
    """The plain port first, where there is one.  ConfigError, PortTakenError."""
    listeners: list[Listener] = []
    try:
        if config.port is not None:
            plain = Listener(listen(config.host, config.port, config.listen_backlog))
            listeners.append(plain)
            if config.port_unification:
                _secure(plain, config)
                plain.plain_too = True
        if config.secure_port is not None:
            secure = Listener(listen(config.secure_host, config.secure_port, config.listen_backlog))
            listeners.append(secure)
            _secure(secure, config)
    except (ConfigError, PortTakenError):
        close_all(listeners)
        raise
    return listeners


def close_all(listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        listener.sock.close()


async def renew_certificates(listeners: Sequence[Listener], config: Config, journal: Journal) -> None:
    """Until cancelled: whoever comes after the files have changed meets what is in them now."""
    files = tls.settings_from(config.ssl).files
    seen = _stamps(files)
    while True:
        await trio.sleep(LOOK_EVERY_S)
        stamps = _stamps(files)
        if stamps == seen:
            continue
        seen = stamps
        try:
            for listener in listeners:
                if listener.context is not None:
                    _secure(listener, config)
        except ConfigError as error:
            journal.write("tls_reload_failed", what=str(error))
        else:
            journal.write("tls_reloaded", files=[str(each) for each in files])


def _secure(listener: Listener, config: Config) -> None:
    try:
        settings = tls.settings_from(config.ssl)
        listener.context = tls.server_context(settings)
    except tls.TlsError as error:
        raise ConfigError(str(error)) from None
    listener.verify_client_host = settings.verify_client_host


def _stamps(files: Sequence[Path]) -> list[tuple[int, int, int] | None]:
    """What differs when a file was written or replaced."""
    found: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            stat = os.stat(file)
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return found
