"""TLS and x509, the same on ours and on Apache ZooKeeper: who may come in, and how a certificate's subject is spelt."""

import datetime
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from coordination.testing import apache, server
from coordination.wire import opcodes, requests
from coordination.wire.jute import get_string, get_vector, unpack_int
from coordination.wire.opcodes import PERM_ALL
from coordination.wire.records import Acl, ConnectRequest
from coordination.wire.replies import decode_header, frame

pytestmark = pytest.mark.peers

CN, ORG, UNIT, COUNTRY = (
    NameOID.COMMON_NAME,
    NameOID.ORGANIZATION_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.COUNTRY_NAME,
)
NAMES: list[list[tuple[x509.ObjectIdentifier, str]]] = [
    [(CN, "alice")],
    [(COUNTRY, "DE"), (ORG, "Acme"), (UNIT, "R&D"), (CN, "alice")],
    [(CN, 'a,b+c"d\\e<f>g;h#i=j')],
    [(CN, "#lead"), (ORG, "  spaces  ")],
    [(CN, "Jürgen 漢"), (ORG, "in  side")],
    [(NameOID.DOMAIN_COMPONENT, "org"), (NameOID.USER_ID, "u"), (NameOID.STREET_ADDRESS, "1 Road")],
    [(NameOID.EMAIL_ADDRESS, "a@b"), (NameOID.SERIAL_NUMBER, "7"), (NameOID.SURNAME, "s"), (CN, "x")],
    [(NameOID.LOCALITY_NAME, "l"), (NameOID.STATE_OR_PROVINCE_NAME, "st"), (CN, "tab\there")],
]


class Authority:
    """A certificate authority, and what it signs, as files."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.name = x509.Name([x509.NameAttribute(CN, name)])
        self.key = rsa.generate_private_key(65537, 2048)
        self.certificate = self._sign(self.name, self.key, True)
        self.path = directory / f"{name}.pem"
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(self, name: x509.Name, key: rsa.RSAPrivateKey, ca: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName("localhost")]
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def issue(self, file: str, *names: tuple[x509.ObjectIdentifier, str]) -> Path:
        """Key (PKCS#8) and certificate in one PEM file; the same as PKCS#12, password `sesame`, beside it."""
        key = rsa.generate_private_key(65537, 2048)
        certificate = self._sign(x509.Name([x509.NameAttribute(oid, value) for oid, value in names]), key, False)
        encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        path = self.directory / f"{file}.pem"
        path.write_bytes(
            key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain) + certificate.public_bytes(encoding)
        )
        locked = serialization.BestAvailableEncryption(b"sesame")
        path.with_suffix(".p12").write_bytes(
            pkcs12.serialize_key_and_certificates(b"key", key, certificate, [self.certificate], locked)
        )
        return path


@contextmanager
def both(tmp_path: Path, settings: dict[str, str], properties: dict[str, str]) -> Iterator[list[int]]:
    """Ours and the real one with a secure port each: these ports."""
    reason = apache.why_unavailable()
    if reason:
        pytest.skip(reason)
    ports = apache.free_ports(2)
    ours = {**settings, "secureClientPort": str(ports[0])}
    (tmp_path / "zoo.cfg").write_text("".join(f"{key}={value}\n" for key, value in ours.items()))
    (tmp_path / "props").write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    options = ["--config", str(tmp_path / "zoo.cfg"), "--props", str(tmp_path / "props")]
    theirs = {
        **settings,
        "secureClientPort": str(ports[1]),
        "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
    }
    flags = [f"-D{key}={value}" for key, value in properties.items()]
    with ExitStack() as stack:
        stack.enter_context(server.serve(options=options))
        stack.enter_context(apache.standalone(settings=theirs, jvm=[*apache.QUICK_JVM, *flags]))
        yield ports


def client_context(trust: Path, identity: Path | None, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(trust)
    context.minimum_version = context.maximum_version = version
    if identity is not None:
        context.load_cert_chain(identity)
    return context


def identities(port: int, context: ssl.SSLContext) -> tuple[list[tuple[str, str]], list[int]] | str:
    """Who the server says we are, and the codes of: create with our x509 ACL, read it, an ACL of somebody else, read
    it.
    """
    try:
        with (
            socket.create_connection(("localhost", port), 10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as sock,
            sock.makefile("rb") as file,
        ):

            def ask(data: bytes) -> bytes:
                sock.sendall(data)
                head = file.read(4)
                if len(head) < 4:
                    raise ConnectionResetError
                return file.read(unpack_int(head, 0)[0])

            ask(frame(ConnectRequest(0, 0, 10_000, 0, bytes(16)).encode()))
            answer = ask(requests.encode(requests.WhoAmI(1)))
            _, pos = decode_header(answer, 0, len(answer))
            infos = get_vector(answer, pos, len(answer), _info)[0]
            mine = next((user for scheme, user in infos if scheme == "x509"), "CN=nobody")
            asked: list[requests.Request] = []
            for path, name in (("/mine", mine), ("/other", "CN=other")):
                acl = (Acl(PERM_ALL, "x509", name),)
                asked.append(requests.Create(2, opcodes.CREATE, path, b"", acl, opcodes.EPHEMERAL))
                asked.append(requests.GetData(3, path, False))
            codes = [decode_header(ask(requests.encode(each)), 0, 20)[0].err for each in asked]
            return sorted(infos), codes
    except (OSError, ssl.SSLError):
        return "refused"


def _info(buf: bytes, pos: int, end: int) -> tuple[tuple[str, str], int]:
    scheme, pos = get_string(buf, pos, end)
    user, pos = get_string(buf, pos, end)
    return (scheme, user), pos


@pytest.mark.parametrize("client_auth", ["need", "want", "none"])
def test_who_comes_in_and_as_whom(tmp_path: Path, client_auth: str) -> None:
    ours, theirs = Authority(tmp_path, "authority"), Authority(tmp_path, "stranger")
    settings = {
        "ssl.keyStore.location": str(ours.issue("server", (CN, "localhost"))),
        "ssl.trustStore.location": str(ours.path),
        "ssl.clientAuth": client_auth,
    }
    if client_auth == "need":
        settings["ssl.enabledProtocols"] = "TLSv1.2,TLSv1.3"
    clients: dict[str, Path | None] = {"nobody": None, "stranger": theirs.issue("strange", (CN, "alice"))}
    clients |= {str(names): ours.issue(f"client-{number}", *names) for number, names in enumerate(NAMES)}
    super_user = {"zookeeper.X509AuthenticationProvider.superUser": "CN=alice"}
    with both(tmp_path, settings, super_user) as ports:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for who, identity in clients.items():
                context = client_context(ours.path, identity, version)
                mine, real = (identities(port, context) for port in ports)
                assert mine == real, who
                if client_auth == "need":
                    assert (mine == "refused") == (who in ("nobody", "stranger"))


def test_pkcs12_stores_of_java(tmp_path: Path) -> None:
    """A file both read: what one serves with, the other does."""
    ours = Authority(tmp_path, "authority")
    store = ours.issue("server", (CN, "localhost")).with_suffix(".p12")
    identity = ours.issue("client", (CN, "alice"))
    settings = {
        "ssl.keyStore.location": str(store),
        "ssl.keyStore.password": "sesame",
        "ssl.trustStore.location": str(ours.path),
    }
    with both(tmp_path, settings, {}) as ports:
        context = client_context(ours.path, identity, ssl.TLSVersion.TLSv1_3)
        mine, real = (identities(port, context) for port in ports)
        assert mine == real
        assert mine != "refused"
