"""One txn as a line for people and as fields for programs.

In: a txn.  Out: text; JSON values.  Knows no file.  Answers to TxnLogToolkit's printTxn and Request.op2String.

(1) The hash of a digest ACL is masked unless asked for: dumps end up in bug reports.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from coordination.errors import BY_CODE
from coordination.state.txn import (
    CheckVersionTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    TxnBody,
    TxnDigest,
    TxnHeader,
)
from coordination.tools import words
from coordination.wire import opcodes
from coordination.wire.records import Acl

DATA_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class Show:
    """What to show in full."""

    data: bool = False
    digests: bool = False


OPERATIONS = {
    opcodes.CREATE: "create",
    opcodes.CREATE2: "create2",
    opcodes.CREATE_CONTAINER: "createContainer",
    opcodes.CREATE_TTL: "createTTL",
    opcodes.DELETE: "delete",
    opcodes.DELETE_CONTAINER: "deleteContainer",
    opcodes.SET_DATA: "setData",
    opcodes.SET_ACL: "setACL",
    opcodes.CHECK: "check",
    opcodes.MULTI: "multi",
    opcodes.RECONFIG: "reconfig",
    opcodes.CREATE_SESSION: "createSession",
    opcodes.CLOSE_SESSION: "closeSession",
    opcodes.ERROR: "error",
}


def time_text(ms: int) -> str:
    """ms since 1970 as UTC with milliseconds."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"
    except (OverflowError, OSError, ValueError):
        return f"{ms}ms"


def txn_line(header: TxnHeader, body: TxnBody, show: Show, digest: TxnDigest | None = None) -> str:
    """zxid, time, session, xid, operation, what it holds, and the digest of the tree behind it."""
    kind = OPERATIONS.get(header.type, f"type {header.type}")
    head = f"{time_text(header.time_ms)} session {words.hex_of(header.client_id)} cxid 0x{header.cxid & 0xFFFFFFFF:x}"
    line = f"{head} zxid {words.hex_of(header.zxid)} {kind} {_body_text(body, show)}".rstrip()
    return line if digest is None else f"{line} digest {digest.version},{digest.digest}"


def txn_json(header: TxnHeader, body: TxnBody, show: Show, digest: TxnDigest | None = None) -> dict[str, object]:
    behind = {} if digest is None else {"digest": {"version": digest.version, "digest": digest.digest}}
    return {
        "zxid": words.hex_of(header.zxid),
        "time_ms": header.time_ms,
        "session": words.hex_of(header.client_id),
        "cxid": header.cxid,
        "type": OPERATIONS.get(header.type, str(header.type)),
        **_body_json(body, show),
        **behind,
    }


def paths_of(body: TxnBody) -> list[str]:
    """Every path a txn names."""
    if isinstance(body, MultiTxn):
        return [path for _, part in body.parts for path in paths_of(part)]
    if isinstance(body, CloseSessionTxn):
        return body.paths or []
    if isinstance(body, (CreateSessionTxn, ErrorTxn)):
        return []
    return [body.path]


def data_text(data: bytes | None, show: Show) -> str:
    if data is None:
        return "null"
    try:
        text = json.dumps(data.decode(), ensure_ascii=False)
    except UnicodeDecodeError:
        text = f"0x{data.hex()}"
    if show.data or len(text) <= DATA_SHOWN_CHARS:
        return text
    return f"{text[:DATA_SHOWN_CHARS]}... ({len(data)} bytes)"


def masked(acl: tuple[Acl, ...], show: Show) -> tuple[Acl, ...]:
    """`acl` with the hashes of digest entries replaced by x, as the server shows them to strangers."""
    if show.digests:
        return acl
    return tuple(
        Acl(each.perms, each.scheme, f"{each.id.partition(':')[0]}:x") if each.scheme == "digest" else each
        for each in acl
    )


def acl_text(acl: tuple[Acl, ...], show: Show) -> str:
    acl = masked(acl, show)
    return ",".join(f"{each.scheme}:{each.id}:{words.perms_text(each.perms)}" for each in acl)


def _body_text(body: TxnBody, show: Show) -> str:
    match body:
        case CreateTxn() | CreateContainerTxn() | CreateTtlTxn():
            what = f"{body.path} {data_text(body.data, show)} {acl_text(body.acl, show)}"
            if isinstance(body, CreateTxn) and body.ephemeral:
                what += " ephemeral"
            what += f" parentCversion {body.parent_cversion}"
            return what + (f" ttl {body.ttl_ms} ms" if isinstance(body, CreateTtlTxn) else "")
        case DeleteTxn():
            return body.path
        case SetDataTxn():
            return f"{body.path} {data_text(body.data, show)} version {body.version}"
        case SetAclTxn():
            return f"{body.path} {acl_text(body.acl, show)} version {body.version}"
        case CheckVersionTxn():
            return f"{body.path} version {body.version}"
        case CreateSessionTxn():
            return f"{body.timeout_ms} ms"
        case CloseSessionTxn():
            return "" if body.paths is None else f"[{', '.join(body.paths)}]"
        case ErrorTxn():
            return f"{body.code} {_code_name(body.code)}"
        case MultiTxn():
            parts = (f"{OPERATIONS.get(kind, kind)} {_body_text(part, show)}".rstrip() for kind, part in body.parts)
            return "; ".join(parts)


def _body_json(body: TxnBody, show: Show) -> dict[str, object]:
    found: dict[str, object] = {}
    match body:
        case CreateTxn() | CreateContainerTxn() | CreateTtlTxn():
            found = {"path": body.path, **words.data_json(body.data), "acl": words.acl_json(masked(body.acl, show))}
            found["parent_cversion"] = body.parent_cversion
            if isinstance(body, CreateTxn):
                found["ephemeral"] = body.ephemeral
            elif isinstance(body, CreateTtlTxn):
                found["ttl_ms"] = body.ttl_ms
        case DeleteTxn():
            found = {"path": body.path}
        case SetDataTxn():
            found = {"path": body.path, **words.data_json(body.data), "version": body.version}
        case SetAclTxn():
            found = {"path": body.path, "acl": words.acl_json(masked(body.acl, show)), "version": body.version}
        case CheckVersionTxn():
            found = {"path": body.path, "version": body.version}
        case CreateSessionTxn():
            found = {"timeout_ms": body.timeout_ms}
        case CloseSessionTxn():
            found = {"paths": body.paths}
        case ErrorTxn():
            found = {"code": body.code, "error": _code_name(body.code)}
        case MultiTxn():
            found = {
                "parts": [
                    {"type": OPERATIONS.get(kind, str(kind)), **_body_json(part, show)} for kind, part in body.parts
                ]
            }
    return found


def _code_name(code: int) -> str:
    error = BY_CODE.get(code)
    return "ok" if code == 0 else error.__name__.removesuffix("Error") if error is not None else "unknown"
