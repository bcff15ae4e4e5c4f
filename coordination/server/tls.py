"""TLS for the client port: files and settings -> one SSLContext.

In: the ssl.* settings, files in PEM or PKCS#12.  Out: a context for the server's side; the files it was made of.
Knows no socket (`tls_socket` does).  Answers to ZooKeeper's X509Util and ClientX509Util.

(1) One function builds every context; what it cannot honour (revocation checks, Java key stores) is refused, never
    skipped.
(2) A private key never touches the disk on its way from PKCS#12, and no password stands in a message.
(3) TLS 1.3 unless the settings ask for 1.2 too; no renegotiation, no compression.
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from coordination.secret import Secret

NEED, WANT, NONE = "need", "want", "none"
_VERIFY = {NEED: ssl.CERT_REQUIRED, WANT: ssl.CERT_OPTIONAL, NONE: ssl.CERT_NONE}
_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
TLS_13_SUITES = frozenset(
    f"TLS_{name}_SHA{size}"
    for name, size in (
        ("AES_128_GCM", 256),
        ("AES_256_GCM", 384),
        ("CHACHA20_POLY1305", 256),
        ("AES_128_CCM", 256),
        ("AES_128_CCM_8", 256),
    )
)
DEFAULT_PROTOCOLS = ("TLSv1.3",)  # as ZooKeeper 3.9 on a Java that has it (X509Util.defaultTlsProtocol)
PEM, PKCS12, JKS = "PEM", "PKCS12", "JKS"

_STORE_KEYS = ("location", "type", "password", "passwordPath")
KEYS = frozenset(
    (
        *(f"ssl.{store}.{key}" for store in ("keyStore", "trustStore") for key in _STORE_KEYS),
        "ssl.keyStore.keyLocation",
        "ssl.clientAuth",
        "ssl.clientHostnameVerification",
        "ssl.hostnameVerification",
        "ssl.protocol",
        "ssl.enabledProtocols",
        "ssl.ciphersuites",
        "ssl.crl",
        "ssl.ocsp",
        "ssl.context.supplier.class",
        "ssl.authProvider",
    )
)
"""What `settings_from` reads; any other `ssl.` key is unknown, and told of."""


class TlsError(Exception):
    """TLS cannot be served so: what, why, what to do.  Holds no password."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    key_store: Path | None = None
    key_store_type: str = ""
    key_store_password: Secret | None = None
    private_key: Path | None = None
    """PEM only: the key, if it is not in the key store's file."""
    trust_store: Path | None = None
    trust_store_type: str = ""
    trust_store_password: Secret | None = None
    client_auth: str = NEED
    verify_client_host: bool = False
    protocols: tuple[str, ...] = DEFAULT_PROTOCOLS
    ciphers: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """What a context is made of, but for the passwords."""
        return tuple(each for each in (self.key_store, self.private_key, self.trust_store) if each is not None)


def settings_from(values: Mapping[str, str]) -> TlsSettings:
    """The `ssl.*` keys, without the prefix `zookeeper.` (source: X509Util, ClientX509Util)."""
    for key, why in (
        ("ssl.crl", "this server cannot check revocation lists"),
        ("ssl.ocsp", "this server cannot ask for revocation by OCSP"),
    ):
        if _true(values, key, "false"):
            raise TlsError(f"{key}=true: {why}, and will not serve as if it did. Set it to false")
    if values.get("ssl.context.supplier.class"):
        raise TlsError("ssl.context.supplier.class: this server loads no classes. Remove the line")
    if values.get("ssl.authProvider", "x509") != "x509":
        raise TlsError(f"ssl.authProvider={values['ssl.authProvider']}: this server has x509 only. Remove the line")
    client_auth = values.get("ssl.clientAuth", NEED).strip().lower() or NEED
    if client_auth not in _VERIFY:
        raise TlsError(f"ssl.clientAuth={client_auth}: take one of {', '.join(_VERIFY)}")
    key = "ssl.enabledProtocols" if values.get("ssl.enabledProtocols") else "ssl.protocol"
    protocols = _list(values.get(key, ""))
    wrong = [each for each in protocols if each not in _VERSIONS]
    if wrong:
        raise TlsError(f"{key}: there is no {', '.join(wrong)} here. Take {' and/or '.join(_VERSIONS)}")
    return TlsSettings(
        key_store=_path(values, "ssl.keyStore.location"),
        key_store_type=values.get("ssl.keyStore.type", "").upper(),
        key_store_password=_password(values, "ssl.keyStore"),
        private_key=_path(values, "ssl.keyStore.keyLocation"),
        trust_store=_path(values, "ssl.trustStore.location"),
        trust_store_type=values.get("ssl.trustStore.type", "").upper(),
        trust_store_password=_password(values, "ssl.trustStore"),
        client_auth=client_auth,
        verify_client_host=_true(values, "ssl.clientHostnameVerification", "false")
        and _true(values, "ssl.hostnameVerification", "true"),
        protocols=protocols or DEFAULT_PROTOCOLS,
        ciphers=_list(values.get("ssl.ciphersuites", "")),
    )


