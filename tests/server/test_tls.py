"""TLS: contexts from files, what is refused with which words, handshakes that must fail, a socket that never waits."""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
import trio
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import load_pem_x509_certificate

from coordination.auth.settings import read
from coordination.secret import Secret
from coordination.server import tls
from coordination.server.client import Listener
from coordination.server.client_port import ClientPort
from coordination.server.journal import Journal
from coordination.server.log_writer import LogWriter
from coordination.server.tls import TlsError, TlsSettings, server_context, settings_from
from coordination.server.tls_socket import TlsSocket, why_refused
from coordination.state.pipeline import Pipeline
from coordination.state.ready import Settings
from coordination.storage import MemoryLog
from coordination.wire import requests
from coordination.wire.jute import get_string, get_vector, unpack_int
from coordination.wire.records import ConnectRequest
from coordination.wire.replies import HEADER_BYTES, frame


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="ours")


@pytest.fixture(scope="session")
def server_identity(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("localhost", "127.0.0.1", common_name="the server")


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA, server_identity: trustme.LeafCert) -> Path:
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


def settings(files: Path, **values: str) -> TlsSettings:
    """The keys of zoo.cfg, without `ssl.`; FILE/ stands for the directory."""
    default = {"keyStore_location": "FILE/server.pem", "trustStore_location": "FILE/ca.pem"}
    named = {
        "ssl." + key.replace("_", "."): value.replace("FILE", str(files))
        for key, value in {**default, **values}.items()
    }
    return settings_from({key: value for key, value in named.items() if value})


# --- settings and files


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
def test_what_can_be_served(files: Path, values: dict[str, str]) -> None:
    context = server_context(settings(files, **values))
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
def test_what_cannot_is_refused_with_its_setting(files: Path, values: dict[str, str], said: str) -> None:
    with pytest.raises(TlsError) as refused:
        server_context(settings(files, **values))
    assert said in str(refused.value)
    assert "sesame" not in str(refused.value)
    assert "wrong" not in str(refused.value).replace("wrong.", "")


def test_settings_show_no_password(files: Path) -> None:
    shown = settings(files, keyStore_password="sesame", trustStore_password="sesame")
    assert shown.key_store_password == Secret(b"sesame")
    assert "sesame" not in repr(shown)


