"""`coordination log truncate`: what it cuts, what it takes along, what it keeps a copy of, and when it refuses."""

import json
import os
from pathlib import Path

import pytest

from coordination.storage import LogDamagedError, SnapshotWriter, TxnLog, TxnSnapLog
from coordination.storage.directory_lock import DirectoryLock

from .conftest import PREALLOC_BYTES, Run, damage, payload, write_log, write_snapshot


def test_truncating_forgets_what_is_behind_and_keeps_a_copy(run: Run, data: Path) -> None:
    version = write_log(data, range(1, 10), range(10, 20), range(20, 30))
    before = {path.name: path.read_bytes() for path in version.iterdir()}
    assert run("log", "truncate", "--after", "0xc", "--dry-run", data).code == 0
    assert {path.name: path.read_bytes() for path in version.iterdir()} == before
    refused = run("log", "truncate", "--after", "0xc", data)
    assert refused.code == 4
    ran = run("log", "truncate", "--after", "0xc", "-y", data)
    assert ran.code == 0, ran
    log = TxnLog.open(data, prealloc_bytes=PREALLOC_BYTES)
    assert [zxid for zxid, _ in log.read()] == list(range(1, 13))
    log.append([payload(13)])
    log.close()
    kept = data / "truncated-after-c"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        name: content for name, content in before.items() if name != "log.1"
    }
    assert run("log", "verify", data).code == 0


@pytest.mark.parametrize("after", range(10))
def test_truncating_at_every_zxid(run: Run, data: Path, after: int) -> None:
    write_log(data, range(1, 4), range(4, 7), range(7, 10))
    assert run("log", "truncate", "--after", after, "-y", data).code == 0
    log = TxnLog.open(data, prealloc_bytes=PREALLOC_BYTES)
    assert [zxid for zxid, _ in log.read()] == list(range(1, after + 1))
    log.close()


# --- as the server's refusal advises


def test_damage_can_be_cut_off_as_the_server_advises(run: Run, data: Path) -> None:
    version = write_log(data, range(1, 10), range(10, 20))
    damage(version / "log.a", 16 + 13 + 30)
    with pytest.raises(LogDamagedError, match="coordination log truncate --after 0x9 "):
        TxnLog.open(data, prealloc_bytes=PREALLOC_BYTES)
    assert "coordination log truncate --after 0x9 " in run("doctor", data).out
    assert f"coordination log truncate --after 0x9 --log-dir {data} DATADIR\n" in run("log", "verify", data).err
    write_snapshot(data, 4)
    for verb in ("verify", "dump"):
        assert f"coordination log truncate --after 0x9 {data}\n" in run("log", verb, data).err
    assert run("log", "truncate", "--after", "0xf", "-y", data).code == 4
    assert run("log", "truncate", "--after", "0x9", "-y", data).code == 0
    log = TxnLog.open(data, prealloc_bytes=PREALLOC_BYTES)
    assert [zxid for zxid, _ in log.read()] == list(range(1, 10))
    log.close()


def test_what_stands_twice_can_be_cut_off_as_the_server_advises(run: Run, data: Path) -> None:
    """A good record follows the damage, and is older than the last one before it."""
    (path,) = write_log(data, range(1, 4)).iterdir()
    content = path.read_bytes()
    path.write_bytes(content + content[16:])
    with pytest.raises(LogDamagedError, match="coordination log truncate --after 0x3 "):
        TxnLog.open(data, prealloc_bytes=PREALLOC_BYTES)
    assert run("log", "truncate", "--after", "0x4", "-y", data).code == 4
    assert run("log", "truncate", "--after", "0x3", "-y", data).code == 0
    assert path.read_bytes() == content


