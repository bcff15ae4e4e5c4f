"""Limits of a running server, each with its own clear refusal; and no secret in anything it writes."""

import json
import socket
from pathlib import Path
from typing import Any, Self

import pytest

from coordination.auth.sasl_digest_md5 import client_response
from coordination.auth.schemes import generate_digest
from coordination.secret import Secret
from coordination.testing import server
from coordination.testing.apache import ask
from coordination.testing.server import Server
from coordination.wire import opcodes, requests
from coordination.wire.jute import get_buffer, unpack_int
from coordination.wire.records import OPEN_ACL, ConnectRequest, decode_connect_response
from coordination.wire.replies import decode_header, frame

QUOTA_EXCEEDED = -125


class Client:
    """A session over a blocking socket."""

    def __init__(self, port: int, timeout_ms: int = 10_000, host: str = "127.0.0.1") -> None:
        self.sock = socket.create_connection((host, port), 10)
        self.file = self.sock.makefile("rb")
        self.sock.sendall(frame(ConnectRequest(0, 0, timeout_ms, 0, bytes(16)).encode()))
        self.hello = self.frame()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.sock.close()

    def frame(self) -> bytes | None:
        """The next frame; None at the end."""
        try:
            head = self.file.read(4)
            return self.file.read(unpack_int(head, 0)[0]) if len(head) == 4 else None
        except ConnectionError:
            return None

    def ask(self, *asked: requests.Request) -> list[int]:
        """The codes of the answers."""
        self.sock.sendall(b"".join(map(requests.encode, asked)))
        frames = [self.frame() for _ in asked]
        return [decode_header(each, 0, len(each))[0].err for each in frames if each is not None]


def options(tmp_path: Path, **values: str) -> list[str]:
    config = tmp_path / "zoo.cfg"
    config.write_text("".join(f"{key.replace('__', '.')}={value}\n" for key, value in values.items()))
    return ["--config", str(config)]


def journal(running: Server) -> list[dict[str, Any]]:
    lines = running.output.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.mark.parametrize("key", ["maxClientCnxns", "maxCnxns"])
def test_one_connection_too_many_is_closed_and_said_why(tmp_path: Path, key: str) -> None:
    with server.serve(options=options(tmp_path, **{key: "2"})) as running:
        with Client(running.port) as one, Client(running.port) as two, Client(running.port) as three:
            assert one.hello is not None
            assert two.hello is not None
            assert three.hello is None
            assert one.ask(requests.CloseSession(1)) == [0]
            assert one.frame() is None  # the server has closed it: there is room again
            with Client(running.port) as again:
                assert again.hello is not None
                again.ask(requests.Ping(opcodes.XID_PING))  # what happened before it is in the log now
        refusals = [line for line in journal(running) if line["event"] == "connection_refused"]
        assert len(refusals) == 1
        assert key in refusals[0]["reason"]


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize(
    ("host", "other", "shown"),
    [("127.0.0.1", "::1", "/127.0.0.1:"), ("::1", "127.0.0.1", "/[0:0:0:0:0:0:0:1]:")],
)
def test_whatever_way_an_address_is_spelled_its_connections_are_counted(
    tmp_path: Path, host: str, other: str, shown: str
) -> None:
    """To an IPv6 socket 127.0.0.1 is ::ffff:127.0.0.1, and ::1 is what Java calls 0:0:0:0:0:0:0:1."""
    settings = options(tmp_path, maxClientCnxns="2")
    with (
        server.serve(options=[*settings, "--host", "::", "--4lw", "cons"]) as running,
        Client(running.port, host=host) as one,
        Client(running.port, host=host) as two,
        Client(running.port, host=host) as three,
    ):
        assert one.hello is not None
        assert two.hello is not None
        assert three.hello is None
        with socket.create_connection((other, running.port), 10) as sock, sock.makefile() as answer:
            sock.sendall(b"cons")
            assert answer.read().count(shown) == 2