def test_pkcs12_without_cryptography_says_what_to_install(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives.serialization", None)
    with pytest.raises(TlsError, match=r"brokerdemo\[tls\]"):
        server_context(settings(files, keyStore_location="FILE/server.p12", keyStore_password="sesame"))


# --- a connection, both ends in this thread, nobody waits


class Ends:
    """A TlsSocket and a client over memory, joined by a pair of sockets that never block."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext, *, verify_host: str = "") -> None:
        self.near, self.far = socket.socketpair()
        for end in (self.near, self.far):
            end.setblocking(False)
        self.server = TlsSocket(self.near, server, verify_host=verify_host)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.received = b""
        self.heard = b""

    def close(self) -> None:
        self.near.close()
        self.far.close()

    def client_turn(self) -> bool:
        """Move bytes; True if something moved."""
        moved = False
        if self.outgoing.pending:
            self.far.sendall(self.outgoing.read())
            moved = True
        try:
            data = self.far.recv(1 << 16)
        except BlockingIOError:
            return moved
        if data:
            self.incoming.write(data)
        return bool(data) or moved

    def server_turn(self) -> None:
        try:
            data = self.server.receive()
        except BlockingIOError:
            return
        if data:
            self.received += data

    def shake_hands(self) -> None:
        for _ in range(20):
            try:
                self.client.do_handshake()
            except ssl.SSLWantReadError:
                pass
            self.client_turn()
            self.server_turn()
            if self.server.established and not self.outgoing.pending:
                self.client_turn()
                self.client.do_handshake()
                return
        raise AssertionError("no handshake")

    def hear(self) -> bytes:
        while self.client_turn():
            pass
        try:
            while piece := self.client.read(1 << 16):
                self.heard += piece
        except ssl.SSLWantReadError:
            pass
        return self.heard


@pytest.fixture
def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@pytest.fixture
def known_client(authority: trustme.CA, client_context: ssl.SSLContext) -> ssl.SSLContext:
    authority.issue_cert("127.0.0.1", "::1", common_name="alice").configure_cert(client_context)
    return client_context


class Join(Protocol):
    def __call__(self, server: ssl.SSLContext, client: ssl.SSLContext, *, verify_host: str = "") -> Ends: ...


@pytest.fixture
def join() -> Iterator[Join]:
    """Makes `Ends`, and closes them whatever happens."""
    made: list[Ends] = []

    def make(server: ssl.SSLContext, client: ssl.SSLContext, *, verify_host: str = "") -> Ends:
        made.append(Ends(server, client, verify_host=verify_host))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def ends(files: Path, known_client: ssl.SSLContext, join: Join) -> Ends:
    return join(server_context(settings(files)), known_client)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bytes_go_both_ways(files: Path, known_client: ssl.SSLContext, join: Join, version: ssl.TLSVersion) -> None:
    known_client.maximum_version = version
    ends = join(server_context(settings(files, enabledProtocols="TLSv1.2,TLSv1.3")), known_client)
    ends.shake_hands()
    ends.client.write(b"hello" * 10_000)
    ends.client_turn()
    while len(ends.received) < 50_000:
        ends.server_turn()
    assert ends.received == b"hello" * 10_000
    assert ends.server.send(b"welcome") == 7
    assert not ends.server.pending
    assert ends.hear() == b"welcome"


def test_nothing_is_left_inside_when_much_comes_at_once(ends: Ends) -> None:
    """A poller cannot see plain bytes inside TLS: one readable event must give all that came."""
    ends.shake_hands()
    for number in range(100):
        ends.client.write(b"%03d" % number)
    ends.client_turn()
    ends.server_turn()
    assert ends.received == b"".join(b"%03d" % number for number in range(100))


def test_a_client_that_does_not_read_is_waited_for(ends: Ends) -> None:
    ends.shake_hands()
    data = bytes(8 << 20)
    taken = ends.server.send(data)
    while more := ends.server.send(data[taken:]):
        taken += more
    stuck: bool = ends.server.pending
    assert stuck
    assert 0 < taken < len(data)
    assert ends.server.send(b"more") == 0
    while taken < len(data) or ends.server.pending:
        ends.hear()
        taken += ends.server.send(data[taken:])
    assert ends.hear() == data


def test_the_end_of_either_kind_is_an_end(ends: Ends, files: Path, known_client: ssl.SSLContext, join: Join) -> None:
    ends.shake_hands()
    ends.client.write(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.unwrap()
    ends.client_turn()
    assert ends.server.receive() == b"last"
    ends.far.shutdown(socket.SHUT_WR)
    assert ends.server.receive() == b""
    torn = join(server_context(settings(files)), known_client)
    torn.shake_hands()
    torn.far.shutdown(socket.SHUT_WR)
    assert torn.server.receive() == b""
    torn.server.say_goodbye()


def other_authority() -> trustme.CA:
    return trustme.CA(organization_name="theirs")


@pytest.mark.parametrize("client_auth", ["need", "want", "none"])
@pytest.mark.parametrize("who", ["known", "stranger", "nobody"])
def test_who_may_come_in(
    files: Path, authority: trustme.CA, client_context: ssl.SSLContext, join: Join, client_auth: str, who: str
) -> None:
    if who != "nobody":
        issuer = authority if who == "known" else other_authority()
        issuer.issue_cert("localhost", common_name=who).configure_cert(client_context)
    ends = join(server_context(settings(files, clientAuth=client_auth)), client_context)
    refused = (who == "stranger" and client_auth != "none") or (who == "nobody" and client_auth == "need")
    if refused:
        with pytest.raises(ssl.SSLError):
            ends.shake_hands()
        assert not ends.server.established
        assert ends.server.certificate is None
        assert ends.server.send(b"secret") == 0
    else:
        ends.shake_hands()
        assert (ends.server.certificate is not None) == (who == "known" and client_auth != "none")


def test_a_trust_store_may_hold_the_clients_own_certificate(
    files: Path, client_context: ssl.SSLContext, join: Join
) -> None:
    """Java trusts what is in the store itself, whoever issued it; the authority's other certificates stay strangers."""
    issuer = other_authority()
    pinned, other = (issuer.issue_cert("localhost", common_name=name) for name in ("pinned", "other"))
    pinned.cert_chain_pems[0].write_to_path(files / "pinned.pem")
    server = server_context(settings(files, trustStore_location="FILE/pinned.pem"))
    pinned.configure_cert(client_context)
    ends = join(server, client_context)
    ends.shake_hands()
    assert ends.server.certificate is not None
    other.configure_cert(client_context)
    with pytest.raises(ssl.SSLError):
        join(server, client_context).shake_hands()


@pytest.mark.parametrize(
    ("address", "named"), [("127.0.0.1", True), ("::ffff:127.0.0.1", True), ("::1", True), ("127.0.0.2", False)]
)
def test_a_clients_certificate_must_name_its_address_where_that_is_asked(
    files: Path, known_client: ssl.SSLContext, join: Join, address: str, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2026-24281: the names in DNS are nobody's proof; none is looked up."""

    def no_lookups(*_: object) -> None:
        raise AssertionError("DNS was asked")

    for name in ("gethostbyaddr", "getnameinfo", "getaddrinfo", "getfqdn"):
        monkeypatch.setattr(socket, name, no_lookups)
    ends = join(server_context(settings(files)), known_client, verify_host=address)
    if named:
        ends.shake_hands()
    else:
        with pytest.raises(ssl.SSLError, match="does not name its address"):
            ends.shake_hands()
        assert not ends.server.established


def test_a_certificate_for_names_only_does_not_name_an_address(
    files: Path, authority: trustme.CA, client_context: ssl.SSLContext, join: Join
) -> None:
    authority.issue_cert("localhost", common_name="127.0.0.1").configure_cert(client_context)
    ends = join(server_context(settings(files)), client_context, verify_host="127.0.0.1")
    with pytest.raises(ssl.SSLError, match="does not name"):
        ends.shake_hands()


def test_old_protocols_are_refused(files: Path, known_client: ssl.SSLContext, join: Join) -> None:
    known_client.maximum_version = ssl.TLSVersion.TLSv1_2
    ends = join(server_context(settings(files)), known_client)
    with pytest.raises(ssl.SSLError) as refused:
        ends.shake_hands()
    assert why_refused(refused.value).startswith("the client offers no version of TLS that ssl.enabledProtocols has: [")


def test_a_client_without_certificate_is_told_of(files: Path, join: Join) -> None:
    nobody = ssl.create_default_context()
    nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(ssl.SSLError) as refused:
        join(server_context(settings(files)), nobody).shake_hands()
    assert why_refused(refused.value).startswith("the client has no certificate, and ssl.clientAuth is need")


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"ruok" + bytes(9), b"\x00\x00\x00\x2c" + bytes(44)])
def test_bytes_that_are_no_tls_end_the_connection(ends: Ends, data: bytes) -> None:
    ends.far.sendall(data)
    with pytest.raises(ssl.SSLError):
        ends.server.receive()
    assert not ends.server.established


