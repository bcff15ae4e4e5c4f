"""`coordination snapshot`: dump, verify, diff and convert, on snapshots made by our storage."""

import errno
import json
import os
import re
from pathlib import Path
from zlib import adler32

import pytest

from coordination.storage import SnapshotWriter
from coordination.storage.snapshot_format import OPEN_ACL_ID, encode_end, encode_head, encode_nodes
from coordination.tools import snapshots

from .conftest import Run, damage, write_log, write_snapshot


def test_a_snapshot_shown(run: Run, data: Path) -> None:
    write_snapshot(data, 7)
    out = run("snapshot", "dump", data).out
    assert "/a\n  cZxid = 0x1\n" in out
    assert "acl = digest:u:x:cdrwa" in out
    assert "0x1000, 4000, 0" in out
    assert out.endswith("Last zxid: 0x7\n")
    assert "  data = dg==" in run("snapshot", "dump", "-d", data).out
    root, a = (json.loads(line) for line in run("snapshot", "dump", "--json", "-d", data).out.splitlines())
    assert (root["path"], a["path"], a["data"], a["kind"]) == ("/", "/a", "v", "persistent")


def test_verifying_snapshots(run: Run, data: Path) -> None:
    write_snapshot(data, 7)
    assert run("snapshot", "verify", data).code == 0
    damage(write_snapshot(data, 9), 50)
    ran = run("snapshot", "verify", data)
    assert ran.code == 6
    assert "[FAIL]" in ran.out
    assert "[OK]" in ran.out
    assert json.loads(run("snapshot", "verify", "--json", data).out)["sound"] is False


def test_an_orphan_is_found_though_the_seal_holds(run: Run, data: Path) -> None:
    write_snapshot(data, 7, ("/b/c",))
    ran = run("snapshot", "verify", data)
    assert ran.code == 6
    assert "/b/c has no parent" in ran.out


def test_an_acl_that_only_the_log_holds_is_no_damage(run: Run, data: Path) -> None:
    """ZooKeeper writes the table first, then the znodes, and one may have come in between with an ACL of its own."""
    head, closed = encode_head({}, {1: ((1, "world", "anyone"),)})
    stat = (1, 1, 5, 5, 0, 0, 0, 0, 1)
    body = head + encode_nodes([("/", b"", OPEN_ACL_ID, stat), ("/a", b"v", 7, stat)], {7, OPEN_ACL_ID}, closed)
    (data / "version-2").mkdir()
    (data / "version-2" / "snapshot.7").write_bytes(body + encode_end(adler32(body)))
    ran = run("snapshot", "verify", data)
    assert (ran.code, ran.out.count("the ACLs of 1 znodes are in the log only")) == (0, 1)
    write_log(data, range(8, 10))
    assert "a server starts from snapshot 0x7" in run("doctor", data).out


def test_two_snapshots_compared(run: Run, data: Path) -> None:
    old = write_snapshot(data, 7, ("/gone",))
    version = data / "version-2"
    stat = (1, 9, 5, 6, 1, 0, 0, 0, 1)
    nodes = [("/", b"", -1, (1, 1, 5, 5, 0, 0, 0, 0, 1)), ("/a", b"new", -1, stat), ("/more", b"", -1, stat)]
    new = SnapshotWriter(version, 9, {}, {}, nodes).write_all()
    ran = run("snapshot", "diff", old, new)
    assert ran.code == 6
    assert re.search(
        r"(?m)^~ /a  dataLength 1 -> 3, acl digest:u:x:cdrwa -> world:anyone:cdrwa, mZxid 0x1 -> 0x9", ran.out
    )
    assert "\n+ /more" in ran.out
    assert "\n- /gone\n" in ran.out
    assert "3 znodes differ; 0 sessions more, 1 less" in ran.out
    kinds = [json.loads(line)["difference"] for line in run("snapshot", "diff", old, new, "--json").out.splitlines()]
    assert sorted(kinds) == ["added", "changed", "removed"]
    assert run("snapshot", "diff", old, old).code == 0


def test_packing_and_unpacking(run: Run, data: Path, tmp_path: Path) -> None:
    plain = write_snapshot(data, 7)
    packed, again = tmp_path / "snapshot.7.gz", tmp_path / "snapshot.7"
    assert run("snapshot", "convert", plain, packed).code == 0
    assert run("snapshot", "verify", packed).code == 0
    assert run("snapshot", "convert", packed, again).code == 0
    assert again.read_bytes() == plain.read_bytes()
    assert run("snapshot", "convert", packed, again).code == 6  # not written over
    ran = run("snapshot", "convert", plain, tmp_path / "snapshot.8")
    assert ran.code == 2
    assert "snapshot.7" in ran.err


def test_a_conversion_that_fails_leaves_nothing(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot, place = write_snapshot(data, 7), tmp_path / "packed"
    place.mkdir()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        snapshots.run(["convert", str(snapshot), str(place / "snapshot.7.gz")])
    assert list(place.iterdir()) == []
