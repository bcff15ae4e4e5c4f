"""Every request a client may send, one record each: read from a frame (server side), written as one (client side).

In: the bytes of one frame behind its length.  Out: a record; its `xid` is what the reply must carry, its `opcode` what
it asks.
Knows nothing of what a request does.  Source: zookeeper.jute (org.apache.zookeeper.proto), MultiOperationRecord.

    layout    the kinds of fields, and what follows from a record's `layout`: its bytes, its decoder
    reads · watches · writes · session · multi    the records, by what they are for
    decoders  the registry: opcode -> decoder, with the busiest ones written out

(1) A record states its fields once: names and Python types as a dataclass, what they are on the wire as its `layout`.
(2) An opcode that is not in `DECODERS` does not exist for a client: not the server's own (createSession, error,
    deleteContainer), not check, which is only ever a part of a multi.
(3) A record that is cut, or lies about a length, raises `RemoteProtocolError`; bytes behind a record are ignored, as
    Java does.
"""

from coordination.wire.jute import INT_INT, pack_int
from coordination.wire.requests.decoders import DECODERS, Decoder
from coordination.wire.requests.layout import put_fields
from coordination.wire.requests.multi import Multi, MultiRead
from coordination.wire.requests.reads import (
    Exists,
    GetAcl,
    GetAllChildrenNumber,
    GetChildren,
    GetChildren2,
    GetData,
    GetEphemerals,
    Sync,
)
from coordination.wire.requests.session import Auth, CloseSession, Ping, Sasl, WhoAmI
from coordination.wire.requests.watches import AddWatch, CheckWatches, RemoveWatches, SetWatches
from coordination.wire.requests.writes import (
    CheckVersion,
    Create,
    CreateTtl,
    Delete,
    Reconfig,
    SetAcl,
    SetData,
    WriteOperation,
)

__all__ = [
    "DECODERS",
    "HEADER_BYTES",
    "AddWatch",
    "Auth",
    "CheckVersion",
    "CheckWatches",
    "CloseSession",
    "Create",
    "CreateTtl",
    "Decoder",
    "Delete",
    "Exists",
    "GetAcl",
    "GetAllChildrenNumber",
    "GetChildren",
    "GetChildren2",
    "GetData",
    "GetEphemerals",
    "Multi",
    "MultiRead",
    "Ping",
    "Reconfig",
    "RemoveWatches",
    "Request",
    "Sasl",
    "SetAcl",
    "SetData",
    "SetWatches",
    "Sync",
    "WhoAmI",
    "WriteOperation",
    "encode",
]

HEADER_BYTES = 8
"""xid and opcode."""

Read = Exists | GetData | GetAcl | GetChildren | GetChildren2 | GetAllChildrenNumber | GetEphemerals | Sync | MultiRead
Watch = AddWatch | CheckWatches | RemoveWatches | SetWatches
Write = Create | CreateTtl | Delete | SetData | SetAcl | Multi | Reconfig
Request = Read | Watch | Write | Ping | Auth | Sasl | WhoAmI | CloseSession


def encode(request: Request) -> bytes:
    """A whole frame, its length in front: what a client sends."""
    body = put_fields(request)
    return pack_int(HEADER_BYTES + len(body)) + INT_INT.pack(request.xid, request.opcode) + body
