"""Snapshot files: `version-2/snapshot.<zxid in hex>`, written in slices while the server serves, and read back whole or
not at all.

In:  a zxid and iterables of sessions, ACLs and znodes.  Out: a durable file; or the same values out of one that its
     seal vouches for.
Must not know the tree. Answers to FileSnap, SnapStream and AtomicFileOutputStream.

(1) A file has its final name only when it is whole and durable: it is written under a name no reader looks at, synced,
    renamed, and the directory is synced. A crash leaves the old snapshots and a temporary file, which the next start
    removes.
(2) A snapshot is fuzzy: named for the last zxid applied before it began, holding any part of what came later. Replaying
    every txn above its zxid over it gives the tree; so those txns must be in the log, which holds since only logged and
    synced txns are ever applied.
(3) Nothing is given out of a file before its checksum was verified over every byte.
(4) The digest in it is of the moment the last znode was drawn: replaying up to its zxid gives a tree of this digest.

Who owns the tree calls `take` (cheap, a bounded slice); any thread may call `write` and `finish` (slow: disk). So no
pause is longer than a slice.
"""

import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Self
from zlib import adler32

from coordination.storage import snappy
from coordination.storage.api import SnapshotDamagedError, StorageError
from coordination.storage.snapshot_format import (
    OPEN_ACL_ID,
    AclEntry,
    Buffer,
    SnapshotNode,
    ZxidDigest,
    decode_digest,
    decode_head,
    decode_nodes,
    encode_end,
    encode_head,
    encode_nodes,
    fault_of,
)

_NAME = re.compile(r"snapshot\.([0-9a-f]{1,16})(\.gz|\.snappy)?")
_TEMPORARY = re.compile(r"\.snapshot\.[0-9a-f]{1,16}\.tmp")
# Dirty pages are handed to the disk as we go: one sync of hundreds of MiB at the end would hold up the log's own syncs.
_SYNC_EVERY_BYTES = 8 << 20

COMPRESSIONS = ("", "gz")
"""What a snapshot can be written as; snappy is only read."""
_GZIP_WINDOW = 31  # zlib's largest, with gzip's header
_GZIP_LEVEL = 1  # three times as fast as the default for a tenth more

_datasync = getattr(os, "fdatasync", os.fsync)