def _true(values: Mapping[str, str], key: str, default: str) -> bool:
    text = values.get(key, default).strip().lower()
    if text not in ("true", "false"):
        raise TlsError(f"{key}={values[key]} is neither true nor false. Correct it, or leave the line out")
    return text == "true"


def _list(text: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in text.split(",") if each.strip())


def _path(values: Mapping[str, str], key: str) -> Path | None:
    text = values.get(key, "").strip()
    return Path(text) if text else None


def _password(values: Mapping[str, str], store: str) -> Secret | None:
    """`.password`, or the content of the file `.passwordPath` names."""
    path = values.get(f"{store}.passwordPath", "").strip()
    if path:
        try:
            return Secret(Path(path).read_bytes().strip())
        except OSError as error:
            raise TlsError(
                f"{store}.passwordPath={path}: {error.strerror}. Correct the path, or give .password"
            ) from None
    text = values.get(f"{store}.password", "")
    return Secret(text.encode()) if text else None


# --- the context


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """The context of the secure port; `TlsError` names the setting and the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    versions = sorted(_VERSIONS[each] for each in settings.protocols)
    context.minimum_version, context.maximum_version = versions[0], versions[-1]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.verify_mode = _VERIFY[settings.client_auth]
    # What is in the trust store is trusted, an authority's root or not, as in Java.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if settings.ciphers:
        _set_ciphers(context, settings.ciphers)
    _load_key(context, settings)
    if settings.client_auth != NONE:
        _load_trust(context, settings)
    return context


def _set_ciphers(context: ssl.SSLContext, names: tuple[str, ...]) -> None:
    """Java's names of suites; those of TLS 1.3 are always on and cannot be chosen from here."""
    older = []
    for name in names:
        if name in TLS_13_SUITES:
            continue
        try:
            context.set_ciphers(_openssl_name(name))
        except ssl.SSLError:
            raise TlsError(f"ssl.ciphersuites: {name} is not known here. Take others, or leave it out") from None
        older.append(_openssl_name(name))
    if older:
        context.set_ciphers(":".join(older))


def _openssl_name(java: str) -> str:
    """TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 -> ECDHE-RSA-AES128-GCM-SHA256."""
    keys, _, cipher = java.removeprefix("TLS_").partition("_WITH_")
    cipher = cipher.replace("AES_128", "AES128").replace("AES_256", "AES256").replace("_CBC", "")
    cipher = cipher.replace("CHACHA20_POLY1305_SHA256", "CHACHA20_POLY1305")
    return f"{'' if keys == 'RSA' else keys + '_'}{cipher}".replace("_", "-")


def _load_key(context: ssl.SSLContext, settings: TlsSettings) -> None:
    if settings.key_store is None:
        raise TlsError("secureClientPort is set and ssl.keyStore.location is not: name a PEM or PKCS#12 file there")
    where = f"ssl.keyStore.location={settings.key_store}"
    data = _read(settings.key_store, where)
    password = b"" if settings.key_store_password is None else settings.key_store_password.reveal()
    with _as_pem_file(data, settings, where, password) as (path, pem_password):
        try:
            context.load_cert_chain(path, settings.private_key, password=lambda: pem_password)
        except ssl.SSLError as error:
            if error.reason in ("BAD_DECRYPT", "BAD_PASSWORD_READ") or "PEM lib" in str(error):
                why = "no private key with its certificate in it, or ssl.keyStore.password does not open it"
            else:
                why = f"{error.reason}"
            raise TlsError(f"{where}: {why}. It must hold the key and the certificate, in PEM or PKCS#12") from None
        except OSError as error:
            raise TlsError(f"ssl.keyStore.keyLocation={settings.private_key}: {error.strerror}. Correct it") from None


