"""TLS as it is set up: contexts from files and settings, and what is refused with which words."""

import ssl
import sys
from pathlib import Path

import pytest

from coordination.secret import Secret
from coordination.server import tls
from coordination.server.tls import TlsError, server_context

from .conftest import tls_settings


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"keyStore_location": "FILE/cert.pem", "keyStore_keyLocation": "FILE/key.pem"},
        {"keyStore_location": "FILE/server.p12", "keyStore_password": "sesame"},
        {"keyStore_location": "FILE/server.p12", "keyStore_passwordPath": "FILE/password", "keyStore_type": "pkcs12"},
        {"keyStore_location": "FILE/locked.pem", "keyStore_password": "sesame", "keyStore_type": "PEM"},
        {"trustStore_location": "FILE/ca.p12", "trustStore_password": "sesame"},
        {"trustStore_location": "", "clientAuth": "none"},
        {"clientAuth": "WANT", "enabledProtocols": "TLSv1.3"},
        {"protocol": "TLSv1.2", "ciphersuites": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_AES_128_GCM_SHA256"},
        {"crl": "false", "ocsp": "false"},
    ],
)
def test_what_can_be_served(stores: Path, values: dict[str, str]) -> None:
    context = server_context(tls_settings(stores, **values))
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"keyStore_location": ""}, "ssl.keyStore.location is not"),
        ({"keyStore_location": "FILE/absent.pem"}, "No such file"),
        ({"keyStore_location": "FILE/ca.pem"}, "no private key"),
        ({"keyStore_location": "FILE/empty.pem"}, "no private key"),
        ({"keyStore_location": "FILE/locked.pem"}, "ssl.keyStore.password"),
        ({"keyStore_location": "FILE/locked.pem", "keyStore_password": "wrong"}, "ssl.keyStore.password"),
        ({"keyStore_location": "FILE/server.p12", "keyStore_password": "wrong"}, "ssl.keyStore.password"),
        ({"keyStore_location": "FILE/server.p12", "keyStore_passwordPath": "FILE/absent"}, "ssl.keyStore.passwordPath"),
        ({"keyStore_location": "FILE/ca.p12", "keyStore_password": "sesame"}, "no private key"),
        ({"keyStore_location": "FILE/old.jks"}, "keytool -importkeystore"),
        ({"keyStore_type": "JKS"}, "keytool -importkeystore"),
        ({"keyStore_type": "PKCS12"}, "the file looks like PEM"),
        ({"keyStore_location": "FILE/cert.pem", "keyStore_keyLocation": "FILE/absent"}, "ssl.keyStore.keyLocation"),
        ({"trustStore_location": ""}, "ssl.trustStore.location is not set"),
        ({"trustStore_location": "FILE/empty.pem"}, "no certificates"),
        ({"trustStore_location": "FILE/old.jks"}, "keytool"),
        ({"trustStore_location": "FILE/ca.p12", "trustStore_password": "wrong"}, "ssl.trustStore.password"),
        ({"clientAuth": "maybe"}, "need, want, none"),
        ({"enabledProtocols": "TLSv1.1,TLSv1.2"}, "TLSv1.1"),
        ({"ciphersuites": "TLS_RSA_WITH_NONSENSE"}, "ssl.ciphersuites"),
        ({"ciphersuites": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,NONE"}, "NONE is not known"),
        ({"clientHostnameVerification": "yes"}, "neither true nor false"),
        ({"crl": "yes"}, "neither true nor false"),
        ({"crl": "true"}, "ssl.crl=true"),
        ({"ocsp": "true"}, "ssl.ocsp=true"),
        ({"context_supplier_class": "com.example.Mine"}, "loads no classes"),
    ],
)
def test_what_cannot_is_refused_with_its_setting(stores: Path, values: dict[str, str], said: str) -> None:
    with pytest.raises(TlsError) as refused:
        server_context(tls_settings(stores, **values))
    assert said in str(refused.value)
    assert "sesame" not in str(refused.value)
    assert "wrong" not in str(refused.value).replace("wrong.", "")


def test_settings_show_no_password(stores: Path) -> None:
    shown = tls_settings(stores, keyStore_password="sesame", trustStore_password="sesame")
    assert shown.key_store_password == Secret(b"sesame")
    assert "sesame" not in repr(shown)


def test_pkcs12_without_cryptography_says_what_to_install(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.serialization", None)
    with pytest.raises(TlsError, match=r"brokerdemo\[tls\]"):
        server_context(tls_settings(stores, keyStore_location="FILE/server.p12", keyStore_password="sesame"))


def test_the_openssl_names_of_javas_suites() -> None:
    assert tls._openssl_name("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384") == "ECDHE-RSA-AES256-GCM-SHA384"
    assert tls._openssl_name("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256") == "ECDHE-RSA-AES128-SHA256"
    assert tls._openssl_name("TLS_RSA_WITH_AES_128_GCM_SHA256") == "AES128-GCM-SHA256"
    assert tls._openssl_name("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256") == "ECDHE-RSA-CHACHA20-POLY1305"
