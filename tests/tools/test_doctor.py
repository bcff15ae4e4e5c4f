"""`coordination doctor`: healthy directories, each kind of harm, and directories that are none of ours."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from coordination.testing import server
from coordination.tools import doctor, log_scan

from .conftest import Run, damage, without_records, write_log, write_snapshot


def levels(run: Run, *arguments: object) -> dict[str, list[str]]:
    """check -> what is not OK about it."""
    found = json.loads(run("doctor", "--json", *arguments).out)
    assert found["passed"] == (found["failed"] == 0)
    bad: dict[str, list[str]] = {}
    for each in found["findings"]:
        if each["level"] != doctor.OK:
            bad.setdefault(each["check"], []).append(each["level"])
            assert each["level"] == doctor.WARN or each["hint"], each
    return bad


# --- healthy, or nearly


def test_a_healthy_directory(run: Run, data: Path) -> None:
    write_log(data, range(1, 10), range(10, 20))
    write_snapshot(data, 5)
    assert levels(run, data) == {}
    ran = run("doctor", data)
    assert ran.code == 0
    assert ran.out.splitlines()[-1].endswith("0 warnings, 0 failures")
    assert "replays 2 log file(s) up to 0x13" in ran.out


def test_an_empty_directory_is_healthy(run: Run, data: Path) -> None:
    assert levels(run, data) == {}


def test_a_directory_in_use(run: Run, data: Path) -> None:
    with server.serve(data):
        found = levels(run, data)
        assert found["lock"] == ["WARN"]
    assert "lock" not in levels(run, data)


def test_the_trap_of_zookeeper_582(run: Run, data: Path) -> None:
    write_log(data, range(1, 5))
    write_snapshot(data, 9)
    assert levels(run, data) == {"recovery": ["WARN"]}
    assert "ZOOKEEPER-582" in run("doctor", data).out


# --- harmed


def snapshot_damaged(data: Path) -> None:
    damage(write_snapshot(data, 12), 50)


def snapshot_ahead_damaged(data: Path) -> None:
    damage(write_snapshot(data, 40), 50)


def log_lost(data: Path) -> None:
    (data / "version-2" / "log.a").unlink()


def logs_begin_late(data: Path) -> None:
    (data / "version-2" / "log.1").unlink()


def files_misplaced(data: Path) -> None:
    for path in (data / "version-2").iterdir():
        path.rename(data / path.name)
    (data / "version-2").rmdir()


def left_over(data: Path) -> None:
    (data / "version-2" / ".snapshot.9.tmp").touch()


def epochs_wrong(data: Path) -> None:
    (data / "version-2" / "currentEpoch").write_text("2\n")
    (data / "version-2" / "acceptedEpoch").write_text("1\n")


def log_damaged(data: Path) -> None:
    damage(data / "version-2" / "log.a", 60)


def log_torn(data: Path) -> None:
    path = data / "version-2" / "log.14"
    path.write_bytes(path.read_bytes()[:-5])


def record_cut_out(data: Path) -> None:
    without_records(data / "version-2" / "log.14", 25, 26)


def record_cut_out_that_a_snapshot_holds(data: Path) -> None:
    record_cut_out(data)
    write_snapshot(data, 26)


def renamed(data: Path) -> None:
    (data / "version-2" / "log.14").rename(data / "version-2" / "log.15")


@pytest.mark.parametrize(
    ("harm", "found", "code"),
    [
        (snapshot_damaged, {"snapshots": ["WARN"]}, 0),
        (snapshot_ahead_damaged, {"snapshots": ["WARN"], "recovery": ["FAIL"]}, 7),
        (log_lost, {"gaps": ["FAIL"]}, 7),
        (logs_begin_late, {"recovery": ["FAIL"]}, 7),
        (files_misplaced, {"layout": ["FAIL"]}, 7),
        (left_over, {"leftovers": ["WARN"]}, 0),
        (epochs_wrong, {"epochs": ["FAIL"]}, 7),
        (log_damaged, {"logs": ["FAIL"], "gaps": ["FAIL"]}, 7),
        (log_torn, {"logs": ["WARN"]}, 0),
        (record_cut_out, {"gaps": ["WARN"]}, 0),
        (record_cut_out_that_a_snapshot_holds, {}, 0),
        (renamed, {"logs": ["WARN"]}, 0),
    ],
)
def test_what_the_doctor_finds(
    run: Run, data: Path, harm: Callable[[Path], None], found: dict[str, list[str]], code: int
) -> None:
    write_log(data, range(1, 10), range(10, 20), range(20, 30))
    harm(data)
    assert levels(run, data) == found
    assert run("doctor", data).code == code


# --- in the wrong place, or open to strangers


def test_directories_swapped(run: Run, data: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o700)
    write_log(logs, range(1, 5))
    write_snapshot(data, 3)
    assert levels(run, data, "--log-dir", logs) == {}
    assert levels(run, logs, "--log-dir", data)["layout"] == ["FAIL"]


def test_files_that_strangers_can_read(run: Run, data: Path) -> None:
    def opened(directory: Path) -> None:
        version = write_log(directory, range(1, 5))
        (version / "log.1").chmod(0o644)
        for each in (version, directory):
            each.chmod(0o755)

    data.parent.chmod(0o700)
    opened(data)
    assert levels(run, data) == {}, "nobody else gets as far as the files"
    with TemporaryDirectory() as name:  # a directory of pytest's is within one that is closed to strangers
        place = Path(name).resolve()
        if not all(each.stat().st_mode & 0o001 for each in place.parents):
            pytest.skip(f"strangers have no way into {place.parent}")
        opened(place)
        assert levels(run, place) == {"permissions": ["WARN"]}
        place.chmod(0o700)
        assert levels(run, place) == {}


@pytest.mark.parametrize(
    ("name", "level"),
    [("log.txt", "WARN"), ("README", "WARN"), ("log.1f", "FAIL"), ("snapshot.0.gz", "FAIL"), ("myid", None)],
)
def test_a_directory_of_somebody_else(run: Run, tmp_path: Path, name: str, level: str | None) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / name).write_text("1")
    assert levels(run, tmp_path).get("layout") == (level and [level])


def test_no_directory(run: Run, tmp_path: Path) -> None:
    assert run("doctor", tmp_path / "nowhere").code == 2


def test_a_link_that_leads_nowhere(run: Run, data: Path) -> None:
    version = write_log(data, range(1, 4))
    (version / "log.9").symlink_to(data / "gone")
    ran = run("doctor", data)
    assert ran.code == 7
    assert "log.9 (a link that leads nowhere)" in ran.out


@pytest.mark.parametrize("text", ["\u00b2", "", "1 2"])
def test_an_epoch_that_is_no_number(run: Run, data: Path, text: str) -> None:
    version = write_log(data, range(1, 4))
    (version / "currentEpoch").write_text(text)
    assert "not a number" in run("doctor", data).out


def test_what_a_server_purges_meanwhile_is_not_missed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(data, range(1, 4), range(4, 8))
    write_snapshot(data, 5)
    scan = log_scan.scan_log

    def purged_before(path: Path) -> log_scan.LogReport:
        if path.name == "log.1":
            path.unlink()
        return scan(path)

    monkeypatch.setattr(log_scan, "scan_log", purged_before)
    assert not [each for each in doctor.examine(data) if each.level == doctor.FAIL]
