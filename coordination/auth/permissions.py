"""Access control: what each operation needs, whether an ACL grants it, what an ACL given by a client becomes, what
getACL shows.

In: ACLs, identities, permissions.  Out: bools, ACLs, `InvalidACLError`.
Knows no tree and no request.  Answers to ZooKeeper's ZooKeeperServer.checkACL, PrepRequestProcessor.fixupACL and the
masking in FinalRequestProcessor.

(1) Every opcode of the protocol stands in `NEEDS`; one that does not cannot be served (a test holds the two tables
    together: CVE-2026-79993).
(2) The open ACL costs one comparison of identities: `expand` gives the very object `OPEN_ACL` for it, and `allows`
    asks `is` first.
(3) An ACL is not inherited: a check looks at one znode.
(4) Who is not allowed learns no digest from an ACL.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from coordination.auth.identity import SUPER_SCHEME, Identity
from coordination.auth.schemes import DigestScheme, Scheme
from coordination.errors import InvalidACLError, MarshallingError, NoAuthError
from coordination.wire import opcodes
from coordination.wire.opcodes import PERM_ADMIN, PERM_CREATE, PERM_DELETE, PERM_READ, PERM_WRITE
from coordination.wire.records import NO_ID, OPEN_ACL, Acl

# Whose ACL is asked.
NODE, PARENT, PART, EACH_PART, EACH_EVENT, CONFIG, NOBODY, REFUSED = (
    "the znode",
    "the parent",
    "the znode, inside a multi only",
    "each part",
    "each event's znode",
    "/zookeeper/config",
    "nobody",
    "refused from clients",
)

_TRIPPED_BY_NO_ID = ("world", "digest", "ip")
ENTRIES_MAX = 1000
"""Of an ACL that is to be stored, `auth` written out: each check looks through them."""


class Need(NamedTuple):
    """`perms` are alternatives: one of them is enough."""

    whose: str
    perms: int = 0


NEEDS: dict[int, Need] = {
    opcodes.CREATE: Need(PARENT, PERM_CREATE),
    opcodes.CREATE2: Need(PARENT, PERM_CREATE),
    opcodes.CREATE_CONTAINER: Need(PARENT, PERM_CREATE),
    opcodes.CREATE_TTL: Need(PARENT, PERM_CREATE),
    opcodes.DELETE: Need(PARENT, PERM_DELETE),
    opcodes.EXISTS: Need(NODE, PERM_READ),  # an absent znode has no ACL: anyone may ask, and watch for it
    opcodes.GET_DATA: Need(NODE, PERM_READ),
    opcodes.SET_DATA: Need(NODE, PERM_WRITE),
    opcodes.GET_ACL: Need(NODE, PERM_READ | PERM_ADMIN),
    opcodes.SET_ACL: Need(NODE, PERM_ADMIN),
    opcodes.GET_CHILDREN: Need(NODE, PERM_READ),
    opcodes.GET_CHILDREN2: Need(NODE, PERM_READ),
    opcodes.GET_ALL_CHILDREN_NUMBER: Need(NODE, PERM_READ),
    opcodes.CHECK: Need(PART, PERM_READ),
    opcodes.MULTI: Need(EACH_PART),
    opcodes.MULTI_READ: Need(EACH_PART),
    opcodes.RECONFIG: Need(CONFIG, PERM_WRITE),
    # Watches are free to set; what they tell is not (CVE-2024-23944, CVE-2026-59739).
    opcodes.ADD_WATCH: Need(EACH_EVENT, PERM_READ),
    opcodes.SET_WATCHES: Need(EACH_EVENT, PERM_READ),
    opcodes.SET_WATCHES2: Need(EACH_EVENT, PERM_READ),
    opcodes.CHECK_WATCHES: Need(NOBODY),
    opcodes.REMOVE_WATCHES: Need(NOBODY),
    opcodes.GET_EPHEMERALS: Need(NOBODY),  # only the session's own
    opcodes.SYNC: Need(NOBODY),
    opcodes.PING: Need(NOBODY),
    opcodes.AUTH: Need(NOBODY),
    opcodes.SASL: Need(NOBODY),
    opcodes.WHO_AM_I: Need(NOBODY),
    opcodes.CLOSE_SESSION: Need(NOBODY),
    opcodes.NOTIFICATION: Need(REFUSED),
    opcodes.CREATE_SESSION: Need(REFUSED),
    opcodes.DELETE_CONTAINER: Need(REFUSED),
    opcodes.ERROR: Need(REFUSED),
}


class AccessControl:
    """The checks, for one set of schemes.  `skip` (zookeeper.skipACL=yes) lets everybody do everything."""

    __slots__ = ("_schemes", "skip")

    def __init__(self, schemes: Mapping[str, Scheme], *, skip: bool = False) -> None:
        self._schemes = dict(schemes)
        self.skip = skip

    def allows(self, acl: Sequence[Acl], perms: int, identities: Sequence[Identity]) -> bool:
        """Whether `acl` grants any of `perms` to one of `identities`, in time that grows with the sum of their numbers
        and not with the product.  An empty ACL grants everything, as in ZooKeeper.
        """
        if acl is OPEN_ACL or self.skip or not acl:
            return True
        mine: dict[str, set[str]] = {}
        for scheme, id_ in identities:
            mine.setdefault(scheme, set()).add(id_)
        if SUPER_SCHEME in mine:
            return True
        for granted, scheme, expression in acl:
            if not granted & perms:
                continue
            if scheme == "world" and expression == "anyone":
                return True
            ids, judge = mine.get(scheme), self._schemes.get(scheme)
            if ids is None or judge is None:
                continue
            if expression in ids if judge.literal else any(judge.matches(id_, expression) for id_ in ids):
                return True
        return False

    def check(self, acl: Sequence[Acl], perms: int, identities: Sequence[Identity], path: str) -> None:
        """`NoAuthError` unless `allows`."""
        if not self.allows(acl, perms, identities):
            raise NoAuthError(path)

    def expand(self, acl: Sequence[Acl], identities: Sequence[Identity], path: str = "") -> tuple[Acl, ...]:
        """The ACL to store for the one a client gave: duplicates gone, `auth` replaced by who the client is.

        `InvalidACLError` for an empty ACL or one of more than ENTRIES_MAX, an unknown scheme, an id its scheme does not
        take, `auth` from a client who has authenticated as nobody.  `MarshallingError` for no id where the real one
        trips over it.
        """
        if acl is OPEN_ACL or tuple(acl) == OPEN_ACL:
            return OPEN_ACL
        if not 0 < len(acl) <= ENTRIES_MAX:
            raise InvalidACLError(path)
        out: list[Acl] = []
        for entry in dict.fromkeys(acl):
            if entry.scheme == "world" and entry.id == "anyone":
                out.append(entry)
            elif entry.id is NO_ID and entry.scheme in _TRIPPED_BY_NO_ID:
                raise MarshallingError(path)
            elif entry.scheme == "auth":
                mine = [Acl(entry.perms, *identity) for identity in identities if self._is_someone(identity)]
                if not mine or len(out) + len(mine) > ENTRIES_MAX:
                    raise InvalidACLError(path)
                out.extend(mine)
            else:
                judge = self._schemes.get(entry.scheme)
                if judge is None or not judge.is_valid(entry.id):
                    raise InvalidACLError(path)
                out.append(entry)
        stored = tuple(out)
        return OPEN_ACL if stored == OPEN_ACL else stored

    def shown(self, acl: Sequence[Acl], identities: Sequence[Identity]) -> tuple[Acl, ...]:
        """What getACL answers to someone who passed its check: digests only to whom may administer the znode."""
        if acl is OPEN_ACL or self.allows(acl, PERM_ADMIN, identities):
            return tuple(acl)
        return tuple(
            entry._replace(id=masked(entry.id)) if entry.scheme == DigestScheme.name else entry for entry in acl
        )

    def client_infos(self, identities: Sequence[Identity]) -> list[tuple[str, str]]:
        """whoAmI's answer: (scheme, user name); the digest itself is not part of a name (source:
        AuthUtil.getClientInfos).
        """
        out = []
        for scheme, id_ in identities:
            judge = self._schemes.get(scheme)
            out.append((scheme, "" if judge is None else judge.user_name(id_)))
        return out

    def _is_someone(self, identity: Identity) -> bool:
        scheme = self._schemes.get(identity.scheme)
        return scheme is not None and scheme.proves_someone


def masked(digest_id: str) -> str:
    """`user:hash` with an x for the hash.  Java's `.` stops at a line break; ours hides what stands behind it too."""
    user, colon, _ = digest_id.partition(":")
    return user + (":x" if colon else "")
