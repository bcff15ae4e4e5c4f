"""A disk that is full or broken: the server ends with its reason in the log, acknowledged writes are all there after a
restart, and nothing that was not written is acknowledged; a disk too full for a snapshot only costs the snapshot.
"""

# mypy: disable-error-code="no-untyped-call"
import errno
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException

from coordination.testing.server import Server, serve

EXIT_STORAGE = 5
VALUE = b"v" * 20_000
# A child that runs `serve` with a fault: the log's sync, or the snapshots' write, fails from its n-th call on.
CHILD = """
import os, sys
from coordination.storage import snapshot, txn_log
what, number, after = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
calls = [0]

def failing(real):
    def call(*args):
        calls[0] += 1
        if calls[0] > after:
            raise OSError(number, os.strerror(number))
        return real(*args)
    return call

if what == "sync":
    txn_log._datasync = failing(txn_log._datasync)
else:
    snapshot.adler32 = failing(snapshot.adler32)
from coordination.__main__ import main
sys.exit(main(sys.argv[4:]))
"""


def faulty(server: Server, what: str, number: int, after: int) -> None:
    serving = server.command[server.command.index("serve") :]
    server.command = [sys.executable, "-c", CHILD, what, str(number), str(after), *serving]


def events(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def write_until_it_ends(connect: str, most: int) -> tuple[list[int], int]:
    """Numbers of the writes that were acknowledged, one after the other; and of the first that was not."""
    client = KazooClient(connect, timeout=5, connection_retry=None, command_retry=None)
    client.start(10)
    acknowledged: list[int] = []
    try:
        client.create("/n")
        for number in range(most):
            try:
                client.create(f"/n/{number}", VALUE)
            except KazooException:
                return acknowledged, number
            acknowledged.append(number)
        return acknowledged, most
    finally:
        client.stop()
        client.close()


def found_after_a_restart(data: Path, limits: Sequence[str] = ()) -> list[int]:
    with serve(data, options=limits) as again:
        client = KazooClient(again.connect, timeout=10)
        client.start(10)
        try:
            names = sorted(map(int, client.get_children("/n")))
            assert all(client.get(f"/n/{name}")[0] == VALUE for name in names)
            return names
        finally:
            client.stop()
            client.close()


def limited(command: list[str], file_bytes_max: int) -> list[str]:
    """The command with a limit on the size of its files: writing past it fails as on a full disk."""
    code = (
        "import os, resource, sys; n = int(sys.argv[1]); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)); os.execv(sys.argv[2], sys.argv[2:])"
    )
    return [sys.executable, "-c", code, str(file_bytes_max), *command]


def test_a_full_disk_ends_the_server_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = Server(tmp_path / "data", tmp_path / "output", ["--log-file", str(log)])
    server.command = limited(server.command, 400_000)
    try:
        server.serve()
        acknowledged, refused = write_until_it_ends(server.connect, 100)
        assert 5 < len(acknowledged) < 25
        assert acknowledged == list(range(refused))
        assert server.ended_within(10)
    finally:
        status = server.stop()
    assert status == EXIT_STORAGE
    assert "Traceback" not in server.output.read_text()
    last = events(log)[-1]
    assert (last["event"], last["level"]) == ("log_write_failed", "error")
    assert "File too large" in last["what"]
    assert "nothing acknowledged is lost" in last["what"]
    assert "then restart the server" in last["what"]
    names = found_after_a_restart(tmp_path / "data")
    assert names == acknowledged  # a write cut in half was acknowledged by nobody and is not there


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_sync_that_fails_ends_the_server_and_acknowledges_nothing_after(tmp_path: Path, number: int) -> None:
    log = tmp_path / "log"
    server = Server(tmp_path / "data", tmp_path / "output", ["--log-file", str(log)])
    faulty(server, "sync", number, 7)
    try:
        server.serve()
        acknowledged, refused = write_until_it_ends(server.connect, 100)
        assert acknowledged == list(range(refused))
        assert 1 <= refused <= 7
        assert server.ended_within(10)
    finally:
        status = server.stop()
    assert status == EXIT_STORAGE
    last = events(log)[-1]
    assert last["event"] == "log_write_failed"
    assert os.strerror(number) in last["what"]
    names = found_after_a_restart(tmp_path / "data")
    # What was written and not synced may be there; what was acknowledged must.
    assert set(acknowledged) <= set(names) <= {*acknowledged, refused}


def test_a_disk_too_full_for_a_snapshot_costs_the_snapshot_only(tmp_path: Path) -> None:
    log, config = tmp_path / "log", tmp_path / "zoo.cfg"
    config.write_text("snapCount=10\n")
    server = Server(tmp_path / "data", tmp_path / "output", ["--log-file", str(log), "--config", str(config)])
    faulty(server, "snapshot", errno.ENOSPC, 3)  # the first three calls write snapshot.0
    try:
        server.serve()
        acknowledged, refused = write_until_it_ends(server.connect, 45)
        assert refused == 45
        assert server.is_running
    finally:
        status = server.stop()
    assert status == 0
    failed = [line for line in events(log) if line["event"] == "snapshot_failed"]
    assert failed
    assert failed[0]["level"] == "error"
    assert "The log still holds everything" in failed[0]["what"]
    assert found_after_a_restart(tmp_path / "data") == acknowledged