def _load_trust(context: ssl.SSLContext, settings: TlsSettings) -> None:
    if settings.trust_store is None:
        raise TlsError(
            f"ssl.clientAuth is {settings.client_auth} and ssl.trustStore.location is not set: nobody says which "
            "client certificates to trust. Name a file with the certificate authorities, or set ssl.clientAuth=none"
        )
    where = f"ssl.trustStore.location={settings.trust_store}"
    data = _read(settings.trust_store, where)
    if _type_of(data, settings.trust_store_type, where) == PKCS12:
        password = b"" if settings.trust_store_password is None else settings.trust_store_password.reveal()
        data = _trusted_from_pkcs12(data, password, where)
    try:
        context.load_verify_locations(cadata=data.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        raise TlsError(f"{where}: holds no certificates in PEM. Give the authorities' certificates") from None


def _read(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"{where}: {error.strerror}. Correct the path, or its permissions") from None


def _type_of(data: bytes, said: str, where: str) -> str:
    """PEM or PKCS12, by what is in the file; what the settings say must agree with it."""
    if data[:4] == b"\xfe\xed\xfe\xed":
        found = JKS
    elif data[:1] == b"\x30":
        found = PKCS12
    else:
        found = PEM
    if found == JKS or said in (JKS, "BCFKS"):
        raise TlsError(
            f"{where}: a Java key store ({said or found}), which this server does not read. Convert it: "
            "keytool -importkeystore -srckeystore OLD.jks -destkeystore NEW.p12 -deststoretype PKCS12"
        )
    if said and said != found:
        raise TlsError(f"{where}: the type given is {said}, the file looks like {found}. Correct one of them")
    return found


@contextmanager
def _as_pem_file(data: bytes, settings: TlsSettings, where: str, password: bytes) -> Iterator[tuple[str | Path, bytes]]:
    """A path OpenSSL can read key and certificate from, and the key's password there."""
    if _type_of(data, settings.key_store_type, where) == PEM:
        assert settings.key_store is not None
        yield settings.key_store, password
        return
    pem_password = os.urandom(24).hex().encode()
    pem = _key_from_pkcs12(data, password, pem_password, where)
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("key-store")
        try:
            os.write(fd, pem)
            yield f"/proc/self/fd/{fd}", pem_password
        finally:
            os.close(fd)
        return
    # pragma: no cover - other systems: encrypted under a password nobody keeps, for a moment, for us alone
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        yield file.name, pem_password


def _key_from_pkcs12(data: bytes, password: bytes, pem_password: bytes, where: str) -> bytes:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.serialization import pkcs12
    except ImportError:
        raise _no_cryptography(where) from None
    try:
        key, certificate, chain = pkcs12.load_key_and_certificates(data, password or None)
    except ValueError:
        raise TlsError(f"{where}: not PKCS#12, or the password (ssl.keyStore.password) does not open it") from None
    if key is None or certificate is None:
        raise TlsError(f"{where}: holds no private key with its certificate. Export both into it")
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(pem_password),
    )
    return pem + b"".join(each.public_bytes(serialization.Encoding.PEM) for each in (certificate, *chain))


def _trusted_from_pkcs12(data: bytes, password: bytes, where: str) -> bytes:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.serialization import pkcs12
    except ImportError:
        raise _no_cryptography(where) from None
    try:
        store = pkcs12.load_pkcs12(data, password or None)
    except ValueError:
        raise TlsError(f"{where}: not PKCS#12, or the password (ssl.trustStore.password) does not open it") from None
    held = [*store.additional_certs, *([store.cert] if store.cert is not None else [])]
    return b"".join(each.certificate.public_bytes(serialization.Encoding.PEM) for each in held)


def _no_cryptography(where: str) -> TlsError:
    return TlsError(
        f"{where}: a PKCS#12 file, and the package cryptography, which reads it, is not installed. "
        "Install brokerdemo[tls], or give the same in PEM"
    )
