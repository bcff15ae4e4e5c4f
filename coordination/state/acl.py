"""Access control: which identities a connection has, and what a znode's ACL lets them do.

In: an ACL, the permission asked for, the identities of the asker.  Out: nothing, or `NoAuthError` / `InvalidACLError`.
Knows no tree and no connection.  Answers to ZooKeeper.checkACL, PrepRequestProcessor.fixupACL and the
Digest-, IP- and world authentication providers.

(1) An empty identity list still passes world:anyone; nothing else passes without a matching identity of the same scheme.
(2) What cannot be parsed never matches: an ip pattern or prefix length that is wrong refuses.
(3) `super` passes everything; it can only be obtained with the configured digest, never set in an ACL.
(4) `PERMISSIONS` has an entry for every opcode a client may send; a test fails for one without.
"""

import binascii
import hashlib
from typing import NamedTuple

from coordination.errors import InvalidACLError, NoAuthError
from coordination.wire import opcodes
from coordination.wire.opcodes import PERM_ADMIN, PERM_CREATE, PERM_DELETE, PERM_READ, PERM_WRITE
from coordination.wire.records import OPEN_ACL, Acl

AclList = tuple[Acl, ...]

# Which permission an operation asks for, and on which znode.  None: it asks for nothing on any znode.
PERMISSIONS: dict[int, tuple[int, str] | None] = {
    opcodes.CREATE: (PERM_CREATE, "parent"),
    opcodes.CREATE2: (PERM_CREATE, "parent"),
    opcodes.CREATE_CONTAINER: (PERM_CREATE, "parent"),
    opcodes.CREATE_TTL: (PERM_CREATE, "parent"),
    opcodes.DELETE: (PERM_DELETE, "parent"),
    opcodes.EXISTS: (PERM_READ, "node"),
    opcodes.GET_DATA: (PERM_READ, "node"),
    opcodes.SET_DATA: (PERM_WRITE, "node"),
    opcodes.GET_ACL: (PERM_READ | PERM_ADMIN, "node"),
    opcodes.SET_ACL: (PERM_ADMIN, "node"),
    opcodes.GET_CHILDREN: (PERM_READ, "node"),
    opcodes.GET_CHILDREN2: (PERM_READ, "node"),
    opcodes.GET_ALL_CHILDREN_NUMBER: (PERM_READ, "node"),
    opcodes.CHECK: (PERM_READ, "node"),
    opcodes.MULTI: None,  # each part asks for its own
    opcodes.MULTI_READ: None,  # each part asks for its own
    opcodes.SET_WATCHES: (PERM_READ, "every path"),  # CVE-2026-59739: what is replayed is filtered per path
    opcodes.SET_WATCHES2: (PERM_READ, "every path"),
    opcodes.ADD_WATCH: None,  # its events are filtered per path (CVE-2024-23944)
    opcodes.CHECK_WATCHES: None,
    opcodes.REMOVE_WATCHES: None,
    opcodes.SYNC: None,
    opcodes.PING: None,
    opcodes.AUTH: None,
    opcodes.SASL: None,
    opcodes.GET_EPHEMERALS: None,  # only the session's own
    opcodes.WHO_AM_I: None,
    opcodes.RECONFIG: None,  # refused by a standalone server
    opcodes.CLOSE_SESSION: None,  # only the session's own
}


class Identity(NamedTuple):
    """One thing a connection has proven about itself."""

    scheme: str
    id: str


Identities = tuple[Identity, ...]


def check(acl: AclList, permission: int, identities: Identities, path: str) -> None:
    """Pass if any entry of `acl` grants any bit of `permission` to any identity; else `NoAuthError`."""
    if acl is OPEN_ACL or not acl or allows(acl, permission, identities):
        return
    raise NoAuthError(path)


def allows(acl: AclList, permission: int, identities: Identities) -> bool:
    for identity in identities:
        if identity.scheme == "super":
            return True
    for perms, scheme, id_ in acl:
        if not perms & permission:
            continue
        if scheme == "world":
            if id_ == "anyone":
                return True
            continue
        for identity in identities:
            if identity.scheme == scheme and _matches(scheme, identity.id, id_):
                return True
    return False


def expand(acl: AclList, identities: Identities, path: str) -> AclList:
    """The ACL as it is stored: duplicates gone, `auth` replaced by the asker's identities, everything else checked."""
    if acl == OPEN_ACL:
        return OPEN_ACL
    entries: dict[Acl, None] = {}
    for entry in acl:
        if entry.scheme == "world" and entry.id == "anyone":
            entries[entry] = None
        elif entry.scheme == "auth":
            # an address is not an authentication
            proven = [Acl(entry.perms, *each) for each in identities if each.scheme not in ("ip", "super")]
            if not proven:
                raise InvalidACLError(path, "the ACL says auth, and this connection has not authenticated")
            entries.update(dict.fromkeys(proven))
        elif _is_valid_id(entry.scheme, entry.id):
            entries[entry] = None
        else:
            raise InvalidACLError(path)
    if not entries:
        raise InvalidACLError(path, "an ACL cannot be empty")
    return tuple(entries)


def masked(acl: AclList) -> AclList:
    """The ACL as someone without ADMIN sees it: digest hashes hidden (CVE-2019-0201)."""
    return tuple(Acl(a.perms, a.scheme, a.id.split(":", 1)[0] + ":x") if a.scheme == "digest" else a for a in acl)


def generate_digest(user_and_password: str) -> str:
    """`user:base64(sha1(user:password))` (source: DigestAuthenticationProvider.generateDigest)."""
    user = user_and_password.split(":", 1)[0]
    digest = hashlib.sha1(user_and_password.encode(), usedforsecurity=False).digest()
    return f"{user}:{binascii.b2a_base64(digest, newline=False).decode()}"


def _is_valid_id(scheme: str, id_: str) -> bool:
    if scheme == "digest":
        return id_.count(":") == 1
    if scheme == "ip":
        return _parse_network(id_) is not None
    return False


def _matches(scheme: str, mine: str, wanted: str) -> bool:
    if scheme == "digest":
        return mine == wanted
    if scheme == "ip":
        return _ip_matches(mine, wanted)
    return False


def _parse_address(text: str) -> tuple[int, int] | None:
    """(value, bits) of an IPv4 or IPv6 address; the standard parser is too slow to import at start."""
    if ":" not in text:
        parts = text.split(".")
        if len(parts) != 4 or not all(part.isascii() and part.isdigit() and int(part) < 256 for part in parts):
            return None
        return int.from_bytes(bytes(int(part) for part in parts), "big"), 32
    import ipaddress

    try:
        return int(ipaddress.IPv6Address(text)), 128
    except ValueError:
        return None


def _parse_network(text: str) -> tuple[int, int, int] | None:
    address, slash, prefix = text.partition("/")
    parsed = _parse_address(address)
    if parsed is None:
        return None
    value, bits = parsed
    if not slash:
        return value, bits, bits
    if not (prefix.isascii() and prefix.isdigit() and int(prefix) <= bits):
        return None
    return value, bits, int(prefix)


def _ip_matches(mine: str, wanted: str) -> bool:
    network, address = _parse_network(wanted), _parse_address(mine)
    if network is None or address is None or network[1] != address[1]:
        return False
    shift = network[1] - network[2]
    return network[0] >> shift == address[0] >> shift
