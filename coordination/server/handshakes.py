"""TLS of the client port until it is established: who speaks it, how many try at a time, whose certificate it was.

In: clients and their first bytes.  Out: what they said in plain; their certificate, before their first byte counts.
Knows no request.  Answers to ZooKeeper's NettyServerCnxnFactory (DualModeSslHandler, outstandingHandshake.limit).

(1) `under_way` holds exactly the open clients that have begun to speak TLS and are not established.
(2) A certificate is handed on once, before any byte of its client is.
"""

import socket
import ssl
from collections.abc import Callable

from coordination.server.client import Client, Listener, Traffic
from coordination.server.journal import Journal
from coordination.server.tls_socket import HANDSHAKE, TlsSocket, why_refused
from coordination.state.connection import Connection


class Handshakes:
    def __init__(
        self, traffic: Traffic, journal: Journal, certified: Callable[[Connection, bytes], None], at_most: int
    ) -> None:
        """`certified` hears of a verified certificate (DER).  `at_most` under way at a time; -1: no limit."""
        self._traffic = traffic
        self._journal = journal
        self._certified = certified
        self._at_most = at_most
        self.under_way: set[Client] = set()

    def refusal(self) -> str:
        """Why one more TLS client may not come in now; empty: it may."""
        if not 0 < self._at_most <= len(self.under_way):
            return ""
        self._traffic.handshakes_exceeded += 1
        return f"{self._at_most} TLS handshakes under way (netty.server.outstandingHandshake.limit)"

    def entered(self, client: Client, listener: Listener) -> None:
        """It came in at this listener: it speaks TLS, or will say whether it does."""
        if listener.plain_too:
            client.undecided = listener
        elif listener.context is not None:
            self._begin(client, listener)

    def decide(self, client: Client, listener: Listener) -> str:
        """Its first byte is there and says whether it speaks TLS.  Why it may not go on, or nothing."""
        if client.sock.recv(1, socket.MSG_PEEK) == HANDSHAKE:
            if refusal := self.refusal():
                return refusal
            self._begin(client, listener)
        client.undecided = None
        return ""

    def receive(self, client: Client, tls: TlsSocket) -> bytes | None:
        """What recv gives; None: nothing for us yet.  OSError ends the connection."""
        established = tls.established
        try:
            data = tls.receive()
        except OSError as error:
            if isinstance(error, ssl.SSLError):
                self._traffic.handshakes_failed += not established
                self._journal.write("tls_refused", host=client.host, reason=why_refused(error))
            raise
        if tls.established and not established:
            self.under_way.discard(client)
            if tls.certificate is not None:
                self._certified(client.connection, tls.certificate)
        return data

    def _begin(self, client: Client, listener: Listener) -> None:
        client.tls = listener.tls_socket(client.sock, client.host)
        self.under_way.add(client)
