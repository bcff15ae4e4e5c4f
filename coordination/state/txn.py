"""Txns: the record of one decision, as it stands in the log and travels between servers.

In: a header and a body.  Out: the payload of one log entry (header, then body, in ZooKeeper's jute), and back.
Knows nothing of the tree or of files.  Answers to ZooKeeper's TxnHeader, the records of org.apache.zookeeper.txn and
SerializeUtils.

(1) payload[12:20] is the zxid, big-endian: storage looks no further than that.
(2) `decode(encode(header, body)) == (header, body)` for every body type.
(3) A failed request is a txn too: type ERROR, one code; it takes a zxid.  A failed multi keeps type MULTI and holds
    only ERROR parts.
(4) Behind the body a TxnDigest may stand: the digest of the tree after this txn (`tree_digest`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, NamedTuple

from coordination.errors import RemoteProtocolError
from coordination.wire import opcodes
from coordination.wire.jute import (
    get_bool,
    get_buffer,
    get_count,
    get_int,
    get_long,
    get_string,
    get_string_and_buffer,
    get_strings,
    pack_int,
    pack_long,
    put_bool,
    put_buffer,
    put_string,
    put_strings,
    truncated,
    unpack_int,
)
from coordination.wire.records import Acl, get_acls, put_acls

HEADER = Struct(">qiqqi")
HEADER_BYTES = HEADER.size
TXN_DIGEST = Struct(">iQ")
TXN_DIGEST_BYTES = TXN_DIGEST.size


class TxnHeader(NamedTuple):
    """Who asked (session id, xid), the zxid given, the wall clock in ms, and the type (an opcode)."""

    client_id: int
    cxid: int
    zxid: int
    time_ms: int
    type: int


class TxnDigest(NamedTuple):
    """By which method (version), and the digest of the tree, without its sign."""

    version: int
    digest: int


@dataclass(slots=True)
class CreateTxn:
    path: str
    data: bytes | None
    acl: tuple[Acl, ...]
    ephemeral: bool
    parent_cversion: int

    def encode(self) -> bytes:
        return b"".join(
            (
                put_string(self.path),
                put_buffer(self.data),
                put_acls(self.acl),
                put_bool(self.ephemeral),
                pack_int(self.parent_cversion),
            )
        )


@dataclass(slots=True)
class CreateContainerTxn:
    path: str
    data: bytes | None
    acl: tuple[Acl, ...]
    parent_cversion: int

    def encode(self) -> bytes:
        return put_string(self.path) + put_buffer(self.data) + put_acls(self.acl) + pack_int(self.parent_cversion)


@dataclass(slots=True)
class CreateTtlTxn:
    path: str
    data: bytes | None
    acl: tuple[Acl, ...]
    parent_cversion: int
    ttl_ms: int

    def encode(self) -> bytes:
        head = put_string(self.path) + put_buffer(self.data) + put_acls(self.acl)
        return head + pack_int(self.parent_cversion) + pack_long(self.ttl_ms)


@dataclass(slots=True)
class DeleteTxn:
    path: str

    def encode(self) -> bytes:
        return put_string(self.path)


@dataclass(slots=True)
class SetDataTxn:
    path: str
    data: bytes | None
    version: int

    def encode(self) -> bytes:
        return put_string(self.path) + put_buffer(self.data) + pack_int(self.version)


_HEADER_AND_LENGTH = Struct(">qiqqii")
_CREATE_TAIL = Struct(">?i")


def set_data_payload(header: TxnHeader, txn: SetDataTxn, data: bytes) -> bytes:
    """Header and body of a setData of some data: what a busy server encodes most, written out flat."""
    path = txn.path.encode()
    head = _HEADER_AND_LENGTH.pack(*header, len(path))
    return b"".join((head, path, pack_int(len(data)), data, pack_int(txn.version)))


def create_payload(header: TxnHeader, txn: CreateTxn, data: bytes) -> bytes:
    """The same of a create."""
    path = txn.path.encode()
    head = _HEADER_AND_LENGTH.pack(*header, len(path))
    tail = _CREATE_TAIL.pack(txn.ephemeral, txn.parent_cversion)
    return b"".join((head, path, pack_int(len(data)), data, put_acls(txn.acl), tail))


@dataclass(slots=True)
class CheckVersionTxn:
    path: str
    version: int

    def encode(self) -> bytes:
        return put_string(self.path) + pack_int(self.version)


@dataclass(slots=True)
class SetAclTxn:
    path: str
    acl: tuple[Acl, ...]
    version: int

    def encode(self) -> bytes:
        return put_string(self.path) + put_acls(self.acl) + pack_int(self.version)


@dataclass(slots=True)
class CreateSessionTxn:
    timeout_ms: int

    def encode(self) -> bytes:
        return pack_int(self.timeout_ms)


@dataclass(slots=True)
class CloseSessionTxn:
    """`paths` None: written by a server older than 3.6, whose closeSession has no body."""

    paths: list[str] | None

    def encode(self) -> bytes:
        return b"" if self.paths is None else put_strings(self.paths)


@dataclass(slots=True)
class ErrorTxn:
    code: int

    def encode(self) -> bytes:
        return pack_int(self.code)


@dataclass(slots=True)
class MultiTxn:
    """The parts of a multi: (type, body) in order."""

    parts: list[tuple[int, "TxnBody"]]
    _ITEM_BYTES_MIN: ClassVar[int] = 8

    def encode(self) -> bytes:
        out = [pack_int(len(self.parts))]
        for type_, body in self.parts:
            out.append(pack_int(type_))
            out.append(put_buffer(body.encode()))
        return b"".join(out)


TxnBody = (
    CreateTxn
    | CreateContainerTxn
    | CreateTtlTxn
    | DeleteTxn
    | SetDataTxn
    | CheckVersionTxn
    | SetAclTxn
    | CreateSessionTxn
    | CloseSessionTxn
    | ErrorTxn
    | MultiTxn
)


def encode(header: TxnHeader, body: TxnBody) -> bytes:
    """The payload of one log entry."""
    return HEADER.pack(*header) + body.encode()


def decode(payload: bytes) -> tuple[TxnHeader, TxnBody]:
    """A log entry's payload as header and body; `RemoteProtocolError` if it is not one (source: SerializeUtils)."""
    header, body, _ = decode_entry(payload)
    return header, body