def test_a_small_outstanding_limit_slows_down_and_loses_nothing(tmp_path: Path) -> None:
    with (
        server.serve(options=options(tmp_path, globalOutstandingLimit="1")) as running,
        Client(running.port) as one,
        Client(running.port) as two,
    ):
        many = [requests.Create(n, opcodes.CREATE, f"/n{n}", b"", OPEN_ACL, 0) for n in range(300)]
        for client in (one, two):
            client.sock.sendall(b"".join(map(requests.encode, many)))
        codes = []
        for client in (one, two):
            frames = [client.frame() for _ in many]
            codes += [decode_header(each, 0, len(each))[0].err for each in frames if each is not None]
        assert sorted(codes) == [-110] * 300 + [0] * 300
        assert one.ask(requests.Ping(opcodes.XID_PING)) == [0]


def test_a_hard_quota_is_refused_over_the_wire(tmp_path: Path) -> None:
    with (
        server.serve(options=[*options(tmp_path, enforceQuota="true"), "--4lw", "all"]) as running,
        Client(running.port) as client,
    ):

        def create(path: str, data: bytes = b"") -> int:
            return client.ask(requests.Create(1, opcodes.CREATE, path, data, OPEN_ACL, 0))[0]

        for path in ("/q", "/zookeeper/quota/q"):
            assert create(path) == 0
        assert create("/zookeeper/quota/q/zookeeper_limits", b"count=1,bytes=-1=;countHardLimit=2") == 0
        assert create("/zookeeper/quota/q/zookeeper_stats", b"count=0,bytes=0") == 0
        assert [create("/q/1"), create("/q/2")] == [0, QUOTA_EXCEEDED]
        client.ask(requests.Ping(opcodes.XID_PING))  # what happened before it is in the log now
        told = [line for line in journal(running) if line["event"] == "quota_exceeded"]
        assert told[0]["path"] == "/q"
        assert "zk_q_quota_exceeded_error_per_namespace\t1\n" in ask(running.port, "mntr")


JAAS = 'Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_bob="planted-jaas"; };'


def test_no_secret_is_written_anywhere(tmp_path: Path) -> None:
    """CVE-2026-24308: passwords of the settings, of clients and of sessions stay out of the log."""
    (tmp_path / "jaas.conf").write_text(JAAS)
    digest = generate_digest("super:planted-super")
    (tmp_path / "props").write_text(
        f"zookeeper.DigestAuthenticationProvider.superDigest={digest}\n"
        f"java.security.auth.login.config={tmp_path / 'jaas.conf'}\n"
        "zookeeper.ssl.keyStore.password=planted-store\n"
    )
    sasl = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
    more = ["--props", str(tmp_path / "props"), "--log-level", "debug", "--4lw", "all"]
    with server.serve(options=[*options(tmp_path, authProvider__1=sasl), *more]) as running:
        passwords = []
        for scheme, credential in (
            ("digest", b"super:planted-super"),
            ("sasl", b"planted-sasl"),
            ("digest", b"a:planted-a"),
        ):
            with Client(running.port) as client:
                assert client.hello is not None
                passwords.append(decode_connect_response(client.hello, 0, len(client.hello)).password)
                client.ask(requests.Auth(opcodes.XID_AUTH, scheme, credential))
        for password in (b"planted-jaas", b"planted-guess"):
            with Client(running.port) as client:
                client.sock.sendall(requests.encode(requests.Sasl(1, b"")))
                first = client.frame()
                assert first is not None
                challenge = get_buffer(first, 16, len(first))[0] or b""
                assert challenge
                response, _ = client_response(challenge, user="bob", password=Secret(password), cnonce="c" * 16)
                client.ask(requests.Sasl(2, response))
        words = []
        for word in (b"conf", b"envi", b"cons", b"dump", b"mntr", b"stat"):
            with socket.create_connection(("127.0.0.1", running.port), 10) as sock:
                sock.sendall(word)
                words.append(b"".join(iter(lambda sock=sock: sock.recv(65536), b"")))  # type: ignore[misc]
        written = running.output.read_bytes() + b"".join(words)
        assert b"auth_failed" in written
        hidden = [b"planted", digest.partition(":")[2].encode(), challenge]
        for secret in [*hidden, *(each.hex().encode() for each in passwords), *passwords]:
            assert secret not in written
