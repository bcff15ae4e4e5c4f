"""Who a connection is: its auth, sasl and certificate, judged; and where a scheme is enforced, who is let through.

In: requests that carry a credential; every request of a connection that may not have shown one.  Out: answers, the
connection's identities, refusals.
Knows no znode.  Answers to the auth half of ZooKeeper's ZooKeeperServer.processPacket and to AuthenticationHelper.

(1) Identities count from the next request on, whatever is under way.
(2) No credential stands in a fact.
"""

from collections.abc import Iterator

from coordination.auth.connection_auth import Verdict
from coordination.state.connection import Connection
from coordination.state.outbox import Outbox
from coordination.state.ready import Counters
from coordination.wire import requests
from coordination.wire.jute import put_buffer
from coordination.wire.records import ConnectRequest
from coordination.wire.replies import HEADER_BYTES, error_reply, pack_reply_head
from coordination.wire.server_connection import Event, FourLetterWord, Violation

# What an enforced scheme does not concern: the handshake, the means to authenticate, and what ends a connection anyway.
_BEFORE_AUTHENTICATION = (ConnectRequest, requests.Auth, requests.Sasl, FourLetterWord, Violation)


class Authentication:
    def __init__(self, outbox: Outbox, counters: Counters) -> None:
        self._outbox = outbox
        self._counters = counters

    def auth(self, connection: Connection, request: requests.Auth) -> None:
        verdict = connection.auth.auth(request.scheme, request.credential)
        self._answer(connection, request.xid, verdict, b"")

    def sasl(self, connection: Connection, request: requests.Sasl) -> None:
        verdict = connection.auth.sasl(request.token)
        self._answer(connection, request.xid, verdict, put_buffer(verdict.token))

    def certified(self, connection: Connection, certificate: bytes) -> None:
        """TLS has verified this certificate (DER) of the client."""
        verdict = connection.auth.certified(certificate)
        connection.identities = connection.auth.identities
        if verdict.close:
            self._failed(connection, verdict)
            self._outbox.close(connection)

    def screened(self, connection: Connection, incoming: list[Event]) -> Iterator[Event]:
        """Where a scheme is enforced: an ordinary request of a connection that has not authenticated ends it."""
        for request in incoming:
            refusal = None if type(request) in _BEFORE_AUTHENTICATION else connection.auth.refusal()
            if refusal is None:
                yield request
                continue
            self._outbox.tell(
                "request_refused", reason=refusal.why, host=connection.host, session_id=connection.session_id
            )
            self._outbox.send_last(connection, error_reply(request.xid, 0, refusal.code))  # type: ignore[union-attr]
            return

    def _answer(self, connection: Connection, xid: int, verdict: Verdict, body: bytes) -> None:
        connection.identities = connection.auth.identities
        if verdict.why:
            self._failed(connection, verdict)
        if not verdict.answered:
            self._outbox.close(connection)
            return
        encoded = pack_reply_head(HEADER_BYTES + len(body), xid, 0, verdict.code) + body
        if verdict.close:
            self._outbox.send_last(connection, encoded)
        else:
            self._outbox.send_in_order(connection, encoded)

    def _failed(self, connection: Connection, verdict: Verdict) -> None:
        self._counters.auth_failed += 1
        self._outbox.tell("auth_failed", reason=verdict.why, host=connection.host, session_id=connection.session_id)
