"""The bytes of a snapshot: sessions, ACL table, znodes, seal.

In:  plain values.  Out: chunks of bytes, and the values again.  Pure: no files, no checksums of its own making but the
     seal's.
Knows nothing of a tree; a znode is (path, data, acl id, nine persisted stat fields), parents before children. Answers
to FileSnap, SerializeUtils, DataTree.serialize and ReferenceCountedACLCache.

    file     = "ZKSN" version:int(2) dbid:long(-1)  sessions  acls  znode* "/"  seal  (more seal)*
    sessions = count:int (id:long timeout_ms:int)*
    acls     = count:int (id:long entries:int (perms:int scheme:string id:string)*)*
    znode    = path:string data:buffer acl_id:long stat            the root's path is written as ""
    seal     = adler32 of everything before it:long  "/":string

Behind the first seal Apache ZooKeeper may put the digest of the tree (zxid:long version:int digest:long) and the last
processed zxid, each with a seal of its own. The last seal covers them all, so checking it alone checks the whole file.
We write both or neither: a ZooKeeper takes what follows the first seal for the digest if its own digests are on, for
the zxid if they are off, and one without the other is refused by the half of them.
"""

import struct
from collections.abc import Generator, Iterable, Mapping, Sequence
from mmap import mmap
from struct import Struct
from typing import TypeAlias
from zlib import adler32

Buffer: TypeAlias = bytes | mmap
AclEntry: TypeAlias = tuple[int, str, str]
"""(permission bits, scheme, id)"""
PersistedStat: TypeAlias = tuple[int, int, int, int, int, int, int, int, int]
"""(czxid, mzxid, ctime ms, mtime ms, version, cversion, aversion, ephemeral owner, pzxid).

Mind the cversion: here it counts the children ever created, where the Stat a client sees counts creates and deletes
(created * 2 - number of children).
"""
SnapshotNode: TypeAlias = tuple[str, bytes | None, int, PersistedStat]
"""(path, data, acl id, stat); the root is "/"."""

ZxidDigest: TypeAlias = tuple[int, int, int]
"""(zxid, digest of the tree after its txn, without sign, version of the method)"""

OPEN_ACL_ID = -1
"""world:anyone with every permission: ZooKeeper never puts it into the table."""

HEADER_BYTES = b"ZKSN" + (2).to_bytes(4, "big") + (-1).to_bytes(8, "big", signed=True)
SEAL_BYTES = 13
_INT = Struct(">i")
_LONG = Struct(">q")
_SESSION = Struct(">qi")
_ACL_HEAD = Struct(">qi")
_NODE_TAIL = Struct(">qqqqqiiiqq")
_END_OF_NODES = b"\0\0\0\1/"
_ZXID_DIGEST = Struct(">qiQ")
# What may follow the first seal: the digest, with the last processed zxid or without.
_DIGEST_TAILS = (_ZXID_DIGEST.size + SEAL_BYTES, _ZXID_DIGEST.size + SEAL_BYTES + _LONG.size + SEAL_BYTES)
_OLDEST_DIGEST = 2  # before it a digest was written as text


def encode_head(sessions: Mapping[int, int], acls: Mapping[int, Sequence[AclEntry]]) -> tuple[bytes, int]:
    """Header, sessions and ACL table; and the id of an added ACL that allows nothing.

    The table is written before the znodes, so an ACL that is new while they are being written is not in it: such a
    znode gets the closed one until the replay of its txn gives it its own.
    """
    closed_id = max([0, *acls]) + 1
    parts = [HEADER_BYTES, _INT.pack(len(sessions))]
    parts += (_SESSION.pack(session_id, timeout_ms) for session_id, timeout_ms in sessions.items())
    table = {**acls, closed_id: ((0, "world", "anyone"),)}
    parts.append(_INT.pack(len(table)))
    for acl_id, entries in table.items():
        parts.append(_ACL_HEAD.pack(acl_id, len(entries)))
        for perms, scheme, who in entries:
            parts += (_INT.pack(perms), _string(scheme), _string(who))
    return b"".join(parts), closed_id


def encode_nodes(nodes: Iterable[SnapshotNode], known_acls: set[int], closed_id: int) -> bytes:
    """A slice of znodes."""
    parts: list[bytes] = []
    add, integer, tail = parts.append, _INT.pack, _NODE_TAIL.pack
    for path, data, acl_id, stat in nodes:
        name = path.encode() if path != "/" else b""
        add(integer(len(name)))
        add(name)
        if data is None:
            add(b"\xff\xff\xff\xff")
        else:
            add(integer(len(data)))
            add(data)
        add(tail(acl_id if acl_id in known_acls else closed_id, *stat))
    return b"".join(parts)


