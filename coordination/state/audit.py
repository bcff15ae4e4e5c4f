"""The audit log: who changed what, and whether it was done.

In: requests as they are decided, proposals as they are committed.  Out: a fact named AUDIT per operation, with
ZooKeeper's fields: session, user, ip, operation, znode, znode_type, acl, result; those without a value are left out.
Writes nothing; is there only where the setting is on.  Answers to ZooKeeper's AuditHelper and AuditEvent.

(1) Every create, delete, setData, setAcl and reconfig is told of, done or refused; a multi by its parts, a refused
    one as itself; the ephemerals that end with their session as the server's doing.
(2) No line holds a digest: an ACL is written as getACL shows it to strangers.
"""

from collections.abc import Iterator
from typing import Any

from coordination.state.connection import Connection
from coordination.state.outbox import Outbox
from coordination.state.proposals import Proposal, Proposals
from coordination.state.txn import CloseSessionTxn, ErrorTxn, MultiTxn
from coordination.wire import opcodes, requests
from coordination.wire.records import Acl

AUDIT = "audit"
SUCCESS, FAILURE, INVOKED = "success", "failure", "invoked"
SERVER_START, SERVER_STOP = "serverStart", "serverStop"
EPHEMERAL_GONE = "ephemeralZNodeDeletionOnSessionCloseOrExpire"

_OPERATIONS = {
    opcodes.CREATE: "create",
    opcodes.CREATE2: "create",
    opcodes.CREATE_CONTAINER: "create",
    opcodes.CREATE_TTL: "create",
    opcodes.DELETE: "delete",
    opcodes.SET_DATA: "setData",
    opcodes.SET_ACL: "setAcl",
    opcodes.RECONFIG: "reconfig",
}
# CreateMode's names, by its flag.
_MODES = (
    "persistent",
    "ephemeral",
    "persistent_sequential",
    "ephemeral_sequential",
    "container",
    "persistent_with_ttl",
    "persistent_sequential_with_ttl",
)
_LETTERS = ((4, "c"), (8, "d"), (1, "r"), (2, "w"), (16, "a"))  # in the order ZooKeeper writes them

Line = dict[str, Any]


class Audit:
    def __init__(self, proposals: Proposals, outbox: Outbox, server_user: str) -> None:
        """`server_user`: whom this process belongs to; what the server does by itself is its doing."""
        self._proposals = proposals
        self._outbox = outbox
        self._server_user = server_user
        self._asked: dict[int, Any] = {}

    def asked(self, request: Any) -> None:
        """The newest proposal came from this request."""
        self._asked[self._proposals.zxid] = request

    def due(self, zxid: int) -> list[Proposal]:
        """What is committed with `zxid`; to be handed to `committed` once it is."""
        return [proposal for proposal in self._proposals.under_way if proposal.header.zxid <= zxid]

    def committed(self, proposals: list[Proposal]) -> None:
        for proposal in proposals:
            for line in lines(proposal, self._asked.pop(proposal.header.zxid, None), self._server_user):
                self._outbox.tell(AUDIT, **line)


def lines(proposal: Proposal, request: Any, server_user: str) -> Iterator[Line]:
    """What to write of a committed proposal.  `request` None: nobody's wish but the server's.

    `server_user`: whom this process belongs to.
    """
    body, connection = proposal.body, proposal.connection
    if type(body) is CloseSessionTxn:
        for path in body.paths or ():
            yield _line(EPHEMERAL_GONE, SUCCESS, session_id=proposal.header.client_id, user=server_user, znode=path)
        return
    if request is None or connection is None:
        return
    who: Line = {"session_id": connection.session_id, "user": users(connection), "ip": connection.host}
    if type(request) is requests.Multi:
        parts = body.parts if type(body) is MultiTxn else []
        if not parts or parts[0][0] == opcodes.ERROR:
            yield _line("multiOperation", FAILURE, **who)
            return
        for operation, (_, part) in zip(request.operations, parts, strict=True):
            if operation.opcode in _OPERATIONS:
                yield _line(_OPERATIONS[operation.opcode], SUCCESS, **who, **_subject(operation, part, of_multi=True))
    elif request.opcode in _OPERATIONS:
        refused = type(body) is ErrorTxn
        result = FAILURE if refused else SUCCESS
        yield _line(_OPERATIONS[request.opcode], result, **who, **_subject(request, None if refused else body))


def users(connection: Connection) -> str | None:
    """The names this client has proven, as ZooKeeper joins them: of a digest, the user alone."""
    named = (
        each.id.partition(":")[0] if each.scheme == "digest" else each.id
        for each in connection.identities
        if each.scheme not in ("world", "super")
    )
    return ",".join(named) or None


def _subject(request: Any, body: Any, *, of_multi: bool = False) -> Line:
    """The znode and what of it; `body`: the txn, which knows the name a sequential znode got; None: refused."""
    found: Line = {"znode": getattr(body, "path", None) or getattr(request, "path", None)}
    if isinstance(request, (requests.Create, requests.CreateTtl)) and 0 <= request.flags < len(_MODES):
        found["znode_type"] = _MODES[request.flags]
    if isinstance(request, requests.SetAcl) and not of_multi:
        found["acl"] = "".join(map(_acl_text, request.acl or ()))
    return found


def _acl_text(acl: Acl) -> str:
    name = acl.id or ""
    if acl.scheme == "digest":
        name = name.partition(":")[0] + ":x"
    return f"{acl.scheme}:{name}:" + "".join(letter for bit, letter in _LETTERS if acl.perms & bit)


def _line(operation: str, result: str, *, session_id: int | None = None, **fields: Any) -> Line:
    line: Line = {} if session_id is None else {"session": f"0x{session_id & ((1 << 64) - 1):x}"}
    order = ("user", "ip")
    line |= {key: fields[key] for key in order if fields.get(key)}
    line["operation"] = operation
    line |= {key: value for key, value in fields.items() if key not in order and value is not None}
    line["result"] = result
    return line
