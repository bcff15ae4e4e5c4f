"""A certificate's subject as x509 ACLs write it (X500Principal.getName: RFC 2253)."""

import datetime
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from coordination.auth.distinguished_name import is_name, subject

KEY = ec.generate_private_key(ec.SECP256R1())
CN, ORG, OU, C = (
    NameOID.COMMON_NAME,
    NameOID.ORGANIZATION_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.COUNTRY_NAME,
)


def certificate(*names: tuple[x509.ObjectIdentifier, str], together: bool = False) -> bytes:
    """A certificate in DER with this subject; `together`: all in one relative name."""
    attributes = [
        x509.NameAttribute(oid, value, _type=_ASN1Type.UTF8String if oid is not C else None) for oid, value in names
    ]
    name = x509.Name([x509.RelativeDistinguishedName(attributes)] if together else attributes)
    now = datetime.datetime(2026, 1, 1)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name([x509.NameAttribute(CN, "the issuer")]))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    return built.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([(CN, "alice")], "CN=alice"),
        ([(C, "DE"), (ORG, "Acme"), (OU, "R&D"), (CN, "alice")], "CN=alice,OU=R&D,O=Acme,C=DE"),
        ([(CN, 'a,b+c"d\\e<f>g;h#i=j')], r"CN=a\,b\+c\"d\\e\<f\>g\;h\#i\=j"),
        ([(CN, "  two  ")], r"CN=\ \ two\ \ "),
        ([(CN, "in side")], "CN=in side"),
        ([(CN, "Jürgen 漢")], "CN=Jürgen 漢"),
        ([(NameOID.DOMAIN_COMPONENT, "org"), (NameOID.USER_ID, "u")], "UID=u,DC=org"),
        ([(NameOID.EMAIL_ADDRESS, "a@b"), (CN, "x")], "CN=x,1.2.840.113549.1.9.1=#0c03614062"),
        ([(NameOID.SERIAL_NUMBER, "7")], "2.5.4.5=#0c0137"),
        ([], ""),
    ],
)
def test_subjects(names: list[tuple[x509.ObjectIdentifier, str]], text: str) -> None:
    assert subject(certificate(*names)) == text
    assert is_name(text)


def test_a_relative_name_of_two_parts() -> None:
    assert subject(certificate((CN, "a"), (ORG, "b"), together=True)) in ("CN=a+O=b", "O=b+CN=a")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20))
def test_a_common_name_cannot_write_another_part(value: str) -> None:
    text = subject(certificate((ORG, "Acme"), (CN, value)))
    assert text.endswith(",O=Acme")
    inside = text.removeprefix("CN=").removesuffix(",O=Acme").replace("\\\\", "").replace("\\,", "").replace("\\+", "")
    assert "," not in inside
    assert "+" not in inside


@given(st.data())
def test_cut_or_changed_der_is_an_error_or_a_name(data: st.DataObject) -> None:
    der = bytearray(certificate((CN, "alice")))
    at = data.draw(st.integers(0, 200))
    der[at] = data.draw(st.integers(0, 255))
    for bad in (bytes(der), bytes(der[:at])):
        try:
            subject(bad)
        except ValueError:
            pass


@pytest.mark.parametrize(
    "text", ["CN=a", "cn=a, O = b", "CN=a+OU=b,O=c", 'CN="a, b"', "1.2.3=#0c0137", "oid.1.2=x", "CN=", "CN==", "CN= =a"]
)
def test_names(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize(
    "text", ["alice", "XX=a", "CN=a,", "CN=a,,O=b", "=a", "CN=a,b", "CN=#xyz", "CN=#0c0137 ", "CN= #0", 'CN="a', "1=a"]
)
def test_what_is_no_name(text: str) -> None:
    assert not is_name(text)


def test_a_text_as_long_as_a_request_is_judged_in_one_go() -> None:
    """It was tried anew from each blank: a megabyte would have taken a day."""
    begin = time.process_time()
    assert not is_name("CN=" + " " * 1_000_000 + "<")
    assert is_name("CN=" + " " * 1_000_000 + "a")
    assert time.process_time() - begin < 5
