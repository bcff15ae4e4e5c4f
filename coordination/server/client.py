"""What the client port keeps per socket, and what it counts.

In and out: fields.  Decides nothing.  Answers to the socket half of ZooKeeper's NIOServerCnxn.
"""

import socket
import ssl
from dataclasses import dataclass

from coordination.server.tls_socket import TlsSocket
from coordination.state.connection import Connection


@dataclass(slots=True)
class Traffic:
    """What went through since the start, or the last srst."""

    bytes_received: int = 0
    bytes_sent: int = 0
    rejected: int = 0
    dropped: int = 0
    sessionless_expired: int = 0
    handshakes_failed: int = 0
    handshakes_exceeded: int = 0
    word_bytes: int = 0
    """Of the bytes sent, what answered four letter words."""
    pauses: int = 0
    """How often nobody was read from, because too much was under way."""


@dataclass(slots=True, eq=False)
class Listener:
    """A socket that accepts; with a context its clients speak TLS."""

    sock: socket.socket
    context: ssl.SSLContext | None = None
    """Of those who come from now on: another one when the certificates have changed."""
    verify_client_host: bool = False
    plain_too: bool = False
    """Each client chooses with its first byte (client.portUnification)."""

    def tls_socket(self, sock: socket.socket, host: str) -> TlsSocket:
        assert self.context is not None
        return TlsSocket(sock, self.context, verify_host=host if self.verify_client_host else "")


class Client:
    """One socket and what it could not take yet."""

    __slots__ = (
        "behind",
        "connection",
        "fd",
        "held_bytes",
        "host",
        "port",
        "reading",
        "resting",
        "sock",
        "tls",
        "undecided",
        "unsent",
        "writing",
    )

    def __init__(self, sock: socket.socket, host: str, port: int, connection: Connection) -> None:
        """`host`: one spelling for each address (`ip_address.java_text`)."""
        self.sock = sock
        self.tls: TlsSocket | None = None
        self.undecided: Listener | None = None  # where it came in, until its first byte says whether it speaks TLS
        self.fd = sock.fileno()
        self.host = host
        self.port = port
        self.connection = connection
        self.unsent = b""  # what its socket is being sent
        self.behind = bytearray()  # and what follows that
        self.held_bytes = 0  # in both
        self.reading = True
        self.resting = False  # others come first
        self.writing = False

    @property
    def address(self) -> str:
        """As Java prints it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def interest(self) -> int:
        """What its socket waits for, as java.nio counts it: 1 to read, 4 to write."""
        return (1 if self.reading else 0) | (4 if self.writing else 0)
