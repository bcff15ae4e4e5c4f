"""The bytes of one log file: where its records are, where they end, and whether the end is clean.

In:  a buffer over a whole file (bytes or mmap).  Out: records; the place and kind of the end; what lies behind a bad
     record.
Knows nothing of files, directories or repair: `txn_log` decides what an end means. Answers to FileTxnLog's file format
and its FileTxnIterator.

    file   = header record* (zeros | end of file)
    header = "ZKLG" version:int(2) dbid:long(0)
    record = adler32(payload):long length:int payload "B"

A TxnDigest, which Apache ZooKeeper puts behind the txn's record, is inside the payload and covered by its checksum; it
is kept and handed on as it stands (readers of txns ignore it; we write none, and ZooKeeper takes a log without).

zxids rise from record to record, with one exception (`may_follow`): ZooKeeper 3.9 logs a request that it could not
decode as an error txn with the zxid of the txn before it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from struct import Struct
from zlib import adler32

Buffer = bytes | mmap

HEADER = Struct(">4siq")
HEADER_BYTES = HEADER.pack(b"ZKLG", 2, 0)
RECORD_HEAD = Struct(">QI")
END_OF_RECORD = 0x42
# clientId:long cxid:int zxid:long time:long type:int: no payload is shorter than its TxnHeader.
TXN_HEADER_BYTES = 32
ZXID = Struct(">12xq")
_TYPE = slice(28, 32)
_ERROR_TYPE = b"\xff\xff\xff\xff"

_SECTOR_BYTES = 512
_RECORD_OVERHEAD = RECORD_HEAD.size + 1
# The checksum's upper half is always zero, and its lower half never (Adler-32 starts at 1): a record can begin only
# just before the end of a run of zeros.
_ZERO_RUN = re.compile(rb"\0{4,}(?=[^\0])")


@dataclass(frozen=True, slots=True)
class End:
    """Where the records of a file stop."""

    offset: int
    last_zxid: int
    fault: str | None
    """None: zeros or the end of the file follow. Otherwise why the next bytes are no record."""


def records(buffer: Buffer, start: int, size: int, end: list[End]) -> Iterator[tuple[int, bytes, int]]:
    """(zxid, payload, offset just behind it) of each good record from `start`; afterwards `end` holds one End.

    (A list to be filled, since this is the hot loop of recovery and a generator's return value is awkward to reach from
    `for`.)
    """
    offset, zxid = start, 0
    fault: str | None = None
    head, at, zxid_of = RECORD_HEAD, RECORD_HEAD.size, ZXID.unpack_from
    while True:
        if size - offset < at:
            if any(buffer[offset:size]):
                fault = "a record head is cut off"
            break
        checksum, length = head.unpack_from(buffer, offset)
        if length == 0:
            if checksum:
                fault = "a record has a checksum and no length"
            break
        stop = offset + at + length
        if length < TXN_HEADER_BYTES:
            fault = f"a record is {length} bytes long, shorter than a txn header"
            break
        if stop >= size:
            fault = f"a record of {length} bytes is cut off by the end of the file"
            break
        payload = buffer[offset + at : stop]
        if adler32(payload) != checksum:
            fault = f"a record of {length} bytes does not match its checksum"
            break
        if buffer[stop] != END_OF_RECORD:
            fault = f"a record of {length} bytes lacks its end byte"
            break
        following = zxid_of(payload)[0]
        if following <= zxid and not may_follow(zxid, following, payload):
            fault = f"zxid 0x{following:x} follows 0x{zxid:x}"
            break
        zxid, offset = following, stop + 1
        yield zxid, payload, offset
    end.append(End(offset, zxid, fault))


def may_follow(zxid: int, following: int, payload: bytes) -> bool:
    """Whether the record `payload`, of zxid `following`, may stand behind one of `zxid`: above it, or an error txn that
    repeats it and changes nothing (source: PrepRequestProcessor.pRequestHelper, where the request had no header yet).
    """
    return following > zxid or (following == zxid and payload[_TYPE] == _ERROR_TYPE)


def was_whole(buffer: Buffer, start: int, stop: int) -> bool:
    """Whether a bad record at `start`, behind which from `stop` on only zeros follow, was written to its end: then no
    crash tore it, something changed it since.

    A crash leaves zeros for what it kept from the disk: all that follows some byte (a process was killed), or whole
    sectors (power was lost).  A record that has neither, or is good but for its length or its end byte, was whole.
    """
    if stop - start < _RECORD_OVERHEAD + TXN_HEADER_BYTES:
        return False
    checksum, length = RECORD_HEAD.unpack_from(buffer, start)
    payload = start + RECORD_HEAD.size
    if adler32(buffer[payload : stop - 1]) == checksum:
        return True
    if payload + length + 1 != stop or buffer[stop - 1] != END_OF_RECORD:
        return False
    sectors = range(start - start % _SECTOR_BYTES, stop, _SECTOR_BYTES)
    return all(any(buffer[max(at, start) : min(at + _SECTOR_BYTES, stop)]) for at in sectors)


def find_record(buffer: Buffer, start: int, stop: int, above_zxid: int) -> tuple[int, int] | None:
    """(offset, zxid) of the first good record behind `start` with a zxid above the given one, or at `start` with any;
    or None.

    Tells a torn tail (nothing good behind it) from damage in the middle. It looks at every byte, also inside a bad
    record, whose length may be what is damaged: a client's value that holds a whole log record can therefore make a
    torn tail look like damage. The safe mistake of the two.
    """
    for run in _ZERO_RUN.finditer(buffer, start, stop):
        for offset in range(max(run.start(), run.end() - 7), run.end() - 3):
            if stop - offset < _RECORD_OVERHEAD + TXN_HEADER_BYTES:
                return None
            checksum, length = RECORD_HEAD.unpack_from(buffer, offset)
            begin = offset + RECORD_HEAD.size
            if length < TXN_HEADER_BYTES or begin + length >= stop or buffer[begin + length] != END_OF_RECORD:
                continue
            (zxid,) = ZXID.unpack_from(buffer, begin)
            if (zxid > above_zxid or offset == start) and adler32(buffer[begin : begin + length]) == checksum:
                return offset, zxid
    return None
