"""A certificate's subject as text, in the one spelling that x509 ACLs are compared in; and whether a text is a name
at all.

In: a certificate in DER; or the id of an ACL.  Out: the name as RFC 2253 writes it, last part first; or a bool.
Verifies no certificate: TLS did.  Answers to X500Principal.getName(), which ZooKeeper's X509AuthenticationProvider
calls.

(1) Two different subjects never give the same text: separators inside values are escaped, values that are no text are
    `#hex`.
(2) DER that lies about a length raises ValueError and nothing else.
"""

import re
from collections.abc import Iterator

_SEQUENCE, _SET, _OID, _VERSION = 0x30, 0x31, 0x06, 0xA0
_TEXT = {
    0x0C: "utf-8",
    0x13: "ascii",
    0x14: "latin-1",
    0x16: "ascii",
    0x1B: "latin-1",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}

# RFC 2253 names these nine; Java writes every other type as its OID, and the value of such a type in hex.
_KEYWORDS = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.1": "UID",
}
_ESCAPED = ',=+<>#;"\\'

# What Java's parser takes as a type: its keywords in any case, or an OID.
_TYPES = {
    "CN",
    "C",
    "L",
    "S",
    "ST",
    "O",
    "OU",
    "T",
    "IP",
    "STREET",
    "DC",
    "DNQUALIFIER",
    "DNQ",
    "SURNAME",
    "GIVENNAME",
} | {
    "INITIALS",
    "GENERATION",
    "EMAIL",
    "EMAILADDRESS",
    "UID",
    "SERIALNUMBER",
}
# Possessive, so that a text as long as a request is looked through once, and not once from each of its blanks.
_PART = re.compile(
    r"""\s*+([A-Za-z][A-Za-z0-9]*+|(?:[Oo][Ii][Dd]\.)?[0-9]++(?:\.[0-9]++)++)\s*+=\s*+
    (?: "(?:[^"\\]|\\.)*+"\s*+ | \#(?:[0-9a-fA-F]{2})++ | (?:[^,;+"\\<>\#]|\\.)(?:[^,;+"\\<>]|\\.)*+ | )
    (?:[,;+](?=.)|\Z)""",
    re.VERBOSE | re.DOTALL,
)


def subject(certificate: bytes) -> str:
    """The subject of an X.509 certificate in DER (source: RFC 5280 4.1, RFC 2253)."""
    tag, start, end = _element(certificate, 0, len(certificate))
    if tag != _SEQUENCE:
        raise ValueError("a certificate is a SEQUENCE, this is not")
    _, start, end = _element(certificate, start, end)
    fields = [each for each in _elements(certificate, start, end) if each[0] != _VERSION]
    if len(fields) < 5:
        raise ValueError("the certificate has no subject")
    tag, start, end = fields[4]
    if tag != _SEQUENCE:
        raise ValueError("the certificate's subject is not a name")
    parts = [_relative_name(certificate, s, e) for _, s, e in _elements(certificate, start, end)]
    return ",".join(reversed(parts))


def is_name(text: str) -> bool:
    """Whether an ACL's id reads as a distinguished name."""
    pos = 0
    while pos < len(text):
        part = _PART.match(text, pos)
        if part is None or not (part[1][0].isdigit() or "." in part[1] or part[1].upper() in _TYPES):
            return False
        pos = part.end()
    return True


def _relative_name(der: bytes, start: int, end: int) -> str:
    out = []
    for tag, s, e in _elements(der, start, end):
        pair = list(_elements(der, s, e)) if tag == _SEQUENCE else []
        if len(pair) != 2 or pair[0][0] != _OID:
            raise ValueError("a part of the subject is not a type and a value")
        (_, oid_start, oid_end), (value_tag, value_start, value_end) = pair
        type_ = _oid(der[oid_start:oid_end])
        encoding = _TEXT.get(value_tag)
        if type_ not in _KEYWORDS or encoding is None:
            out.append(f"{_KEYWORDS.get(type_, type_)}=#{der[oid_end:value_end].hex()}")
        else:
            out.append(f"{_KEYWORDS[type_]}={_escape(der[value_start:value_end].decode(encoding))}")
    return "+".join(out)


def _escape(value: str) -> str:
    lead = len(value) - len(value.lstrip(" "))
    trail = len(value.rstrip(" "))
    out = []
    for at, char in enumerate(value):
        if char in _ESCAPED or (char == " " and (at < lead or at >= trail)):
            out.append("\\" + char)
        elif char == "\0":
            out.append("\\00")
        else:
            out.append(char)
    return "".join(out)


def _oid(raw: bytes) -> str:
    if not raw or raw[-1] & 0x80:
        raise ValueError("an object identifier is cut")
    numbers, value = [], 0
    for byte in raw:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(str(number) for number in (first, numbers[0] - first * 40, *numbers[1:]))


def _element(der: bytes, pos: int, end: int) -> tuple[int, int, int]:
    """One element as (tag, start, end of its content); low tag numbers and definite lengths only, as DER has them
    here.
    """
    if pos + 2 > end:
        raise ValueError("DER ends inside an element")
    tag, length = der[pos], der[pos + 1]
    pos += 2
    if length & 0x80:
        width = length & 0x7F
        if not 1 <= width <= 4 or pos + width > end:
            raise ValueError("DER has a length it cannot have")
        length = int.from_bytes(der[pos : pos + width], "big")
        pos += width
    if pos + length > end:
        raise ValueError(f"DER says {length} bytes, {end - pos} are left")
    return tag, pos, pos + length


def _elements(der: bytes, pos: int, end: int) -> Iterator[tuple[int, int, int]]:
    while pos < end:
        found = _element(der, pos, end)
        yield found
        pos = found[2]
