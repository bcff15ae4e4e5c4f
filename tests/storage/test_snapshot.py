"""Snapshots: exact bytes, written in slices, trusted only whole."""

import errno
import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import adler32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.storage import Snapshot, SnapshotDamagedError, SnapshotWriter, StorageError, snappy, snapshot
from coordination.storage.snapshot import remove_temporaries, snapshot_files
from coordination.storage.snapshot_format import OPEN_ACL_ID, PersistedStat, SnapshotNode

STAT: PersistedStat = (1, 2, 3, 4, 5, 6, 7, 8, 9)
NODES: list[SnapshotNode] = [
    ("/", b"", OPEN_ACL_ID, (0,) * 9),
    ("/a", b"data", OPEN_ACL_ID, STAT),
    ("/a/ü", None, 1, (1 << 62, -1, 0, 0, -1, 0, 0, -(1 << 63), 0)),
    ("/b", bytes(1000), 1, STAT),
]
ACLS = {1: [(31, "digest", "bob:hash"), (1, "world", "anyone")]}
SESSIONS = {0x1000_0000_0000_0001: 10_000, -5: 400}


def written(directory: Path, zxid: int = 5) -> Path:
    return SnapshotWriter(directory, zxid, SESSIONS, ACLS, NODES).write_all()


def test_written_and_read_back(tmp_path: Path) -> None:
    path = written(tmp_path, 0x5F)
    assert path.name == "snapshot.5f"
    with Snapshot(path) as found:
        assert (found.zxid, found.sessions, list(found.nodes())) == (0x5F, SESSIONS, NODES)
        assert found.acls[1] == ACLS[1]
        assert list(found.nodes()) == NODES, "a second time"


def test_bytes_on_disk_are_zookeepers(tmp_path: Path) -> None:
    """FileSnap.serialize: header, sessions, ACL cache, nodes until "/", then the Adler-32 and "/"."""
    path = SnapshotWriter(tmp_path, 0, {7: 9}, {}, [("/", b"x", OPEN_ACL_ID, STAT)]).write_all()
    body = b"ZKSN" + (2).to_bytes(4, "big") + b"\xff" * 8
    body += (1).to_bytes(4, "big") + (7).to_bytes(8, "big") + (9).to_bytes(4, "big")
    closed = (1).to_bytes(8, "big") + (1).to_bytes(4, "big") + bytes(4) + b"\0\0\0\5world\0\0\0\6anyone"
    body += (1).to_bytes(4, "big") + closed
    body += b"\0\0\0\0" + b"\0\0\0\1x" + b"\xff" * 8
    body += b"".join(
        field.to_bytes(width, "big") for field, width in zip(STAT, (8, 8, 8, 8, 4, 4, 4, 8, 8), strict=True)
    )
    body += b"\0\0\0\1/"
    assert path.read_bytes() == body + adler32(body).to_bytes(8, "big") + b"\0\0\0\1/"


def test_an_acl_newer_than_the_table_is_closed_until_its_txn_is_replayed(tmp_path: Path) -> None:
    acls = {1: [(31, "world", "anyone")], 4: [(1, "ip", "::1")]}
    nodes: list[SnapshotNode] = [("/", b"", 9, STAT), ("/known", b"", 4, STAT)]
    with Snapshot(SnapshotWriter(tmp_path, 1, {}, acls, nodes).write_all()) as found:
        root, known = found.nodes()
        assert found.acls[root[2]] == [(0, "world", "anyone")]
        assert known[2] == 4


def test_slices_are_bounded_and_the_iterator_is_drawn_only_when_asked(tmp_path: Path) -> None:
    drawn: list[str] = []

    def nodes() -> Any:
        for i in range(1000):
            drawn.append(str(i))
            yield ("/" if i == 0 else f"/n{i}", b"", OPEN_ACL_ID, STAT)

    writer = SnapshotWriter(tmp_path, 1, {}, {}, nodes())
    assert drawn == []
    head = writer.take(100)
    assert head is not None
    writer.write(head)
    for i in range(1, 11):
        chunk = writer.take(100)
        assert chunk is not None
        assert len(drawn) == i * 100
        writer.write(chunk)
    assert writer.take(100) is None
    assert snapshot_files(tmp_path) == [], "nothing has the name before it is whole"
    writer.finish()
    assert [zxid for zxid, _ in snapshot_files(tmp_path)] == [1]


