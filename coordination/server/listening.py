"""Sockets that listen, for every port of the server.

In: host and port.  Out: a socket, or why there is none.
Knows no protocol.
"""

import socket

BACKLOG = 1024


class PortTakenError(Exception):
    """A port cannot be listened on."""


def listen(host: str, port: int, backlog: int = -1) -> socket.socket:
    """Port 0: the system chooses.  `backlog` <= 0: BACKLOG.  PortTakenError says what to do."""
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = info[0]
        listener = socket.socket(family, kind, protocol)
        try:
            # A server that was killed must get its port back at once.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind(address)
            listener.listen(BACKLOG if backlog <= 0 else backlog)
        except OSError:
            listener.close()
            raise
    except UnicodeError:
        raise PortTakenError(f"Cannot listen on {host}:{port}: {host!r} is no host name. Correct it.") from None
    except OSError as error:
        raise PortTakenError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}. Another server may hold the port. "
            "Choose one with --port, or stop the other."
        ) from None
    return listener
