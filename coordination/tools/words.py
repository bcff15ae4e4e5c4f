"""How ZooKeeper's shell says things: errors, Stats, ACLs, events, dumps of bytes; and what one can do about an error.

In: values and errors.  Out: text, and the same as JSON values.
Knows no connection and no verb.  Answers to CliWrapperException, StatPrinter, AclParser, WatchedEvent, KeeperException.

(1) The first line of an error is ZooKeeper's, word for word, so that scripts that look for it find it; the advice is
    ours.
"""

import base64
import time

from coordination import errors, paths
from coordination.errors import KeeperError
from coordination.tools.watch_table import EVENT_NAMES, Event
from coordination.wire import opcodes
from coordination.wire.records import Acl, Stat

# Exit codes, as everywhere in this project: 1 is a bug.
EXIT_OK = 0
EXIT_USAGE = 2
EXIT_NO_NODE = 3
EXIT_REFUSED = 4
EXIT_NO_ANSWER = 5
EXIT_UNSOUND = 6
EXIT_ENVIRONMENT = 7
EXIT_INTERRUPTED = 130

_PERMS_AS_PRINTED = (
    ("c", opcodes.PERM_CREATE),
    ("d", opcodes.PERM_DELETE),
    ("r", opcodes.PERM_READ),
    ("w", opcodes.PERM_WRITE),
    ("a", opcodes.PERM_ADMIN),
)
_PERM_BITS = dict(_PERMS_AS_PRINTED)

# CliWrapperException: the words in front of the path.
_SAID: dict[type[KeeperError], str] = {
    errors.NoNodeError: "Node does not exist: ",
    errors.NoChildrenForEphemeralsError: "Ephemerals cannot have children: ",
    errors.NodeExistsError: "Node already exists: ",
    errors.NotEmptyError: "Node not empty: ",
    errors.NotReadOnlyCallError: "Not a read-only call: ",
    errors.InvalidACLError: "Acl is not valid : ",
    errors.NoAuthError: "Insufficient permission : ",
    errors.BadArgumentsError: "Arguments are not valid : ",
    errors.BadVersionError: "version No is not valid : ",
    errors.QuotaExceededError: "Quota has exceeded : ",
}
_SAID_WHOLE: dict[type[KeeperError], str] = {
    errors.ReconfigInProcessError: "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)",
    errors.NewConfigNoQuorumError: "No quorum of new config is connected and up-to-date with the leader of last "
    "commmitted config - try invoking reconfiguration after new servers are connected and synced",
}
# KeeperException.getCodeMessage, where it is not the name of the code.
_CODE_NAMES = {
    -1: "SystemError",
    -2: "RuntimeInconsistency",
    -3: "DataInconsistency",
    -4: "ConnectionLoss",
    -5: "MarshallingError",
    -6: "Unimplemented",
    -7: "OperationTimeout",
    -100: "APIError",
    -112: "Session expired",
    -113: "Invalid callback",
    -114: "InvalidACL",
    -115: "AuthFailed",
    -118: "Session moved",
    -120: "Ephemeral node on local session",
    -121: "No such watcher",
    -123: "Reconfig is disabled",
    -124: "Session closed because client failed to authenticate",
    -127: "Op throttled due to high load",
}


def keeper_error(error: KeeperError) -> str:
    """What ZooKeeper's shell prints for a refusal."""
    kind = type(error)
    if kind in _SAID_WHOLE:
        return _SAID_WHOLE[kind]
    if kind in _SAID:
        return _SAID[kind] + error.path
    name = _CODE_NAMES.get(error.code, f"Unknown error {error.code}")
    return f"KeeperErrorCode = {name}" + (f" for {error.path}" if error.path else "")


def advice(error: KeeperError, verb: str) -> str:
    """What to do about it, one line; empty where nothing sensible can be said."""
    path = error.path
    if isinstance(error, (errors.ConnectionLossError, errors.OperationTimeoutError)):
        why = error.args[0].removesuffix(f": {path}") if path else error.args[0]
        return f"{why}. Is the server up? coordination 4lw srvr HOST:PORT"
    if isinstance(error, errors.NoNodeError):
        parent = paths.parent_of(path)
        return f"make its parent first: create {parent}" if verb == "create" else f"what is there: ls {parent}"
    if isinstance(error, errors.BadVersionError) and verb == "reconfig":
        return "the present version, in hexadecimal: config"
    if isinstance(error, errors.ReconfigDisabledError):
        return "reconfigEnabled=true in the server's configuration allows it"
    text = _ADVICE.get(type(error), "")
    return text.format(path=path, parent=paths.parent_of(path) if path else "")


_ADVICE: dict[type[KeeperError], str] = {
    errors.NodeExistsError: "change its value: set {path} DATA",
    errors.NoChildrenForEphemeralsError: "create it under a znode that is not ephemeral",
    errors.NotEmptyError: "with all that is under it: deleteall {path}",
    errors.BadVersionError: "the present one is dataVersion (aclVersion for setAcl) of: stat {path}",
    errors.NoAuthError: "who may: getAcl {path}    be someone: addauth digest USER:PASSWORD",
    errors.InvalidACLError: "an ACL is SCHEME:ID:PERMS,... such as world:anyone:cdrwa or auth::cdrwa (after addauth)",
    errors.AuthFailedError: "the server refused scheme or credential and closed the connection; start again: connect",
    errors.SessionExpiredError: "the server gave the session up, its ephemeral znodes are gone; a new one: connect",
    errors.QuotaExceededError: "the limits: listquota {path} (or a parent of it)",
    errors.NoWatcherError: "removewatches takes back only watches this session has set",
    errors.UnimplementedError: "not done here (TTL znodes need extendedTypesEnabled=true, reconfig an ensemble)",
    errors.NotReadOnlyCallError: "this server has no quorum and only reads",
    errors.ThrottledOpError: "it was not executed; try again",
}