@pytest.mark.parametrize("cut", range(1, 400, 7))
def test_a_torn_snapshot_is_refused(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(SnapshotDamagedError, match="cannot be used"):
        Snapshot(path)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = SnapshotWriter(tmp_path, 5, SESSIONS, ACLS, NODES[:3]).write_all()
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in (0, 3, 7):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
            with pytest.raises(SnapshotDamagedError):
                Snapshot(path)


def test_what_zookeeper_appends_is_covered_by_the_last_seal(tmp_path: Path) -> None:
    """3.9 adds a tree digest and the last processed zxid, each sealed; we check them and need neither."""
    path = written(tmp_path)
    data = path.read_bytes()
    for extra in ((5).to_bytes(8, "big") + (2).to_bytes(4, "big") + (99).to_bytes(8, "big"), (5).to_bytes(8, "big")):
        data += extra
        data += adler32(data).to_bytes(8, "big") + b"\0\0\0\1/"
    path.write_bytes(data)
    with Snapshot(path) as found:
        assert list(found.nodes()) == NODES
    path.write_bytes(data[:-14] + bytes([data[-14] ^ 1]) + data[-13:])
    with pytest.raises(SnapshotDamagedError, match="checksum"):
        Snapshot(path)


def test_gzip(tmp_path: Path) -> None:
    plain = written(tmp_path)
    packed = tmp_path / "snapshot.6.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    with Snapshot(packed) as found:
        assert (found.zxid, list(found.nodes())) == (6, NODES)
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(SnapshotDamagedError, match="unpacked"):
        Snapshot(packed)


def snappy_stream(*blocks: bytes) -> bytes:
    return (
        snappy.MAGIC + (1).to_bytes(4, "big") * 2 + b"".join(len(block).to_bytes(4, "big") + block for block in blocks)
    )


def test_snappy(tmp_path: Path) -> None:
    plain = written(tmp_path).read_bytes()
    size = len(plain)
    literal = bytes([size & 0x7F | 0x80, size >> 7]) + bytes([61 << 2]) + (size - 1).to_bytes(2, "little") + plain
    packed = tmp_path / "snapshot.6.snappy"
    packed.write_bytes(snappy_stream(literal))
    with Snapshot(packed) as found:
        assert list(found.nodes()) == NODES
    packed.write_bytes(packed.read_bytes()[:-1])
    with pytest.raises(SnapshotDamagedError, match="cut off"):
        Snapshot(packed)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"\x00", b""),
        (b"\x03\x08abc", b"abc"),
        (b"\x0a\x04ab\x01\x02\x0c" + b"wxyz", None),  # 2 + 4 + 4 = 10 bytes: literal, copy, literal
        (b"\x06\x00a\x05\x01", b"aaaaaa"),  # an overlapping copy of length 5, distance 1
        (b"\x08\x0cabcd\x0e\x04\x00", b"abcdabcd"),  # a copy with a two-byte distance
        (b"\x08\x0cabcd\x0f\x04\x00\x00\x00", b"abcdabcd"),  # and with four
    ],
)
def test_snappy_blocks(block: bytes, expected: bytes | None) -> None:
    assert snappy.decompress_block(block) == (b"ababab" + b"wxyz" if expected is None else expected)


@pytest.mark.parametrize(
    "block", [b"", b"\x05\x00a", b"\x04\x00a\x05\x02", b"\xff\xff\xff\xff\xff\xff\x01", b"\x03\x08ab"]
)
def test_malformed_snappy(block: bytes) -> None:
    with pytest.raises(snappy.SnappyError):
        snappy.decompress_block(block)


@given(
    nodes=st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1).map("/".__add__),
            st.none() | st.binary(max_size=300),
            st.sampled_from([OPEN_ACL_ID, 1]),
            st.tuples(*([st.integers(-(1 << 31), (1 << 31) - 1)] * 9)),
        ),
        max_size=20,
    ),
    sessions=st.dictionaries(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, 1 << 30), max_size=5),
    slice_nodes=st.integers(1, 7),
)
@settings(max_examples=60, deadline=None)
def test_any_nodes_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    nodes: list[SnapshotNode],
    sessions: dict[int, int],
    slice_nodes: int,
) -> None:
    writer = SnapshotWriter(tmp_path_factory.mktemp("snap"), 1, sessions, ACLS, nodes)
    while (chunk := writer.take(slice_nodes)) is not None:
        writer.write(chunk)
    with Snapshot(writer.finish()) as found:
        assert (found.sessions, list(found.nodes())) == (sessions, nodes)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SnapshotWriter(tmp_path, 5, SESSIONS, ACLS, NODES)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match=r"No space left.*log still holds everything"):
        writer.write_all()
    assert list(tmp_path.iterdir()) == []