def encode_end(checksum_so_far: int, digest: ZxidDigest | None = None) -> bytes:
    """The end of the znodes and the seals, given the Adler-32 of all bytes before. `digest` None: none is written."""
    parts = [_END_OF_NODES]
    if digest is not None:
        zxid, number, version = digest
        parts += (_ZXID_DIGEST.pack(zxid, version, number), _LONG.pack(zxid))
    out: list[bytes] = []
    for part in parts:
        checksum_so_far = adler32(part, checksum_so_far)
        seal = _LONG.pack(checksum_so_far) + _END_OF_NODES
        checksum_so_far = adler32(seal, checksum_so_far)
        out += (part, seal)
    return b"".join(out)


def fault_of(buffer: Buffer) -> str | None:
    """Why these bytes are no whole snapshot; None if the seal holds. Reads every byte."""
    if len(buffer) < len(HEADER_BYTES) + SEAL_BYTES:
        return f"it is {len(buffer)} bytes long, too short for a snapshot"
    if buffer[:4] != b"ZKSN":
        return f"it begins with {bytes(buffer[:4])!r}, not b'ZKSN'"
    if buffer[-5:] != _END_OF_NODES:
        return "its end is missing (a write that never finished)"
    (expected,) = _LONG.unpack_from(buffer, len(buffer) - SEAL_BYTES)
    with memoryview(buffer) as view, view[:-SEAL_BYTES] as covered:
        if adler32(covered) != expected:
            return "its checksum does not match"
    return None


def decode_head(buffer: Buffer) -> tuple[dict[int, int], dict[int, list[AclEntry]], int]:
    """Sessions, ACL table, and the offset of the first znode. ValueError if they are malformed (impossible behind a
    good seal).
    """
    try:
        offset = len(HEADER_BYTES)
        (count,) = _INT.unpack_from(buffer, offset)
        offset += 4
        sessions: dict[int, int] = {}
        for _ in range(count):
            session_id, sessions[session_id] = _SESSION.unpack_from(buffer, offset)
            offset += _SESSION.size
        (count,) = _INT.unpack_from(buffer, offset)
        offset += 4
        acls: dict[int, list[AclEntry]] = {}
        for _ in range(count):
            acl_id, entries = _ACL_HEAD.unpack_from(buffer, offset)
            offset += _ACL_HEAD.size
            acls[acl_id] = []
            for _ in range(entries):
                (perms,) = _INT.unpack_from(buffer, offset)
                scheme, offset = _get_string(buffer, offset + 4)
                who, offset = _get_string(buffer, offset)
                acls[acl_id].append((perms, scheme, who))
    except struct.error as error:
        raise ValueError(f"malformed at offset {offset}: {error}") from error
    return sessions, acls, offset


def decode_nodes(buffer: Buffer, offset: int) -> Generator[SnapshotNode, None, int]:
    """Every znode, parents first; returns the offset of the first seal. ValueError if they are malformed."""
    integer, tail, tail_size = _INT.unpack_from, _NODE_TAIL.unpack_from, _NODE_TAIL.size
    try:
        while True:
            (length,) = integer(buffer, offset)
            if length < 0:  # would lead back, and round for ever
                raise ValueError(f"malformed at offset {offset}: a path of {length} bytes")
            offset += 4
            path = buffer[offset : offset + length].decode()
            if path == "/":
                return offset + 1
            offset += length
            (length,) = integer(buffer, offset)
            offset += 4
            data: bytes | None = None
            if length >= 0:
                data = buffer[offset : offset + length]
                offset += length
            fields = tail(buffer, offset)
            offset += tail_size
            yield path or "/", data, fields[0], fields[1:]
    except (struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"malformed at offset {offset}: {error}") from error


def decode_digest(buffer: Buffer, seal_at: int) -> ZxidDigest | None:
    """The digest behind the first seal, where there is one of a method we know of."""
    offset = seal_at + SEAL_BYTES
    if len(buffer) - offset not in _DIGEST_TAILS:
        return None
    zxid, version, number = _ZXID_DIGEST.unpack_from(buffer, offset)
    return (zxid, number, version) if version >= _OLDEST_DIGEST else None


def _string(text: str) -> bytes:
    data = text.encode()
    return _INT.pack(len(data)) + data


def _get_string(buffer: Buffer, offset: int) -> tuple[str, int]:
    (length,) = _INT.unpack_from(buffer, offset)
    offset += 4
    if length < 0:
        return "", offset
    return buffer[offset : offset + length].decode(), offset + length
