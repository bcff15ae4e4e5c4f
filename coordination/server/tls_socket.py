"""A socket that speaks TLS, without ever blocking.

In: a connected socket, a context, bytes to send.  Out: plain bytes; the certificate of a client that showed one.
Knows no record and no session.  Answers to ZooKeeper's ZKTrustManager and the SSL handler of NettyServerCnxnFactory.

(1) A client certificate counts only after the handshake verified it against the trust store.  A hostname check
    compares the socket's address with the certificate's own entries: no DNS is asked, forwards or backwards
    (CVE-2026-24281).
(2) `receive` leaves no plain byte behind: what a poller cannot see must not wait.
"""

import socket
import ssl
from collections.abc import Mapping

from coordination.auth import ip_address

RECEIVE_BYTES = 65536
SEND_BYTES = 1 << 18  # plain bytes encrypted at a time: what a slow reader makes us hold is bounded by this
HANDSHAKE = b"\x16"
"""The first byte of whoever speaks TLS: the type of a handshake record.  No ConnectRequest that fits and no four letter
word begins with it."""

_TRUST_ALERTS = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN", "CERTIFICATE_EXPIRED")
# What OpenSSL's short reasons mean to whoever runs the server.
_MEANS = {
    "UNSUPPORTED_PROTOCOL": "the client offers no version of TLS that ssl.enabledProtocols has",
    "NO_SHARED_CIPHER": "the client offers no cipher suite that the server has (ssl.ciphersuites)",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client has no certificate, and ssl.clientAuth is need",
} | {
    f"{family}_ALERT_{alert}": "the client does not trust the certificate of the server"
    for family in ("SSLV3", "TLSV1", "TLSV13")
    for alert in _TRUST_ALERTS
}


def why_refused(error: OSError) -> str:
    """The reason of a failed `receive`, for the log: ours in words, OpenSSL's behind it."""
    means = _MEANS.get(getattr(error, "reason", None) or "")
    return f"{means}: {error}" if means else str(error)


class TlsSocket:
    """One accepted connection.  `pending`: encrypted bytes the socket has not taken yet."""

    __slots__ = ("_greeted", "_in", "_object", "_out", "_sock", "_unsent", "_verify_host", "certificate", "established")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, verify_host: str = "") -> None:
        """`verify_host`: the client's address, if its certificate must name it."""
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_side=True)
        self._unsent = b""
        self._greeted = False
        self._verify_host = verify_host
        self.established = False
        self.certificate: bytes | None = None

    @property
    def pending(self) -> bool:
        return bool(self._unsent) or self._out.pending > 0

    def receive(self) -> bytes | None:
        """What came, decrypted: None if nothing for us came, b"" at the end.  `OSError` (`ssl.SSLError`) if TLS is
        violated.
        """
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        if not data:
            return b""
        if not self._greeted:
            self._greeted = True
            if data[:1] != HANDSHAKE:
                raise ssl.SSLError("plain bytes came to the TLS port: the client must speak TLS, or use the plain port")
        self._in.write(data)
        try:
            if not self.established and not self._shake_hands():
                return None
            return self._decrypt()
        finally:
            # An alert that says what was wrong goes out too, if the socket takes it.
            self.flush()

    def _shake_hands(self) -> bool:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.certificate = self._object.getpeercert(binary_form=True)
        if self._verify_host and self.certificate is not None:
            check_address(self._object.getpeercert() or {}, self._verify_host)
        self.established = True
        return True

    def _decrypt(self) -> bytes | None:
        plain: list[bytes] = []
        try:
            while piece := self._object.read(RECEIVE_BYTES):
                plain.append(piece)
        except ssl.SSLWantReadError:
            return b"".join(plain) or None
        except ssl.SSLZeroReturnError:
            pass
        return b"".join(plain)  # the other side said goodbye: its last bytes, or the end

    def send(self, data: bytes) -> int:
        """How many of these plain bytes were taken; 0 while the socket is full."""
        if not self.flush() or not self.established or not data:
            return 0
        taken = self._object.write(memoryview(data)[:SEND_BYTES])
        self.flush()
        return taken

    def flush(self) -> bool:
        """Give the socket what is encrypted; True if nothing is left."""
        self._unsent += self._out.read()
        while self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except BlockingIOError:
                return False
            self._unsent = self._unsent[sent:]
        return True

    def say_goodbye(self) -> None:
        """The close_notify, if the socket takes it; the answer is not waited for."""
        if not self.established:
            return
        try:
            self._object.unwrap()
        except (ssl.SSLError, OSError):
            pass
        try:
            self.flush()
        except OSError:
            pass


def check_address(certificate: Mapping[str, object], address: str) -> None:
    """`ssl.SSLError` unless the certificate names this IP address among its own entries."""
    entries = certificate.get("subjectAltName", ())
    assert isinstance(entries, tuple)
    mine = ip_address.parse(ip_address.java_text(address))
    for kind, value in entries:
        if kind == "IP Address" and mine is not None and ip_address.parse(ip_address.java_text(value.lower())) == mine:
            return
    raise ssl.SSLError(f"the client's certificate does not name its address {address} (ssl.clientHostnameVerification)")
