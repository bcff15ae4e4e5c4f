"""Schemes: what proves whom, which ids are valid, which match (ZooKeeper's five authentication providers)."""

import ipaddress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from coordination.auth import ip_address
from coordination.auth.identity import Identity, Peer
from coordination.auth.schemes import DigestScheme, IpScheme, SaslScheme, X509Scheme, generate_digest
from coordination.secret import Secret

PEER = Peer("10.1.2.3")


def test_the_digest_of_zookeepers_own_documentation() -> None:
    """The administrator's guide: super:admin is super:xQJmxLMiHGwaqBvst5y6rkB6HQs=."""
    assert generate_digest("super:admin") == "super:xQJmxLMiHGwaqBvst5y6rkB6HQs="
    assert generate_digest("user1:12345") == "user1:+owfoSBn/am19roBPzR1/MfCblE="


@pytest.mark.parametrize(
    ("text", "user"), [("a:b", "a"), ("a:b:c", "a"), ("alone", "alone"), (":b", ""), ("", ""), ("ü:ö", "ü")]
)
def test_the_user_is_what_stands_before_the_first_colon(text: str, user: str) -> None:
    assert generate_digest(text).startswith(user + ":")


def test_other_digests_than_sha1() -> None:
    assert len(generate_digest("a:b", "SHA-256")) == 2 + 44
    assert generate_digest("a:b", "sha-1") == generate_digest("a:b")


def test_digest_proves_any_credential() -> None:
    assert DigestScheme().prove(PEER, b"a:b") == (Identity("digest", generate_digest("a:b")),)
    # Not UTF-8: Java replaces what it cannot read, and so the proof is still the same each time.
    assert DigestScheme().prove(PEER, b"a:\xff") == DigestScheme().prove(PEER, b"a:\xff")


def test_super_digest_makes_the_super_user() -> None:
    scheme = DigestScheme(Secret(generate_digest("super:secret").encode()))
    assert scheme.prove(PEER, b"super:secret")[0] == Identity("super", "")
    assert scheme.prove(PEER, b"super:wrong") == (Identity("digest", generate_digest("super:wrong")),)
    assert "secret" not in repr(scheme)
    assert generate_digest("super:secret") not in repr(scheme)


@pytest.mark.parametrize(
    ("id_", "valid"),
    [("a:b", True), (":b", True), ("a:b:", True), ("a:", False), ("a", False), ("", False), ("a:b:c", False)],
)
def test_digest_ids(id_: str, valid: bool) -> None:
    """Exactly two parts, as Java's split counts them: empty ones at the end are none."""
    assert DigestScheme().is_valid(id_) is valid