# --- the port


class SecureServer:
    """A client port in this process, TLS only."""

    def __init__(self, context: ssl.SSLContext, listener: socket.socket) -> None:
        self.pipeline = Pipeline(replace(Settings(), auth=read({}, secure=True)), 1_700_000_000_000)
        listeners = [Listener(listener, context)]
        self.port = ClientPort(self.pipeline, listeners, Journal("error"), lambda word, _: word.word + "!")

    async def serve(self) -> None:
        writer = LogWriter(MemoryLog(), self.pipeline.persisted, sync=False)
        try:
            await self.port.run(writer)
        finally:
            writer.close()


async def read_frame(stream: trio.SSLStream[trio.SocketStream]) -> bytes:
    got = b""
    while len(got) < 4 or len(got) < 4 + unpack_int(got, 0)[0]:
        piece = await stream.receive_some(4096)
        assert piece
        got += bytes(piece)
    return got[4:]


async def test_a_session_over_tls_is_who_its_certificate_says(
    files: Path, known_client: ssl.SSLContext, nursery: trio.Nursery
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        server = SecureServer(server_context(settings(files)), listener)
        nursery.start_soon(server.serve)
        stream = await trio.open_ssl_over_tcp_stream("localhost", port, ssl_context=known_client)
        await stream.send_all(frame(ConnectRequest(0, 0, 4000, 0, bytes(16)).encode()))
        await read_frame(stream)
        await stream.send_all(requests.encode(requests.WhoAmI(7)))
        answer = await read_frame(stream)

        def info(buf: bytes, pos: int, end: int) -> tuple[tuple[str, str], int]:
            scheme, pos = get_string(buf, pos, end)
            user, pos = get_string(buf, pos, end)
            return (scheme, user), pos

        infos, _ = get_vector(answer, HEADER_BYTES, len(answer), info)
        assert infos[0] == ("ip", "127.0.0.1")
        assert infos[1][0] == "x509"
        assert infos[1][1].startswith("CN=alice,")
        await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_four_letter_words_come_over_tls_too(
    files: Path, client_context: ssl.SSLContext, nursery: trio.Nursery
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        server = SecureServer(server_context(settings(files, clientAuth="none")), listener)
        nursery.start_soon(server.serve)
        stream = await trio.open_ssl_over_tcp_stream(
            "localhost", listener.getsockname()[1], ssl_context=client_context, https_compatible=True
        )
        await stream.send_all(b"ruok")
        assert await stream.receive_some(100) == b"ruok!"
        assert await stream.receive_some(100) == b""
        await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_a_plain_client_and_a_stranger_harm_nobody(
    files: Path, client_context: ssl.SSLContext, known_client: ssl.SSLContext, nursery: trio.Nursery
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        nursery.start_soon(SecureServer(server_context(settings(files)), listener).serve)
        plain = await trio.open_tcp_stream("localhost", port)
        await plain.send_all(frame(ConnectRequest(0, 0, 4000, 0, bytes(16)).encode()) + bytes(64))
        while await plain.receive_some(100):  # an alert perhaps, then the end
            pass
        await plain.aclose()
        stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        stranger.load_verify_locations(files / "ca.pem")
        other_authority().issue_cert("localhost").configure_cert(stranger)
        refused = await trio.open_ssl_over_tcp_stream("localhost", port, ssl_context=stranger)
        with pytest.raises(trio.BrokenResourceError):
            await refused.receive_some(100)
        await trio.aclose_forcefully(refused)
        good = await trio.open_ssl_over_tcp_stream("localhost", port, ssl_context=known_client)
        await good.send_all(frame(ConnectRequest(0, 0, 4000, 0, bytes(16)).encode()))
        assert await read_frame(good)
        await trio.aclose_forcefully(good)
        nursery.cancel_scope.cancel()


def test_the_openssl_names_of_javas_suites() -> None:
    assert tls._openssl_name("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384") == "ECDHE-RSA-AES256-GCM-SHA384"
    assert tls._openssl_name("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256") == "ECDHE-RSA-AES128-SHA256"
    assert tls._openssl_name("TLS_RSA_WITH_AES_128_GCM_SHA256") == "AES128-GCM-SHA256"
    assert tls._openssl_name("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256") == "ECDHE-RSA-CHACHA20-POLY1305"