def exit_code(error: KeeperError) -> int:
    if isinstance(error, errors.NoNodeError):
        return EXIT_NO_NODE
    if isinstance(error, (errors.ConnectionLossError, errors.OperationTimeoutError, errors.SessionExpiredError)):
        return EXIT_NO_ANSWER
    return EXIT_REFUSED


def java_date(ms: int) -> str:
    """java.util.Date.toString of ms since 1970, in the local time zone."""
    try:
        return time.strftime("%a %b %d %H:%M:%S %Z %Y", time.localtime(ms // 1000))
    except (OverflowError, OSError, ValueError):
        return f"{ms} ms since 1970"


def hex_of(number: int) -> str:
    """0x and the digits of a Java long: a negative one shows its two's complement."""
    return f"0x{number & 0xFFFFFFFFFFFFFFFF:x}"


def stat_lines(stat: Stat) -> str:
    return "\n".join(
        (
            f"cZxid = {hex_of(stat.czxid)}",
            f"ctime = {java_date(stat.ctime)}",
            f"mZxid = {hex_of(stat.mzxid)}",
            f"mtime = {java_date(stat.mtime)}",
            f"pZxid = {hex_of(stat.pzxid)}",
            f"cversion = {stat.cversion}",
            f"dataVersion = {stat.version}",
            f"aclVersion = {stat.aversion}",
            f"ephemeralOwner = {hex_of(stat.ephemeral_owner)}",
            f"dataLength = {stat.data_length}",
            f"numChildren = {stat.num_children}",
        )
    )


def stat_json(stat: Stat) -> dict[str, object]:
    """The names of `stat`'s lines; zxids and session ids as text (JSON readers round large numbers), times in ms."""
    return {
        "cZxid": hex_of(stat.czxid),
        "ctime_ms": stat.ctime,
        "mZxid": hex_of(stat.mzxid),
        "mtime_ms": stat.mtime,
        "pZxid": hex_of(stat.pzxid),
        "cversion": stat.cversion,
        "dataVersion": stat.version,
        "aclVersion": stat.aversion,
        "ephemeralOwner": hex_of(stat.ephemeral_owner),
        "dataLength": stat.data_length,
        "numChildren": stat.num_children,
    }


def data_json(value: bytes | None) -> dict[str, object]:
    """{"data": text} for UTF-8 and null, {"data_base64": ...} for anything else."""
    if value is None:
        return {"data": None}
    try:
        return {"data": value.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(value).decode()}


def perms_text(perms: int) -> str:
    return "".join(letter for letter, bit in _PERMS_AS_PRINTED if perms & bit)


def acl_lines(acl: tuple[Acl, ...]) -> str:
    # The record's own toString ends its line; the permissions stand on the next.
    return "\n".join(f"'{each.scheme},'{each.id}\n: {perms_text(each.perms)}" for each in acl)


def acl_json(acl: tuple[Acl, ...]) -> list[dict[str, str]]:
    return [{"scheme": each.scheme, "id": each.id, "perms": perms_text(each.perms)} for each in acl]


def parse_acl(text: str) -> tuple[tuple[Acl, ...], list[str]]:
    """`scheme:id:perms,...` as entries, and the complaints about what was left out."""
    entries, complaints = [], []
    for part in text.split(","):
        scheme, colon, rest = part.partition(":")
        id_, second, letters = rest.rpartition(":")
        if not (colon and second):
            complaints.append(f"{part} does not have the form scheme:id:perm")
            continue
        perms = 0
        for letter in letters:
            if letter in _PERM_BITS:
                perms |= _PERM_BITS[letter]
            else:
                complaints.append(f"Unknown perm type: {letter}")
        entries.append(Acl(perms, scheme, id_))
    return tuple(entries), complaints


def event_lines(event: Event) -> str:
    """What ZooKeeper's shell prints when a watch fires (WatchedEvent.toString)."""
    name = EVENT_NAMES.get(event.type, str(event.type))
    return f"\nWATCHER::\n\nWatchedEvent state:{event.state} type:{name} path:{event.path or 'null'} zxid: {event.zxid}"


def event_json(event: Event) -> dict[str, object]:
    return {
        "event": EVENT_NAMES.get(event.type, str(event.type)),
        "state": event.state,
        "path": event.path,
        "zxid": hex_of(event.zxid) if event.zxid >= 0 else None,
    }


def hex_dump(data: bytes) -> str:
    """The table `get -x` prints; nothing for no bytes."""
    if not data:
        return ""
    rule = "+--------+-------------------------------------------------+----------------+"
    lines = [
        "         +-------------------------------------------------+",
        "         |" + "".join(f"{column:3x}" for column in range(16)) + " |",
        rule,
    ]
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        shown = "".join(chr(byte) if 0x1F < byte < 0x7F else "." for byte in row)
        lines.append(f"|{offset:08x}|" + "".join(f" {byte:02x}" for byte in row).ljust(48) + f" |{shown:<16}|")
    lines.append(rule)
    return "\n".join(lines)
