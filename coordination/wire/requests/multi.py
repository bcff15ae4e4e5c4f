"""Requests of several parts: multi (all of its writes or none) and multiRead (each of its reads for itself).

    (opcode, done = false, -1) part ... (-1, done = true, -1)

In: the bytes of a whole request.  Out: its parts as records with xid 0, and back.  Source: MultiOperationRecord, Op.

(1) A part that is none, or a create with a mode that is none, makes the whole request unreadable.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

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


def _operations_of(get_part: Callable[[int, bytes, int, int], tuple[Any, int]]) -> Field:
    """The parts of a request as one field; `get_part(opcode, buf, pos, end)` reads one, or refuses its opcode."""

    def get(buf: bytes, pos: int, end: int) -> tuple[list[Any], int]:
        operations: list[Any] = []
        while True:
            opcode, pos = get_int(buf, pos, end)
            done, pos = get_bool(buf, pos, end)
            _, pos = get_int(buf, pos, end)
            if done:
                return operations, pos
            operation, pos = get_part(opcode, buf, pos, end)
            operations.append(operation)

    return Field(get, _put_operations)


def _put_operations(operations: list[WriteOperation] | list[ReadOperation]) -> bytes:
    parts = [pack_int(each.opcode) + FALSE + pack_int(-1) + put_fields(each) for each in operations]
    return b"".join([*parts, _END])


def _get_write(opcode: int, buf: bytes, pos: int, end: int) -> tuple[WriteOperation, int]:
    if opcode in _CREATES:
        return _get_create(opcode, buf, pos, end)
    make = _OTHERS.get(opcode)
    if make is None:
        raise RemoteProtocolError(f"opcode {opcode} cannot be part of a multi")
    values, pos = get_fields(make.layout, buf, pos, end)
    return make(0, *values), pos


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


def _get_read(opcode: int, buf: bytes, pos: int, end: int) -> tuple[ReadOperation, int]:
    (path, _), pos = get_fields(GetData.layout, buf, pos, end)
    # A multiRead sets no watches, whatever its parts say (source: Op.GetData, Op.GetChildren).
    if opcode == opcodes.GET_DATA:
        return GetData(0, path, watch=False), pos
    if opcode == opcodes.GET_CHILDREN:
        return GetChildren(0, path, watch=False), pos
    raise RemoteProtocolError(f"opcode {opcode} cannot be part of a multiRead")


@dataclass(slots=True)
class Multi:
    xid: int
    operations: list[WriteOperation]
    opcode: ClassVar[int] = opcodes.MULTI
    layout: ClassVar[Layout] = (_operations_of(_get_write),)


@dataclass(slots=True)
class MultiRead:
    xid: int
    operations: list[ReadOperation]
    opcode: ClassVar[int] = opcodes.MULTI_READ
    layout: ClassVar[Layout] = (_operations_of(_get_read),)
