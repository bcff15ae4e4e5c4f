"""A TlsSocket and a client, both ends in this thread and neither ever waiting: bytes, ends, bad handshakes."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
import trustme

from coordination.server.tls import server_context
from coordination.server.tls_socket import TlsSocket, why_refused

from .conftest import other_authority, tls_settings


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
def ends(stores: Path, known_client: ssl.SSLContext, join: Join) -> Ends:
    return join(server_context(tls_settings(stores)), known_client)


# --- bytes and ends


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bytes_go_both_ways(stores: Path, known_client: ssl.SSLContext, join: Join, version: ssl.TLSVersion) -> None:
    known_client.maximum_version = version
    ends = join(server_context(tls_settings(stores, enabledProtocols="TLSv1.2,TLSv1.3")), known_client)
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


def test_the_end_of_either_kind_is_an_end(ends: Ends, stores: Path, known_client: ssl.SSLContext, join: Join) -> None:
    ends.shake_hands()
    ends.client.write(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.unwrap()
    ends.client_turn()
    assert ends.server.receive() == b"last"
    ends.far.shutdown(socket.SHUT_WR)
    assert ends.server.receive() == b""
    torn = join(server_context(tls_settings(stores)), known_client)
    torn.shake_hands()
    torn.far.shutdown(socket.SHUT_WR)
    assert torn.server.receive() == b""
    torn.server.say_goodbye()


# --- who may come in


@pytest.mark.parametrize("client_auth", ["need", "want", "none"])
@pytest.mark.parametrize("who", ["known", "stranger", "nobody"])
def test_who_may_come_in(
    stores: Path, authority: trustme.CA, client_context: ssl.SSLContext, join: Join, client_auth: str, who: str
) -> None:
    if who != "nobody":
        issuer = authority if who == "known" else other_authority()
        issuer.issue_cert("localhost", common_name=who).configure_cert(client_context)
    ends = join(server_context(tls_settings(stores, clientAuth=client_auth)), client_context)
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
    stores: Path, client_context: ssl.SSLContext, join: Join
) -> None:
    """Java trusts what is in the store itself, whoever issued it; the authority's other certificates stay strangers."""
    issuer = other_authority()
    pinned, other = (issuer.issue_cert("localhost", common_name=name) for name in ("pinned", "other"))
    pinned.cert_chain_pems[0].write_to_path(stores / "pinned.pem")
    server = server_context(tls_settings(stores, trustStore_location="FILE/pinned.pem"))
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
    stores: Path, known_client: ssl.SSLContext, join: Join, address: str, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2026-24281: the names in DNS are nobody's proof; none is looked up."""

    def no_lookups(*_: object) -> None:
        raise AssertionError("DNS was asked")

    for name in ("gethostbyaddr", "getnameinfo", "getaddrinfo", "getfqdn"):
        monkeypatch.setattr(socket, name, no_lookups)
    ends = join(server_context(tls_settings(stores)), known_client, verify_host=address)
    if named:
        ends.shake_hands()
    else:
        with pytest.raises(ssl.SSLError, match="does not name its address"):
            ends.shake_hands()
        assert not ends.server.established


def test_a_certificate_for_names_only_does_not_name_an_address(
    stores: Path, authority: trustme.CA, client_context: ssl.SSLContext, join: Join
) -> None:
    authority.issue_cert("localhost", common_name="127.0.0.1").configure_cert(client_context)
    ends = join(server_context(tls_settings(stores)), client_context, verify_host="127.0.0.1")
    with pytest.raises(ssl.SSLError, match="does not name"):
        ends.shake_hands()


def test_old_protocols_are_refused(stores: Path, known_client: ssl.SSLContext, join: Join) -> None:
    known_client.maximum_version = ssl.TLSVersion.TLSv1_2
    ends = join(server_context(tls_settings(stores)), known_client)
    with pytest.raises(ssl.SSLError) as refused:
        ends.shake_hands()
    assert why_refused(refused.value).startswith("the client offers no version of TLS that ssl.enabledProtocols has: [")


def test_a_client_without_certificate_is_told_of(stores: Path, join: Join) -> None:
    nobody = ssl.create_default_context()
    nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(ssl.SSLError) as refused:
        join(server_context(tls_settings(stores)), nobody).shake_hands()
    assert why_refused(refused.value).startswith("the client has no certificate, and ssl.clientAuth is need")


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"ruok" + bytes(9), b"\x00\x00\x00\x2c" + bytes(44)])
def test_bytes_that_are_no_tls_end_the_connection(ends: Ends, data: bytes) -> None:
    ends.far.sendall(data)
    with pytest.raises(ssl.SSLError):
        ends.server.receive()
    assert not ends.server.established