class SnapshotWriter:
    """One snapshot on its way to disk: `take` and `write` until `take` gives None, then `finish`. Or `write_all`."""

    def __init__(
        self,
        directory: Path,
        zxid: int,
        sessions: Mapping[int, int],
        acls: Mapping[int, Sequence[AclEntry]],
        nodes: Iterable[SnapshotNode],
        digest: Callable[[], ZxidDigest | None] = lambda: None,
        compression: str = "",
    ) -> None:
        """`directory` is the version-2 one. `zxid`, `sessions` and `acls` are of this moment; `nodes` may be lazy and
        drawn over time, parents before children, each once. `digest` is asked for the tree's when the last was drawn.
        `compression`: "" or "gz". StorageError when the file cannot be created.
        """
        assert compression in COMPRESSIONS
        self.path = directory / (f"snapshot.{zxid:x}.{compression}" if compression else f"snapshot.{zxid:x}")
        self.zxid = zxid
        self._temporary = directory / f".snapshot.{zxid:x}.tmp"
        self._nodes = iter(nodes)
        self._digest = digest
        self._digest_at_end: ZxidDigest | None = None
        self._gzip = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW) if compression else None
        self._known_acls = {OPEN_ACL_ID, *acls}
        self._head: bytes | None
        self._head, self._closed_acl = encode_head(sessions, acls)
        self._checksum = 1
        self._unsynced_bytes = 0
        try:
            self._fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._failed(error) from error

    def take(self, nodes: int = 500) -> bytes | None:
        """The next slice, at most so many znodes; None when there are no more. Called where the tree is owned."""
        if self._head is not None:
            head, self._head = self._head, None
            return head
        chunk = encode_nodes(islice(self._nodes, nodes), self._known_acls, self._closed_acl)
        if not chunk:
            self._digest_at_end = self._digest()
        return chunk or None

    def write(self, chunk: bytes) -> None:
        """Put a slice into the file. StorageError (and the file is removed) when the disk refuses."""
        try:
            self._checksum = adler32(chunk, self._checksum)
            self._put(chunk if self._gzip is None else self._gzip.compress(chunk))
        except OSError as error:
            self.abort()
            raise self._failed(error) from error

    def finish(self) -> Path:
        """Seal, sync, give the file its name, sync the directory. The snapshot counts from here on."""
        self.write(encode_end(self._checksum, self._digest_at_end))
        try:
            if self._gzip is not None:
                self._put(self._gzip.flush())
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._temporary.replace(self.path)
            fd = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            self.abort()
            raise self._failed(error) from error
        return self.path

    def write_all(self) -> Path:
        """Everything at once, for whoever serves nobody meanwhile."""
        while (chunk := self.take(5000)) is not None:
            self.write(chunk)
        return self.finish()

    def abort(self) -> None:
        """Give up and leave nothing behind. Harmless after `finish`."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._temporary.unlink(missing_ok=True)

    def _put(self, stored: bytes) -> None:
        view = memoryview(stored)
        while view:
            view = view[os.write(self._fd, view) :]
        self._unsynced_bytes += len(stored)
        if self._unsynced_bytes >= _SYNC_EVERY_BYTES:
            _datasync(self._fd)
            self._unsynced_bytes = 0

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(
            f"cannot write the snapshot {self.path}: {error.strerror or error}. The log still holds everything; "
            "free or repair the disk, the next snapshot will be tried as usual."
        )


class Snapshot:
    """A verified snapshot file. Close it (or use `with`) when its znodes have been read."""

    def __init__(self, path: Path) -> None:
        """Open and verify: reads every byte once. SnapshotDamagedError when the file is torn, altered or no
        snapshot.
        """
        match = _NAME.fullmatch(path.name)
        assert match, path
        self.path = path
        self.zxid = int(match[1], 16)
        self._buffer = _contents(path, match[2])
        fault = fault_of(self._buffer)
        if fault is None:
            try:
                self.sessions, self.acls, self._nodes_at = decode_head(self._buffer)
                return
            except ValueError as error:
                fault = str(error)
        self.close()
        raise SnapshotDamagedError(f"the snapshot {path} cannot be used: {fault}.", path)

    sessions: dict[int, int]
    """Session id -> timeout, ms."""
    acls: dict[int, list[AclEntry]]
    """ACL id -> entries; OPEN_ACL_ID is not in it."""
    digest: ZxidDigest | None = None
    """Known when every znode has been read."""

    def nodes(self) -> Iterator[SnapshotNode]:
        """Every znode, parents before children. SnapshotDamagedError for a malformed one (then our bug or the writer's:
        the seal held).
        """
        try:
            seal_at = yield from decode_nodes(self._buffer, self._nodes_at)
            self.digest = decode_digest(self._buffer, seal_at)
        except ValueError as error:
            raise SnapshotDamagedError(f"the snapshot {self.path} cannot be used: {error}.", self.path) from error

    def close(self) -> None:
        if isinstance(self._buffer, mmap):
            self._buffer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def snapshot_files(directory: Path) -> list[tuple[int, Path]]:
    """(zxid in the name, path) of every snapshot, newest first; nothing is said about their contents."""
    named = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir())
    return sorted(((int(match[1], 16), path) for match, path in named if match), reverse=True)


def remove_temporaries(directory: Path) -> list[Path]:
    """Remove what an interrupted snapshot left."""
    left = [path for path in directory.iterdir() if _TEMPORARY.fullmatch(path.name)]
    for path in left:
        path.unlink()
    return left


def _contents(path: Path, suffix: str | None) -> Buffer:
    try:
        if suffix == ".gz":
            return gzip.decompress(path.read_bytes())
        if suffix == ".snappy":
            return snappy.decompress_stream(path.read_bytes())
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return b""
            return mmap(file.fileno(), 0, access=ACCESS_READ)
    except (gzip.BadGzipFile, EOFError, zlib.error, snappy.SnappyError) as error:
        raise SnapshotDamagedError(f"the snapshot {path} cannot be unpacked: {error}.", path) from error
    except OSError as error:
        raise StorageError(
            f"cannot read the snapshot {path}: {error.strerror}. Check the owner and mode of the file."
        ) from error
