"""The ports as a server process opens them: TLS beside plain, certificates that change, limits of handshakes."""

# mypy: disable-error-code="no-untyped-call"
import json
import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from kazoo.client import KazooClient

from coordination.testing.server import Server, serve

AUTHORITY = trustme.CA()


def write_identity(path: Path, *names: str) -> None:
    """Replaced as a whole, as whoever renews certificates should."""
    new = path.with_suffix(".new")
    AUTHORITY.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(new)
    new.rename(path)


@contextmanager
def running(tmp_path: Path, **keys: str) -> Iterator[Server]:
    write_identity(tmp_path / "server.pem", "localhost", "127.0.0.1")
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    settings = {
        "ssl.keyStore.location": str(tmp_path / "server.pem"),
        "ssl.trustStore.location": str(tmp_path / "ca.pem"),
        "4lw.commands.whitelist": "*",
    }
    settings |= {key.replace("_", "."): value for key, value in keys.items()}
    config = tmp_path / "zoo.cfg"
    config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    with serve(options=["--config", str(config)]) as server:
        yield server


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    AUTHORITY.issue_cert("127.0.0.1", common_name="ann").configure_cert(context)
    return context


def ask(sock: socket.socket, word: bytes) -> bytes:
    with sock:
        sock.sendall(word)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def connect(server: Server, context: ssl.SSLContext | None = None) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", server.port), 10)
    return sock if context is None else context.wrap_socket(sock, server_hostname="127.0.0.1")


def end_of(sock: socket.socket) -> bool:
    """Whether nothing more comes, however it was ended."""
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def facts(server: Server, event: str) -> list[dict[str, Any]]:
    found = (json.loads(line) for line in server.output.read_text().splitlines() if line.startswith("{"))
    return [each for each in found if each["event"] == event]


def test_one_port_takes_tls_and_plain_clients(tmp_path: Path) -> None:
    with running(tmp_path, client_portUnification="true") as server:
        assert ask(connect(server), b"ruok") == b"imok"
        assert ask(connect(server, client_context()), b"ruok") == b"imok"
        assert facts(server, "serving_tls")[0]["port"] == server.port


def test_a_tls_client_at_a_plain_port_is_told_of(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connect(server, client_context())
        assert ask(connect(server), b"ruok") == b"imok"
        assert "TLS handshake came to the plain client port" in facts(server, "protocol_violation")[0]["reason"]


def test_new_certificates_are_shown_to_whoever_comes_after(tmp_path: Path) -> None:
    with running(tmp_path, client_portUnification="true", client_certReload="true") as server:
        context = client_context()

        def shown() -> bytes | None:
            with connect(server, context) as sock:
                assert isinstance(sock, ssl.SSLSocket)
                return sock.getpeercert(binary_form=True)

        first = shown()
        (tmp_path / "server.pem").write_text("no certificate")
        while not facts(server, "tls_reload_failed"):
            assert shown() == first
        write_identity(tmp_path / "server.pem", "localhost", "127.0.0.1")
        while not facts(server, "tls_reloaded"):
            shown()
        assert shown() != first
        assert len(facts(server, "tls_reload_failed")) == 1


def test_handshakes_under_way_are_limited(tmp_path: Path) -> None:
    limit = {"client_portUnification": "true", "netty_server_outstandingHandshake_limit": "2"}
    with running(tmp_path, **limit) as server:
        held = [connect(server) for _ in range(3)]
        for sock in held:
            sock.sendall(b"\x16\x03\x01")
        turned_away, *_ = select.select(held, [], [], 10)[0]
        with turned_away:
            assert end_of(turned_away)
        held.remove(turned_away)
        figures = ask(connect(server), b"mntr")
        assert b"zk_outstanding_tls_handshake\t2\n" in figures
        assert b"zk_tls_handshake_exceeded\t1\n" in figures
        held.pop().close()
        while b"zk_outstanding_tls_handshake\t2\n" in ask(connect(server), b"mntr"):
            pass
        assert ask(connect(server, client_context()), b"ruok") == b"imok"
        held.pop().close()


def test_changes_are_written_to_the_audit_log(tmp_path: Path) -> None:
    with running(tmp_path, audit_enable="true", log_dir=str(tmp_path / "logs")) as server:
        client = KazooClient(server.connect, timeout=10)
        client.start(10)
        client.create("/a", b"x", ephemeral=True)
        client.stop()
        client.close()
    lines = [json.loads(line) for line in (tmp_path / "logs" / "zookeeper_audit.log").read_text().splitlines()]
    assert [(each["operation"], each.get("znode"), each["result"]) for each in lines] == [
        ("serverStart", None, "success"),
        ("create", "/a", "success"),
        ("ephemeralZNodeDeletionOnSessionCloseOrExpire", "/a", "success"),
        ("serverStop", None, "invoked"),
    ]
    assert lines[1]["ip"] == lines[1]["user"] == "127.0.0.1"
    assert "audit" not in {
        json.loads(line)["event"] for line in (tmp_path / "logs" / "zookeeper.log").read_text().splitlines()
    }


def test_a_data_directory_that_must_be_there(tmp_path: Path) -> None:
    from coordination.cli import main

    config = tmp_path / "zoo.cfg"
    config.write_text(f"# nothing\ndataDir={tmp_path / 'data'}\nclientPort=0\ndatadir.autocreate=false\n")
    assert main(["serve", "--config", str(config)]) == 2
    assert not (tmp_path / "data").exists()
