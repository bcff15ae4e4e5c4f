"""Reads Snappy-compressed snapshots (`snapshot.compression.method=snappy`), without a dependency.

In:  the bytes of a file that snappy-java's SnappyOutputStream wrote.  Out: what went into it.
Only reading: we write plain snapshots or gzip. Slow (pure Python), for carrying a data directory over once. Answers to
SnapStream's SnappyInputStream; formats: Snappy's format_description.txt (blocks) and snappy-java's stream header
(magic, two versions, then length-prefixed blocks).
"""

from struct import Struct

MAGIC = b"\x82SNAPPY\0"
_HEADER_BYTES = 16
_LENGTH = Struct(">i")


class SnappyError(ValueError):
    """The bytes are not what this format allows."""


def decompress_stream(data: bytes) -> bytes:
    """Undo SnappyOutputStream. SnappyError when it is malformed or cut off."""
    if data[:8] != MAGIC or len(data) < _HEADER_BYTES:
        raise SnappyError("it does not begin with snappy-java's magic")
    out: list[bytes] = []
    offset = _HEADER_BYTES
    while offset < len(data):
        if data[offset : offset + 8] == MAGIC:  # streams may be joined
            offset += _HEADER_BYTES
            continue
        if offset + 4 > len(data):
            raise SnappyError("a block length is cut off")
        (length,) = _LENGTH.unpack_from(data, offset)
        offset += 4
        if length < 0 or offset + length > len(data):
            raise SnappyError(f"a block of {length} bytes is cut off")
        out.append(decompress_block(data[offset : offset + length]))
        offset += length
    return b"".join(out)


def decompress_block(block: bytes) -> bytes:
    """Undo one raw Snappy block."""
    try:
        size, at = _varint(block)
        out = bytearray()
        while at < len(block):
            tag = block[at]
            at += 1
            kind = tag & 3
            if kind == 0:
                length = tag >> 2
                if length >= 60:
                    extra = length - 59
                    length = int.from_bytes(block[at : at + extra], "little")
                    at += extra
                length += 1
                if at + length > len(block):
                    raise SnappyError("a literal is cut off")
                out += block[at : at + length]
                at += length
                continue
            if kind == 1:
                length, distance = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | block[at]
                at += 1
            else:
                width = 2 if kind == 2 else 4
                length, distance = (tag >> 2) + 1, int.from_bytes(block[at : at + width], "little")
                at += width
            if not 0 < distance <= len(out):
                raise SnappyError("a copy reaches before the beginning")
            start = len(out) - distance
            if distance >= length:
                out += out[start : start + length]
            else:  # the copy overlaps what it writes: a repeated pattern
                pattern = out[start:]
                out += (pattern * (length // distance + 1))[:length]
    except IndexError as error:
        raise SnappyError("a block is cut off") from error
    if len(out) != size:
        raise SnappyError(f"a block gave {len(out)} bytes instead of {size}")
    return bytes(out)


def _varint(data: bytes) -> tuple[int, int]:
    value = shift = at = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 35:
            raise SnappyError("a length does not end")
