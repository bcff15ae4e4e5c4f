"""HTTP for operators: serves the applications that are switched on, beside the client port.  Needs the extra `admin`.

In: settings, Readings, listening sockets.  Out: pages.  Imported only when something of it is switched on.
Answers to the Jetty inside ZooKeeper.

(1) Whatever goes wrong here is told to the log and ends neither the client port nor the server.
"""

import socket
from functools import partial

import trio
from hypercorn.config import Config as HttpConfig
from hypercorn.trio import serve

from coordination.server.http_guard import Application
from coordination.server.journal import Journal

HEADERS_BYTES_MAX = 16 << 10
READ_TIMEOUT_S = 30


async def serve_http(
    application: Application, listener: socket.socket, journal: Journal, name: str, *, idle_timeout_ms: int = 30_000
) -> None:
    """Serve until cancelled, on a socket that listens; takes the socket over."""
    settings = HttpConfig()
    settings.bind = [f"fd://{listener.detach()}"]
    settings.accesslog = settings.errorlog = None
    settings.include_server_header = False
    settings.h11_max_incomplete_size = HEADERS_BYTES_MAX
    settings.keep_alive_timeout = idle_timeout_ms / 1000
    settings.read_timeout = READ_TIMEOUT_S
    settings.graceful_timeout = 0.0
    try:
        await serve(application, settings, shutdown_trigger=partial(trio.sleep_forever))  # type: ignore[arg-type]
    except* Exception as failures:
        journal.write("http_failed", name=name, what=str(failures.exceptions[0]))