def decode_entry(payload: bytes) -> tuple[TxnHeader, TxnBody, TxnDigest | None]:
    """As `decode`, and the digest behind the body, where one stands."""
    end = len(payload)
    if end < HEADER_BYTES:
        raise truncated("a txn header")
    header = tuple.__new__(TxnHeader, HEADER.unpack_from(payload, 0))  # three times as fast as by its constructor
    decoder = _DECODERS.get(header.type)
    if decoder is None:
        raise _unknown(header.type)
    body, pos = decoder(payload, HEADER_BYTES, end)
    return header, body, TxnDigest(*TXN_DIGEST.unpack_from(payload, pos)) if end - pos >= TXN_DIGEST_BYTES else None


def decode_body(type_: int, buf: bytes, pos: int, end: int) -> tuple[TxnBody, int]:
    """The body and the position behind it."""
    decoder = _DECODERS.get(type_)
    if decoder is None:
        raise _unknown(type_)
    return decoder(buf, pos, end)


def _unknown(type_: int) -> RemoteProtocolError:
    return RemoteProtocolError(f"a txn of unknown type {type_}")


def _create(buf: bytes, pos: int, end: int) -> tuple[CreateTxn, int]:
    path, data, pos = get_string_and_buffer(buf, pos, end)
    acl, pos = get_acls(buf, pos, end)
    ephemeral, pos = get_bool(buf, pos, end)
    if pos == end:  # CreateTxnV0, before 3.4: the parent counts for itself
        return CreateTxn(path, data, acl, ephemeral, -1), pos
    parent_cversion, pos = get_int(buf, pos, end)
    return CreateTxn(path, data, acl, ephemeral, parent_cversion), pos


