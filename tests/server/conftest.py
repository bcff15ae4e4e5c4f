"""Certificates for the tests of TLS: an authority, what it issued to the server and to a client, and stores on disk."""

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import load_pem_x509_certificate

from coordination.server.tls import TlsSettings, settings_from


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
