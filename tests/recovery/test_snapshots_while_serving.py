"""A real server that takes snapshots under load, is killed, and starts again from what it has."""

from pathlib import Path

import pytest

from bench import load
from coordination.storage.snapshot import Snapshot, snapshot_files
from coordination.testing.server import Server, serve


def options(directory: Path, **settings: int) -> list[str]:
    config = directory / "zoo.cfg"
    lines = {"maxClientCnxns": 0, "snapCount": 200, "preAllocSize": 64, **settings}
    config.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    return ["--config", str(config)]


def write_many(server: Server, count: int) -> None:
    client = load.Client(server.port)
    for i in range(count):
        code, _ = client.call(load.CREATE, load.create_body(f"/n{i:05}", b"v" * 50))
        assert code in (0, load.NODE_EXISTS)
    client.close()


def read_one(server: Server, path: str) -> tuple[int, bytes]:
    client = load.Client(server.port)
    answer = client.call(load.GET_DATA, load.get_body(path))
    client.close()
    return answer


def test_a_fresh_directory_has_a_snapshot_before_its_first_txn(tmp_path: Path) -> None:
    """Apache ZooKeeper does not start on a log alone."""
    with serve(tmp_path / "data") as server:
        assert server.data_dir is not None
        ((zxid, path),) = snapshot_files(server.data_dir / "version-2")
        assert zxid == 0
        with Snapshot(path) as snapshot:
            assert next(node[0] for node in snapshot.nodes()) == "/"


@pytest.mark.parametrize("purge_interval_h", [0, 1])
def test_snapshots_come_with_the_writes_and_the_old_ones_go_when_asked(tmp_path: Path, purge_interval_h: int) -> None:
    data = tmp_path / "data"
    settings = {"autopurge.purgeInterval": purge_interval_h}
    with serve(data, options=options(tmp_path, **settings)) as server:
        write_many(server, 1500)
        found = snapshot_files(data / "version-2")
        assert len(found) >= 6
        assert found[-1][0] == 0
        for _, path in found:
            Snapshot(path).close()
        server.kill()
        server.serve()
        if purge_interval_h:  # at the start, then every hour
            while '"event": "purged"' not in server.output.read_text().rpartition("recovered")[2]:
                read_one(server, "/n00000")
            assert len(snapshot_files(data / "version-2")) == 3
            assert len(list((data / "version-2").glob("log.*"))) <= 5
        else:
            assert snapshot_files(data / "version-2")[-1][0] == 0
        for i in (0, 700, 1499):
            code, body = read_one(server, f"/n{i:05}")
            assert (code, body[4:54]) == (0, b"v" * 50)
        assert read_one(server, "/n01500")[0] == -101


def test_a_damaged_snapshot_is_passed_over_at_start_and_said_so(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serve(data, options=options(tmp_path)) as server:
        write_many(server, 700)
        server.kill()
        newest = snapshot_files(data / "version-2")[0][1]
        content = bytearray(newest.read_bytes())
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
        server.serve()
        assert read_one(server, "/n00699")[0] == 0
        assert "snapshot_passed_over" in server.output.read_text()
