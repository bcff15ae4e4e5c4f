"""The shell over TLS, through a proxy that ends TLS in front of a plain server: whatever server is behind it."""

import selectors
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from coordination.errors import ConnectionLossError
from coordination.testing import server
from coordination.tools.client import Client
from coordination.tools.connect_string import parse

from .conftest import Run

WAIT_S = 20.0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(zk: server.Server, authority: trustme.CA) -> Iterator[str]:
    """A TLS address of the shared server, which wants a client certificate of the same authority if one is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    threads = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run() -> None:
            while True:
                try:
                    plain, _ = listening.accept()
                except OSError:
                    return
                thread = threading.Thread(target=serve, args=(plain,), daemon=True)
                thread.start()
                threads.append(thread)

        def serve(plain: socket.socket) -> None:
            # One thread reads and writes the TLS side: an SSL object is not for two.
            with (
                plain,
                suppress(OSError),
                context.wrap_socket(plain, server_side=True) as shown,
                socket.create_connection(("127.0.0.1", zk.port)) as behind,
            ):
                relay(shown, behind)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for each in (thread, *threads):
                each.join(WAIT_S)


def relay(shown: ssl.SSLSocket, behind: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(shown, selectors.EVENT_READ)
        selector.register(behind, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                source, target = (shown, behind) if key.fileobj is shown else (behind, shown)
                data = source.recv(1 << 16)
                while isinstance(source, ssl.SSLSocket) and source.pending():
                    data += source.recv(1 << 16)
                if not data:
                    return
                target.sendall(data)


@pytest.fixture
def trusted(tmp_path: Path, authority: trustme.CA) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def test_a_session_over_tls(secure: str, trusted: Path, top: str) -> None:
    context = ssl.create_default_context(cafile=str(trusted))
    with Client(parse(secure), tls=context).start() as client:
        # Longer than a TLS record and than what a socket takes at once, both ways.
        value = bytes(range(256)) * 3000
        client.set(top, value)
        assert client.get(top)[0] == value
        for number in range(200):
            client.create(f"{top}/{number}", b"")
        assert len(client.child_names(top)) == 200


def test_the_shell_over_tls(run: Run, secure: str, trusted: Path) -> None:
    assert run("cli", "-c", secure, "--tls-ca", trusted, "ls", "/zookeeper").out == "[config, quota]\n"
    assert run("4lw", "ruok", secure, "--tls-ca", trusted).out == "imok\n"


def test_a_server_that_is_not_trusted(run: Run, secure: str, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    ran = run("cli", "-c", secure, "--tls-ca", other, "--connect-timeout", "500ms", "ls", "/")
    assert ran.code == 5
    assert "TLS: CERTIFICATE_VERIFY_FAILED" in ran.err


def test_plain_words_to_a_tls_port(secure: str) -> None:
    with pytest.raises(ConnectionLossError, match=r"TLS port|closed the connection|reset"):
        Client(parse(secure)).start(0.5)


def test_files_that_are_not_there(run: Run) -> None:
    ran = run("cli", "-c", "127.0.0.1:1", "--tls-ca", "/nowhere.pem", "ls", "/")
    assert ran.code == 2
    assert "No such file" in ran.err
