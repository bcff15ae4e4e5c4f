"""What is no frame, no record or no longer welcome: each gets its answer, its reason in the log and a clean end."""

import socket
import struct
from contextlib import ExitStack

import pytest

from coordination.testing.server import Server
from coordination.wire import opcodes, requests
from coordination.wire.records import OPEN_ACL, ConnectRequest
from coordination.wire.replies import decode_header, frame
from tests.server.test_limits import Client, journal

from .conftest import assert_unharmed, plain, rss_bytes, to_the_end

# --- other tongues, lying lengths


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "TLS"),
        (struct.pack(">i", -1), "-1"),
        (struct.pack(">i", 0x7FFFFFFF) + b"x" * 100_000, "2147483647"),
        (struct.pack(">i", 3) + b"abc", "at least 24 bytes"),
    ],
)
def test_what_is_no_frame_is_refused_with_a_reason(abused: Server, said: bytes, reason: str) -> None:
    with Client(abused.port, 60_000) as other, ExitStack() as stack:
        before, lines = rss_bytes(abused), len(journal(abused))
        sock = plain(abused, stack)
        sock.sendall(said)
        assert to_the_end(sock) == b""
        assert_unharmed(other)
        (told,) = (line for line in journal(abused)[lines:] if line["event"] == "protocol_violation")
        assert reason in told["reason"]
        assert rss_bytes(abused) - before < 8 << 20


def test_lying_counts_inside_a_record_allocate_nothing(abused: Server) -> None:
    with Client(abused.port) as client:
        before = rss_bytes(abused)
        for count in (0x7FFFFFFF, -2, 0x10000000):
            body = struct.pack(">qi", 0, count)  # setWatches with so many paths
            client.sock.sendall(frame(struct.pack(">ii", -8, opcodes.SET_WATCHES) + body))
            answer = client.frame()
            assert answer is not None
            assert decode_header(answer, 0, len(answer))[0].err == -5
        assert_unharmed(client)
        assert rss_bytes(abused) - before < 8 << 20


def test_frames_byte_by_byte(abused: Server) -> None:
    with ExitStack() as stack:
        sock = plain(abused, stack)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        said = frame(ConnectRequest(0, 0, 10_000, 0, bytes(16), read_only=False).encode())
        said += requests.encode(requests.Create(1, opcodes.CREATE, "/slow", b"", OPEN_ACL, 0))
        said += requests.encode(requests.CloseSession(2))
        for n in range(len(said)):
            sock.sendall(said[n : n + 1])
        answers = to_the_end(sock)
        assert decode_header(answers, 41 + 4, len(answers))[0].err == 0


def test_a_flood_of_nonsense_is_not_a_flood_of_lines(abused: Server) -> None:
    with Client(abused.port, 60_000) as client:
        before = abused.output.stat().st_size
        nonsense = frame(struct.pack(">iii", 1, opcodes.GET_DATA, 0x7FFFFFFF)) * 1000
        for _ in range(5):
            client.sock.sendall(nonsense)
            for _ in range(1000):
                answer = client.frame()
                assert answer is not None
                assert decode_header(answer, 0, len(answer))[0].err == -5
        assert abused.output.stat().st_size - before < 200_000  # a line of each is 800,000
        assert_unharmed(client)


# --- the last answer


def test_the_answer_to_close_session_comes_and_then_the_end_not_a_reset(abused: Server) -> None:
    with Client(abused.port) as client:
        assert client.ask(requests.CloseSession(1)) == [0]
        client.sock.sendall(requests.encode(requests.Ping(opcodes.XID_PING)) * 1000)
        assert to_the_end(client.sock) == b""
        client.sock.sendall(b"more")
        assert to_the_end(client.sock) == b""


def test_an_expired_session_is_told_so_whatever_else_was_sent(abused: Server) -> None:
    with ExitStack() as stack:
        sock = plain(abused, stack)
        hello = frame(ConnectRequest(0, 0, 10_000, 0x1234, bytes(16), read_only=False).encode())
        sock.sendall(hello + requests.encode(requests.Ping(opcodes.XID_PING)) * 20_000)
        said = to_the_end(sock)
        assert len(said) == 4 + 37
        assert struct.unpack(">iq", said[8:20]) == (0, 0)  # timeout 0, session 0: expired


def test_a_failed_authentication_is_answered_before_the_end(abused: Server) -> None:
    with Client(abused.port) as client:
        client.sock.sendall(
            requests.encode(requests.Auth(opcodes.XID_AUTH, "nonsense", b"x"))
            + requests.encode(requests.Ping(opcodes.XID_PING)) * 20_000
        )
        said = to_the_end(client.sock)
        assert decode_header(said, 4, len(said))[0].err == -115
