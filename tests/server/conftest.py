"""What several files here need: certificates for the tests of TLS, and a server to be abused.

The authority issues to a server and to a client; its stores are on disk in every form.  Beside clients that misbehave
there is always one that must not notice, and the server's memory is looked at.
"""

import resource
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import load_pem_x509_certificate

from coordination.server.tls import TlsSettings, settings_from
from coordination.testing.server import Server, serve
from coordination.wire import opcodes, requests
from coordination.wire.records import OPEN_ACL
from tests.server.test_limits import Client

# A connection that is answered within this was not harmed; a loaded machine is slow, too.
UNHARMED_S = 5.0
SESSIONLESS_MS = 700

# --- certificates


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="ours")


@pytest.fixture(scope="session")
def server_identity(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("localhost", "127.0.0.1", common_name="the server")


@pytest.fixture
def stores(tmp_path: Path, authority: trustme.CA, server_identity: trustme.LeafCert) -> Path:
    """A directory of key stores and trust stores in every form, good ones and others; their password is sesame."""
    server_identity.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    server_identity.private_key_pem.write_to_path(tmp_path / "key.pem")
    server_identity.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    key = serialization.load_pem_private_key(server_identity.private_key_pem.bytes(), None)
    certificate = load_pem_x509_certificate(server_identity.cert_chain_pems[0].bytes())
    locked = serialization.BestAvailableEncryption(b"sesame")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    (tmp_path / "server.p12").write_bytes(pkcs12.serialize_key_and_certificates(b"x", key, certificate, None, locked))
    (tmp_path / "locked.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
        + server_identity.cert_chain_pems[0].bytes()
    )
    trusted = load_pem_x509_certificate(authority.cert_pem.bytes())
    (tmp_path / "ca.p12").write_bytes(pkcs12.serialize_key_and_certificates(None, None, None, [trusted], locked))
    (tmp_path / "old.jks").write_bytes(b"\xfe\xed\xfe\xed\x00\x00\x00\x02")
    (tmp_path / "empty.pem").write_bytes(b"nothing\n")
    (tmp_path / "password").write_text("sesame\n")
    return tmp_path


def tls_settings(stores: Path, **values: str) -> TlsSettings:
    """From the keys of zoo.cfg without `ssl.`, _ for a dot; FILE stands for the directory `stores`."""
    default = {"keyStore_location": "FILE/server.pem", "trustStore_location": "FILE/ca.pem"}
    named = {
        "ssl." + key.replace("_", "."): value.replace("FILE", str(stores))
        for key, value in {**default, **values}.items()
    }
    return settings_from({key: value for key, value in named.items() if value})


@pytest.fixture
def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@pytest.fixture
def known_client(authority: trustme.CA, client_context: ssl.SSLContext) -> ssl.SSLContext:
    authority.issue_cert("127.0.0.1", "::1", common_name="alice").configure_cert(client_context)
    return client_context


def other_authority() -> trustme.CA:
    return trustme.CA(organization_name="theirs")


# --- clients that misbehave


@pytest.fixture(scope="module")
def room_for_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def abused(tmp_path_factory: pytest.TempPathFactory, room_for_descriptors: None) -> Iterator[Server]:
    """A server that lets everybody in, and soon ends a connection that says nothing."""
    config = tmp_path_factory.mktemp("abused") / "zoo.cfg"
    config.write_text(f"maxClientCnxns=0\nnio.sessionlessCnxnTimeout={SESSIONLESS_MS}\n")
    with serve(options=["--config", str(config), "--4lw", "all"]) as running:
        yield running


def rss_bytes(server: Server) -> int:
    fields = Path(f"/proc/{server.pid}/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize()


def create(client: Client, path: str, data: bytes = b"") -> None:
    assert client.ask(requests.Create(1, opcodes.CREATE, path, data, OPEN_ACL, 0)) == [0]


def assert_unharmed(client: Client) -> None:
    begin = time.monotonic()
    assert client.ask(requests.SetData(1, "/", b"", -1), requests.GetData(2, "/", False)) == [0, 0]
    assert time.monotonic() - begin < UNHARMED_S


def plain(server: Server, stack: ExitStack) -> socket.socket:
    """A connection that has said nothing yet."""
    return stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 20))


def to_the_end(sock: socket.socket) -> bytes:
    """All the server had to say; a reset is an error."""
    return b"".join(iter(lambda: sock.recv(65536), b""))
