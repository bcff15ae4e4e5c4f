"""IP addresses as the `ip` scheme reads them: text to bytes, and whether one lies in a network.

In: text of a connection or an ACL.  Out: bytes, bool, or None for what is no address.
Knows no ACL.  Answers to ZooKeeper's IPAuthenticationProvider (addr2Bytes, mask, matches).

(1) IPv4 is four decimal numbers of any width up to 255, as Java's parser takes them, also with a sign and in the digits
    of any script; IPv6 is eight groups or one `::`, without zone and without an embedded IPv4 address.
(2) An IPv4 address never matches an IPv6 network, nor the reverse.
"""

import re
from functools import lru_cache

IPV4_BYTES = 4
IPV6_GROUPS = 8
_DECIMAL = re.compile(r"[+-]?\d{1,10}")
_GROUP = re.compile(r"[0-9a-fA-F]{1,4}")


def parse(text: str) -> bytes | None:
    """The address as 4 or 16 bytes; None if the text is none."""
    if ":" in text:
        return _parse_ipv6(text)
    parts = text.split(".")
    if len(parts) != IPV4_BYTES or not all(_DECIMAL.fullmatch(part) and 0 <= int(part) <= 0xFF for part in parts):
        return None
    return bytes(int(part) for part in parts)


def _parse_ipv6(text: str) -> bytes | None:
    halves = text.split("::")
    if len(halves) > 2:
        return None
    head, tail = [half.split(":") if half else [] for half in (halves[0], halves[1] if len(halves) == 2 else "")]
    count = len(head) + len(tail)
    if (count != IPV6_GROUPS) if len(halves) == 1 else (count >= IPV6_GROUPS):
        return None
    if not all(_GROUP.fullmatch(group) for group in head + tail):
        return None
    groups = [int(group, 16) for group in (*head, *["0"] * (IPV6_GROUPS - count), *tail)]
    return b"".join(group.to_bytes(2, "big") for group in groups)


def parse_network(text: str) -> tuple[bytes, int] | None:
    """`address[/bits]` as (address bytes, prefix length); None if it is not one."""
    address_text, slash, bits_text = text.partition("/")
    address = parse(address_text)
    if address is None:
        return None
    if not slash:
        return address, len(address) * 8
    if not _DECIMAL.fullmatch(bits_text) or not 0 <= int(bits_text) <= len(address) * 8:
        return None
    return address, int(bits_text)


@lru_cache(maxsize=1024)
def in_network(address: str, network: str) -> bool:
    """Whether `address` lies in `network`; what cannot be parsed lies nowhere."""
    wanted, have = parse_network(network), parse(address)
    if wanted is None or have is None or len(have) != len(wanted[0]):
        return False
    shift = len(have) * 8 - wanted[1]
    return int.from_bytes(have, "big") >> shift == int.from_bytes(wanted[0], "big") >> shift


def java_text(address: str) -> str:
    """An address as Java prints it, which is what ACL ids and whoAmI hold: IPv6 with eight groups, never `::`; an IPv4
    address mapped into IPv6 is IPv4 (source: InetAddress.getHostAddress)."""
    raw = parse(address.partition("%")[0])
    if raw is None and address.lower().startswith("::ffff:"):
        return address[7:]
    if raw is None or len(raw) == IPV4_BYTES:
        return address
    if raw[:12] == bytes(10) + b"\xff\xff":
        return ".".join(str(byte) for byte in raw[12:])
    return ":".join(f"{int.from_bytes(raw[at : at + 2], 'big'):x}" for at in range(0, 16, 2))
