"""From an address to a session: connect, TLS, handshake, each step blocking and over within seconds; then, without
blocking, what the socket takes and gives, plain or TLS.

In: an address and a ConnectRequest; bytes.  Out: a socket with the session attached, and the server's answer; or why
not; bytes.
Knows nothing of what the bytes say.  Answers to the connecting part of ZooKeeper's ClientCnxn and ClientCnxnSocket.

(1) Whatever is wrong, no socket is left open.
(2) A stranger is told apart from a server: the reason says what it answered.
"""

import socket
import ssl
from collections.abc import Iterator

from coordination.errors import SessionExpiredError
from coordination.wire.records import ConnectRequest, ConnectResponse, decode_connect_response
from coordination.wire.replies import frame

DIAL_TIMEOUT_S = 5.0
_ANSWER_BYTES_MAX = 1024


class LostError(Exception):
    """This connection is of no more use; the reason, in words."""


def attach(
    address: tuple[str, int], hello: ConnectRequest, tls: ssl.SSLContext | None
) -> tuple[socket.socket, ConnectResponse]:
    """A non-blocking socket on which the session of `hello` is attached, and the server's answer.

    SessionExpiredError: the server does not know that session. OSError, LostError, RemoteProtocolError: try another.
    """
    try:
        sock = socket.create_connection(address, DIAL_TIMEOUT_S)
    except UnicodeError:  # a part of the name is empty or longer than 63 letters
        raise LostError("that is no host name") from None
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            sock = tls.wrap_socket(sock, server_hostname=address[0])
        sock.sendall(frame(hello.encode()))
        answer = _answer(sock)
        if answer.timeout_ms <= 0:
            raise SessionExpiredError
        if answer.read_only and not hello.read_only:
            raise LostError("it serves read-only (no quorum); -r takes that")
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock, answer


def reason_of(error: Exception) -> str:
    """Why an attempt failed, in words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return str(error)


def send_some(sock: socket.socket, out: bytes) -> bytes:
    """Send what the socket takes now; what it did not take."""
    try:
        return out[sock.send(out) :]
    except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
        return out


def received(sock: socket.socket) -> Iterator[bytes]:
    """What is there to read, all of it: TLS may hold bytes that no selector shows."""
    while True:
        try:
            chunk = sock.recv(1 << 16)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        if not chunk:
            raise LostError("the server closed the connection")
        yield chunk
        if len(chunk) < 1 << 16 and not isinstance(sock, ssl.SSLSocket):
            return


def _answer(sock: socket.socket) -> ConnectResponse:
    head = _read_exactly(sock, 4)
    length = int.from_bytes(head, "big", signed=True)
    if not 0 < length <= _ANSWER_BYTES_MAX:
        raise LostError(f"it answered {head!r}, which is not ZooKeeper's protocol (another service, or a TLS port?)")
    return decode_connect_response(_read_exactly(sock, length), 0, length)


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise LostError("it closed the connection at once (no room for this client, or it is behind what was seen)")
        data += piece
    return data
