"""What a record's fields are on the wire; a record's bytes and its decoder follow from that.

In: a record, or the bytes of one.  Out: the other.  Knows no record by name.

A record is a dataclass: `xid`, for some `opcode`, then its fields; `layout` has one `Field` for each of them, in order.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, Protocol, TypeVar

from coordination.errors import RemoteProtocolError
from coordination.wire.jute import (
    get_bool,
    get_buffer,
    get_int,
    get_long,
    get_nullable_string,
    get_string,
    get_strings,
    pack_int,
    pack_long,
    put_bool,
    put_buffer,
    put_nullable_string,
    put_string,
    put_strings,
    unpack_int,
)
from coordination.wire.records import get_acls, put_acls


class Field(NamedTuple):
    """One kind of field: `get(buf, pos, end)` gives its value and the position behind it, `put(value)` its bytes."""

    get: Callable[[bytes, int, int], tuple[Any, int]]
    put: Callable[[Any], bytes]


Layout = tuple[Field, ...]


class Record(Protocol):
    @property
    def layout(self) -> Layout: ...


def _get_string_or_empty(buf: bytes, pos: int, end: int) -> tuple[str, int]:
    value, pos = get_nullable_string(buf, pos, end)
    return value or "", pos


def _get_present_buffer(buf: bytes, pos: int, end: int) -> tuple[bytes, int]:
    value, pos = get_buffer(buf, pos, end)
    if value is None:
        raise RemoteProtocolError("a buffer that must be there is null")
    return value, pos


def _get_present_strings(buf: bytes, pos: int, end: int) -> tuple[list[str], int]:
    if pos + 4 <= end and unpack_int(buf, pos)[0] == -1:
        raise RemoteProtocolError("a list that must be there is null")
    return get_strings(buf, pos, end)


BOOL = Field(get_bool, put_bool)
INT = Field(get_int, pack_int)
LONG = Field(get_long, pack_long)
STRING = Field(get_string, put_string)
NULLABLE_STRING = Field(get_nullable_string, put_nullable_string)
STRING_OR_EMPTY = Field(_get_string_or_empty, put_string)  # null is read as an empty one
BUFFER = Field(get_buffer, put_buffer)  # or null
PRESENT_BUFFER = Field(_get_present_buffer, put_buffer)
STRINGS = Field(_get_present_strings, put_strings)
ACLS = Field(get_acls, put_acls)


@cache
def _names(record: type) -> tuple[str, ...]:
    slots: tuple[str, ...] = record.__slots__  # type: ignore[attr-defined]
    return tuple(name for name in slots if name not in ("xid", "opcode"))


def put_fields(record: Record) -> bytes:
    """The body: what stands behind xid and opcode."""
    names = _names(type(record))
    return b"".join([field.put(getattr(record, name)) for name, field in zip(names, record.layout, strict=False)])


def get_fields(layout: Layout, buf: bytes, pos: int, end: int) -> tuple[list[Any], int]:
    values: list[Any] = []
    for field in layout:
        value, pos = field.get(buf, pos, end)
        values.append(value)
    return values, pos


R = TypeVar("R")


def decoder_of(
    record: Callable[..., R], *, opcode: int | None = None, layout: Layout | None = None
) -> Callable[[int, bytes, int, int], R]:
    """(xid, buf, pos, end) -> a record.  `opcode` and `layout`: of a record that serves several opcodes."""
    fields: Layout = record.layout if layout is None else layout  # type: ignore[attr-defined]
    getters = tuple(field.get for field in fields)

    def decode(xid: int, buf: bytes, pos: int, end: int) -> R:
        values: list[Any] = [xid] if opcode is None else [xid, opcode]
        for get in getters:
            value, pos = get(buf, pos, end)
            values.append(value)
        return record(*values)

    return decode