def test_dirty_pages_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_SYNC_EVERY_BYTES", 1000)
    synced: list[int] = []
    monkeypatch.setattr(snapshot, "_datasync", synced.append)
    writer = SnapshotWriter(tmp_path, 5, {}, {}, [("/", bytes(400), OPEN_ACL_ID, STAT)] * 10)
    while (chunk := writer.take(1)) is not None:
        writer.write(chunk)
    assert len(synced) == 3
    writer.abort()


def test_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    writer = SnapshotWriter(tmp_path, 5, {}, {}, NODES)
    writer.write(writer.take() or b"")
    os.close(writer._fd)  # the process is gone
    assert [path.name for path in remove_temporaries(tmp_path)] == [".snapshot.5.tmp"]
    assert list(tmp_path.iterdir()) == []


# --- the digest behind the seal, compression

DIGEST = (0x60, (1 << 64) - 2, 2)


@pytest.mark.parametrize("compression", ["", "gz"])
def test_the_digest_is_that_of_the_moment_the_last_znode_was_drawn(tmp_path: Path, compression: str) -> None:
    drawn: list[str] = []

    def nodes() -> Iterator[SnapshotNode]:
        for node in NODES:
            drawn.append(node[0])
            yield node

    def digest() -> tuple[int, int, int]:
        assert drawn == [node[0] for node in NODES]
        return DIGEST

    writer = SnapshotWriter(tmp_path, 0x5F, SESSIONS, ACLS, nodes(), digest, compression)
    path = writer.write_all()
    assert path.name == "snapshot.5f" + (".gz" if compression else "")
    with Snapshot(path) as found:
        assert found.digest is None, "not known before the znodes are read"
        assert (found.sessions, list(found.nodes())) == (SESSIONS, NODES)
        assert found.digest == DIGEST


def test_the_bytes_behind_the_first_seal_are_zookeepers(tmp_path: Path) -> None:
    """DataTree.serializeZxidDigest and serializeLastProcessedZxid, each sealed over everything before it."""
    plain = SnapshotWriter(tmp_path, 5, SESSIONS, ACLS, NODES).write_all().read_bytes()
    body = SnapshotWriter(tmp_path, 6, SESSIONS, ACLS, NODES, lambda: DIGEST).write_all().read_bytes()
    assert body.startswith(plain)
    for part in (b"\0" * 7 + b"\x60" + b"\0\0\0\2" + b"\xff" * 7 + b"\xfe", b"\0" * 7 + b"\x60"):
        plain += part
        plain += adler32(plain).to_bytes(8, "big") + b"\0\0\0\1/"
    assert body == plain


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (b"", None),
        ((9).to_bytes(8, "big"), None),
        ((9).to_bytes(8, "big") + (2).to_bytes(4, "big") + (7).to_bytes(8, "big"), (9, 7, 2)),
        ((9).to_bytes(8, "big") + (1).to_bytes(4, "big") + b"\0\0\0\4beef", None),
    ],
    ids=["nothing", "last zxid only", "digest only", "a digest as text"],
)
def test_what_else_may_follow_the_seal(tmp_path: Path, tail: bytes, expected: tuple[int, int, int] | None) -> None:
    path = written(tmp_path)
    content = path.read_bytes() + tail
    path.write_bytes(content + adler32(content).to_bytes(8, "big") + b"\0\0\0\1/")
    with Snapshot(path) as found:
        assert list(found.nodes()) == NODES
        assert found.digest == expected


def test_a_cut_gzip_snapshot_is_refused(tmp_path: Path) -> None:
    path = SnapshotWriter(tmp_path, 5, SESSIONS, ACLS, NODES, compression="gz").write_all()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SnapshotDamagedError, match="cannot be unpacked"):
        Snapshot(path)