@pytest.mark.parametrize(
    ("id_", "valid"),
    [
        ("127.0.0.1", True),
        ("10.0.0.0/8", True),
        ("0.0.0.0/0", True),
        ("10.0.0.0/32", True),
        ("10.0.0.0/33", False),
        ("10.0.0.0/-1", False),
        ("10.0.0.0/", False),
        ("10.0.0.0/8/8", False),
        ("10.0.0", False),
        ("10.0.0.256", False),
        ("10.0.0.x", False),
        ("10.0.0.²", False),
        ("10.0.0.٣", True),
        ("+10.0.0.-0/+8", True),
        ("10.0.-1.0", False),
        ("::1", True),
        ("::", True),
        ("2001:db8::/32", True),
        ("2001:db8::/128", True),
        ("2001:db8::/129", False),
        ("1:2:3:4:5:6:7:8", True),
        ("1:2:3:4:5:6:7", False),
        ("1:2:3:4:5:6:7::8", False),
        ("1::2::3", False),
        ("12345::", False),
        (":1:2:3:4:5:6:7", False),
        ("::ffff:1.2.3.4", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_ip_ids(id_: str, valid: bool) -> None:
    assert IpScheme().is_valid(id_) is valid


@pytest.mark.parametrize(
    ("address", "network", "inside"),
    [
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "0.0.0.0/0", True),
        ("10.1.2.3", "10.1.2.0/31", False),
        ("10.1.2.1", "10.1.2.0/31", True),
        ("10.1.2.3", "nonsense", False),
        ("nonsense", "0.0.0.0/0", False),
        ("0:0:0:0:0:0:0:1", "::1", True),
        ("2001:db8:0:0:0:0:0:1", "2001:db8::/32", True),
        ("2001:db9:0:0:0:0:0:1", "2001:db8::/32", False),
        ("10.1.2.3", "::/0", False),
        ("0:0:0:0:0:0:0:1", "0.0.0.0/0", False),
    ],
)
def test_networks(address: str, network: str, inside: bool) -> None:
    assert IpScheme().matches(address, network) is inside


@given(st.ip_addresses(), st.data())
def test_networks_agree_with_the_standard_library(address: ipaddress.IPv4Address, data: st.DataObject) -> None:
    other = data.draw(st.ip_addresses(v=address.version))
    assume(getattr(address, "ipv4_mapped", None) is None)  # those are IPv4 to Java, and to us
    bits = data.draw(st.integers(0, address.max_prefixlen))
    network = ipaddress.ip_network((other, bits), strict=False)
    assert ip_address.in_network(ip_address.java_text(str(address)), f"{other}/{bits}") is (address in network)


@given(st.text(alphabet="0123456789abcdef:./%", max_size=40))
def test_no_text_upsets_the_address_parser(text: str) -> None:
    parsed = ip_address.parse(text)
    assert parsed is None or len(parsed) in (4, 16)
    if parsed is not None and ":" in text:
        assert ipaddress.IPv6Address(text).packed == parsed
    ip_address.parse_network(text)
    ip_address.java_text(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "0:0:0:0:0:0:0:1"),
        ("2001:db8::ff", "2001:db8:0:0:0:0:0:ff"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:a00:1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80:0:0:0:0:0:0:1"),
    ],
)
def test_addresses_are_spelt_as_java_does(text: str, shown: str) -> None:
    assert ip_address.java_text(text) == shown


def test_an_address_is_nobody() -> None:
    assert not IpScheme.proves_someone
    assert IpScheme().prove(PEER, b"1.2.3.4") == (Identity("ip", "10.1.2.3"),)  # what the credential claims is ignored


def test_sasl_is_not_proven_by_an_auth_request() -> None:
    assert SaslScheme().prove(PEER, b"user:password") == ()


@pytest.mark.parametrize(
    ("id_", "valid"),
    [
        ("alice", True),
        ("alice@REALM", True),
        ("zk/host@REALM", True),
        ("a/b/c", True),
        ("a/b/c@R", False),
        ("a@b@c", False),
        ("a@b/c", False),
        ("", True),
    ],
)
def test_sasl_ids_are_kerberos_names(id_: str, valid: bool) -> None:
    assert SaslScheme().is_valid(id_) is valid


def test_sasl_matches() -> None:
    assert SaslScheme().matches("alice", "alice")
    assert not SaslScheme().matches("alice", "bob")
    assert SaslScheme().matches("super", "bob")
    assert SaslScheme(any_user="readers").matches("alice", "readers")
    assert not SaslScheme().matches("alice", "readers")


def test_x509_without_a_certificate_or_with_a_broken_one_proves_nobody() -> None:
    assert X509Scheme().prove(PEER, b"") == ()
    assert X509Scheme().prove(Peer("::1", b"\x30\x82garbage"), b"") == ()


def test_x509_super_user_matches_every_certificate_acl() -> None:
    scheme = X509Scheme(super_user="CN=root")
    assert scheme.matches("CN=root", "CN=someone")
    assert not scheme.matches("CN=other", "CN=someone")
    assert not X509Scheme().matches("CN=root", "CN=someone")
