"""Requests of several parts: multi (all of its writes or none) and multiRead (each of its reads for itself).

    (opcode, done = false, -1) part ... (-1, done = true, -1)

In: the bytes of a whole request.  Out: its parts as records with xid 0, and back.  Source: MultiOperationRecord, Op.

(1) A part that is none, or a create with a mode that is none, makes the whole request unreadable.
"""

from dataclasses import dataclass
from typing import ClassVar

from coordination.errors import RemoteProtocolError
from coordination.wire import opcodes
from coordination.wire.jute import FALSE, TRUE, get_bool, get_int, pack_int
from coordination.wire.requests.layout import Field, Layout, get_fields, put_fields
from coordination.wire.requests.reads import GetChildren, GetData
from coordination.wire.requests.writes import CheckVersion, Create, CreateTtl, Delete, SetData, WriteOperation

ReadOperation = GetData | GetChildren
"""What a multiRead may hold."""

_END = pack_int(-1) + TRUE + pack_int(-1)
_CREATES = (opcodes.CREATE, opcodes.CREATE2, opcodes.CREATE_CONTAINER, opcodes.CREATE_TTL)
_OTHERS: dict[int, type[Delete | SetData | CheckVersion]] = {
    opcodes.DELETE: Delete,
    opcodes.SET_DATA: SetData,
    opcodes.CHECK: CheckVersion,
}


def _get_header(buf: bytes, pos: int, end: int) -> tuple[int, bool, int]:
    opcode, pos = get_int(buf, pos, end)
    done, pos = get_bool(buf, pos, end)
    _, pos = get_int(buf, pos, end)
    return opcode, done, pos


def _get_operations(buf: bytes, pos: int, end: int) -> tuple[list[WriteOperation], int]:
    operations: list[WriteOperation] = []
    while True:
        opcode, done, pos = _get_header(buf, pos, end)
        if done:
            return operations, pos
        operation: WriteOperation
        if opcode in _CREATES:
            operation, pos = _get_create(opcode, buf, pos, end)
        elif opcode in _OTHERS:
            make = _OTHERS[opcode]
            values, pos = get_fields(make.layout, buf, pos, end)
            operation = make(0, *values)
        else:
            raise RemoteProtocolError(f"opcode {opcode} cannot be part of a multi")
        operations.append(operation)


def _get_create(opcode: int, buf: bytes, pos: int, end: int) -> tuple[Create | CreateTtl, int]:
    """In a multi the mode goes before the opcode, and must be one (source: MultiOperationRecord, Op.Create)."""
    with_ttl = opcode == opcodes.CREATE_TTL
    values, pos = get_fields((CreateTtl if with_ttl else Create).layout, buf, pos, end)
    flags = values[3]
    if flags in (opcodes.PERSISTENT_WITH_TTL, opcodes.PERSISTENT_SEQUENTIAL_WITH_TTL):
        if not with_ttl:
            raise RemoteProtocolError(f"a create with flags {flags} has no time to live")
        return CreateTtl(0, *values), pos
    if not with_ttl and not 0 <= flags <= opcodes.CONTAINER:
        raise RemoteProtocolError(f"{flags} is no create mode")
    if flags == opcodes.CONTAINER:
        opcode = opcodes.CREATE_CONTAINER
    elif with_ttl:
        opcode = opcodes.CREATE
    return Create(0, opcode, *values[:4]), pos


def _get_read_operations(buf: bytes, pos: int, end: int) -> tuple[list[ReadOperation], int]:
    operations: list[ReadOperation] = []
    while True:
        opcode, done, pos = _get_header(buf, pos, end)
        if done:
            return operations, pos
        (path, _), pos = get_fields(GetData.layout, buf, pos, end)
        # A multiRead sets no watches, whatever its parts say (source: Op.GetData, Op.GetChildren).
        if opcode == opcodes.GET_DATA:
            operations.append(GetData(0, path, watch=False))
        elif opcode == opcodes.GET_CHILDREN:
            operations.append(GetChildren(0, path, watch=False))
        else:
            raise RemoteProtocolError(f"opcode {opcode} cannot be part of a multiRead")


def _put_operations(operations: list[WriteOperation] | list[ReadOperation]) -> bytes:
    parts = [pack_int(each.opcode) + FALSE + pack_int(-1) + put_fields(each) for each in operations]
    return b"".join([*parts, _END])


@dataclass(slots=True)
class Multi:
    xid: int
    operations: list[WriteOperation]
    opcode: ClassVar[int] = opcodes.MULTI
    layout: ClassVar[Layout] = (Field(_get_operations, _put_operations),)


@dataclass(slots=True)
class MultiRead:
    xid: int
    operations: list[ReadOperation]
    opcode: ClassVar[int] = opcodes.MULTI_READ
    layout: ClassVar[Layout] = (Field(_get_read_operations, _put_operations),)