def _create_container(buf: bytes, pos: int, end: int) -> tuple[CreateContainerTxn, int]:
    path, data, pos = get_string_and_buffer(buf, pos, end)
    acl, pos = get_acls(buf, pos, end)
    parent_cversion, pos = get_int(buf, pos, end)
    return CreateContainerTxn(path, data, acl, parent_cversion), pos


def _create_ttl(buf: bytes, pos: int, end: int) -> tuple[CreateTtlTxn, int]:
    path, data, pos = get_string_and_buffer(buf, pos, end)
    acl, pos = get_acls(buf, pos, end)
    parent_cversion, pos = get_int(buf, pos, end)
    ttl_ms, pos = get_long(buf, pos, end)
    return CreateTtlTxn(path, data, acl, parent_cversion, ttl_ms), pos


def _delete(buf: bytes, pos: int, end: int) -> tuple[DeleteTxn, int]:
    path, pos = get_string(buf, pos, end)
    return DeleteTxn(path), pos


def _set_data(buf: bytes, pos: int, end: int) -> tuple[SetDataTxn, int]:
    path, data, pos = get_string_and_buffer(buf, pos, end)
    if pos + 4 > end:
        raise truncated("the version of a setData")
    return SetDataTxn(path, data, unpack_int(buf, pos)[0]), pos + 4


def _check_version(buf: bytes, pos: int, end: int) -> tuple[CheckVersionTxn, int]:
    path, pos = get_string(buf, pos, end)
    version, pos = get_int(buf, pos, end)
    return CheckVersionTxn(path, version), pos


def _set_acl(buf: bytes, pos: int, end: int) -> tuple[SetAclTxn, int]:
    path, pos = get_string(buf, pos, end)
    acl, pos = get_acls(buf, pos, end)
    version, pos = get_int(buf, pos, end)
    return SetAclTxn(path, acl, version), pos


def _create_session(buf: bytes, pos: int, end: int) -> tuple[CreateSessionTxn, int]:
    timeout_ms, pos = get_int(buf, pos, end)
    return CreateSessionTxn(timeout_ms), pos


def _close_session(buf: bytes, pos: int, end: int) -> tuple[CloseSessionTxn, int]:
    # Where closeSession has no body (zookeeper.closeSessionTxn.enabled=false) its digest may follow at once: no list
    # of two paths is 12 bytes long.
    if pos == end or (end - pos == TXN_DIGEST_BYTES and TXN_DIGEST.unpack_from(buf, pos)[0] == 2):
        return CloseSessionTxn(None), pos
    paths, pos = get_strings(buf, pos, end)
    return CloseSessionTxn(paths), pos


def _error(buf: bytes, pos: int, end: int) -> tuple[ErrorTxn, int]:
    code, pos = get_int(buf, pos, end)
    return ErrorTxn(code), pos


def _multi(buf: bytes, pos: int, end: int) -> tuple[MultiTxn, int]:
    count, pos = get_count(buf, pos, end)
    parts: list[tuple[int, TxnBody]] = []
    for _ in range(count):
        type_, pos = get_int(buf, pos, end)
        raw, pos = get_buffer(buf, pos, end)
        if raw is None or type_ == opcodes.MULTI:
            raise RemoteProtocolError("a multi holds an empty part or another multi")
        parts.append((type_, decode_body(type_, raw, 0, len(raw))[0]))
    return MultiTxn(parts), pos


_DECODERS: dict[int, Callable[[bytes, int, int], tuple[TxnBody, int]]] = {
    opcodes.CREATE: _create,
    opcodes.CREATE2: _create,
    opcodes.CREATE_CONTAINER: _create_container,
    opcodes.CREATE_TTL: _create_ttl,
    opcodes.DELETE: _delete,
    opcodes.DELETE_CONTAINER: _delete,
    opcodes.SET_DATA: _set_data,
    opcodes.RECONFIG: _set_data,
    opcodes.CHECK: _check_version,
    opcodes.SET_ACL: _set_acl,
    opcodes.CREATE_SESSION: _create_session,
    opcodes.CLOSE_SESSION: _close_session,
    opcodes.ERROR: _error,
    opcodes.MULTI: _multi,
}
