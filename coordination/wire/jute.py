"""Jute, ZooKeeper's serialisation: big-endian numbers, counted buffers, strings and vectors.

In: a bytes object, a position and the end of the record (a record may sit in the middle of a larger buffer, so nothing
is copied to read it).
Out: the value and the position after it.  Writers return bytes.
Knows no record.  Answers to ZooKeeper's BinaryInputArchive and BinaryOutputArchive.

(1) A length is compared with what is left of the record *before* anything is allocated for it.
(2) A count of a vector is compared with the bytes left: every item takes at least four, so a lying count is refused at
    once.
(3) Reading past the end raises `RemoteProtocolError`, whatever the cut position.
"""

from collections.abc import Callable, Sequence
from struct import Struct
from typing import TypeVar

from coordination.errors import RemoteProtocolError

T = TypeVar("T")

INT = Struct(">i")
LONG = Struct(">q")
INT_INT = Struct(">ii")

unpack_int = INT.unpack_from
unpack_long = LONG.unpack_from
pack_int = INT.pack
pack_long = LONG.pack

NULL = pack_int(-1)
TRUE = b"\x01"
FALSE = b"\x00"


def truncated(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"the record ends inside {what}")


def get_int(buf: bytes, pos: int, end: int) -> tuple[int, int]:
    after = pos + 4
    if after > end:
        raise truncated("an int")
    value: int = unpack_int(buf, pos)[0]
    return value, after


def get_long(buf: bytes, pos: int, end: int) -> tuple[int, int]:
    after = pos + 8
    if after > end:
        raise truncated("a long")
    value: int = unpack_long(buf, pos)[0]
    return value, after


def get_bool(buf: bytes, pos: int, end: int) -> tuple[bool, int]:
    if pos >= end:
        raise truncated("a boolean")
    return buf[pos] != 0, pos + 1


def get_buffer(buf: bytes, pos: int, end: int) -> tuple[bytes | None, int]:
    """A counted buffer; length -1 is Java's null."""
    start = pos + 4
    if start > end:
        raise truncated("the length of a buffer")
    length: int = unpack_int(buf, pos)[0]
    if length == -1:
        return None, start
    after = start + length
    if length < 0 or after > end:
        raise RemoteProtocolError(f"a buffer says it has {length} bytes, {end - start} are left in its record")
    return buf[start:after], after


def get_nullable_string(buf: bytes, pos: int, end: int) -> tuple[str | None, int]:
    raw, after = get_buffer(buf, pos, end)
    if raw is None:
        return None, after
    try:
        return raw.decode(), after
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(f"a string is not UTF-8: {error.reason} at byte {error.start}") from None


def get_string(buf: bytes, pos: int, end: int) -> tuple[str, int]:
    """A string that may not be null."""
    value, after = get_nullable_string(buf, pos, end)
    if value is None:
        raise RemoteProtocolError("a string that must be there is null")
    return value, after


def get_string_and_buffer(buf: bytes, pos: int, end: int) -> tuple[str, bytes | None, int]:
    """A path and its data, with which most records begin.  Written out flat: a server reads one for each request, and a
    log has millions of them; whatever is odd goes the slow way.
    """
    text_at = pos + 4
    if text_at <= end:
        text_end = text_at + unpack_int(buf, pos)[0]
        data_at = text_end + 4
        if text_at <= text_end and data_at <= end:
            data_end = data_at + unpack_int(buf, text_end)[0]
            if data_at <= data_end <= end:
                try:
                    return buf[text_at:text_end].decode(), buf[data_at:data_end], data_end
                except UnicodeDecodeError:
                    pass
    text, pos = get_string(buf, pos, end)
    data, pos = get_buffer(buf, pos, end)
    return text, data, pos


def get_count(buf: bytes, pos: int, end: int) -> tuple[int, int]:
    """The count of a vector; -1 (null) counts as empty, as every reader of ZooKeeper treats it."""
    count, after = get_int(buf, pos, end)
    if count == -1:
        return 0, after
    if count < 0 or count * 4 > end - after:
        raise RemoteProtocolError(f"a vector says it has {count} items, {end - after} bytes are left in its record")
    return count, after


def get_vector(buf: bytes, pos: int, end: int, item: Callable[[bytes, int, int], tuple[T, int]]) -> tuple[list[T], int]:
    count, pos = get_count(buf, pos, end)
    values = []
    for _ in range(count):
        value, pos = item(buf, pos, end)
        values.append(value)
    return values, pos


def get_strings(buf: bytes, pos: int, end: int) -> tuple[list[str], int]:
    return get_vector(buf, pos, end, get_string)


def put_bool(value: bool) -> bytes:
    return TRUE if value else FALSE


def put_buffer(value: bytes | None) -> bytes:
    return NULL if value is None else pack_int(len(value)) + value


def put_string(value: str) -> bytes:
    raw = value.encode()
    return pack_int(len(raw)) + raw


def put_nullable_string(value: str | None) -> bytes:
    return NULL if value is None else put_string(value)


def put_vector(items: Sequence[T], item: Callable[[T], bytes]) -> bytes:
    return pack_int(len(items)) + b"".join([item(each) for each in items])


def put_strings(items: Sequence[str]) -> bytes:
    return put_vector(items, put_string)