def test_logs_and_snapshots_apart_are_cut_together(run: Run, tmp_path: Path) -> None:
    """The logs begin late, as after a purge: without the other directory's snapshots they would hold too little."""
    data, logs = tmp_path / "data", tmp_path / "logs"
    version = write_log(logs, range(5, 10), range(10, 20))
    (data / "version-2").mkdir(parents=True)
    for zxid in (6, 12):
        write_snapshot(data, zxid)
    damage(version / "log.a", 16 + 13 + 30)
    with pytest.raises(LogDamagedError) as caught:
        TxnSnapLog.open(data, logs)
    command = f"coordination log truncate --after 0x9 --log-dir {logs} {data}"
    assert f"`{command}`" in str(caught.value)
    assert command in run("doctor", data, "--log-dir", logs).out
    lock = DirectoryLock(data)
    assert run(*command.split()[1:], "-y").code == 4
    lock.release()
    assert run(*command.split()[1:], "-y").code == 0
    assert (data / "truncated-after-9" / "snapshot.c").exists()
    assert (logs / "truncated-after-9" / "log.a").exists()
    store = TxnSnapLog.open(data, logs, prealloc_bytes=PREALLOC_BYTES)
    with store.restore() as restored:
        assert (restored.zxid, [zxid for zxid, _ in restored.txns()]) == (6, [7, 8, 9])
    store.close()


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_nothing_is_changed_without_being_asked(run: Run, data: Path, more: tuple[str, ...]) -> None:
    version = write_log(data, range(1, 10))
    before = (version / "log.1").read_bytes()
    ran = run("log", "truncate", "--after", "5", *more, data)
    assert ran.code == 4
    assert "--yes" in ran.err
    assert (version / "log.1").read_bytes() == before
    if more:
        assert json.loads(ran.out)["error"]["exit_code"] == 4


@pytest.mark.parametrize("after", ["-1", "0x8000000000000000"])
def test_what_is_no_zxid_cuts_nothing(run: Run, data: Path, after: str) -> None:
    version = write_log(data, range(1, 10))
    assert run("log", "truncate", "-y", f"--after={after}", data).code == 2
    assert (version / "log.1").exists()


# --- snapshots that know of more


def test_truncating_takes_newer_snapshots_along(run: Run, data: Path) -> None:
    write_log(data, range(1, 10))
    write_snapshot(data, 3)
    write_snapshot(data, 8)
    found = json.loads(run("log", "truncate", "--after", "5", "-y", "--json", data).out)
    assert [Path(each).name for each in found["taken"]] == ["snapshot.8"]
    store = TxnSnapLog.open(data, prealloc_bytes=PREALLOC_BYTES)
    with store.restore() as restored:
        assert restored.zxid == 3
        assert [zxid for zxid, _ in restored.txns()] == [4, 5]
    store.close()


def test_truncating_takes_a_fuzzy_snapshot_along(run: Run, data: Path) -> None:
    version = write_log(data, range(1, 10))
    later = (1, 7, 5, 5, 1, 0, 0, 0, 1)
    nodes = [("/", b"", -1, (1, 1, 5, 5, 0, 0, 0, 0, 1)), ("/a", b"later", -1, later)]
    SnapshotWriter(version, 4, {}, {}, nodes).write_all()
    assert "holds changes up to 0x7" in run("snapshot", "verify", data).out
    assert "snapshot.4 goes" in run("log", "truncate", "--after", "5", "-n", data).out
    assert "snapshot.4" not in run("log", "truncate", "--after", "8", "-n", data).out


# --- refusals


def test_truncating_what_could_not_start_again_is_refused(run: Run, data: Path) -> None:
    write_log(data, range(5, 10))
    write_snapshot(data, 8)
    ran = run("log", "truncate", "--after", "6", "-y", data)
    assert ran.code == 4
    assert "could not start" in ran.err
    assert (data / "version-2" / "snapshot.8").exists()


def test_truncating_what_a_server_uses_is_refused(run: Run, data: Path) -> None:
    write_log(data, range(1, 10))
    lock = DirectoryLock(data)
    for named in (data, data / "version-2"):
        ran = run("log", "truncate", "--after", "6", "-y", named)
        assert ran.code == 4
        assert f"process {os.getpid()}" in ran.err
    lock.release()
