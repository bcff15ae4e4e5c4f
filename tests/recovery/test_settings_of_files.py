"""A real server told how large logs may become, how snapshots are packed, and that the tree's digest is kept."""

from pathlib import Path

from bench import load
from coordination.storage.snapshot import snapshot_files
from coordination.testing import apache
from coordination.testing.server import serve
from coordination.tools import digest_check, log_scan

WRITES = 400
SETTINGS = {
    "snapCount": 1_000_000,
    "preAllocSize": 0,
    "snapSizeLimitInKb": 64,
    "txnLogSizeLimitInKb": 16,
    "snapshot.compression.method": "gz",
    "digest.enabled": "true",
    "4lw.commands.whitelist": "*",
}


def test_they_are_obeyed_and_the_digests_hold(tmp_path: Path) -> None:
    data, config = tmp_path / "data", tmp_path / "zoo.cfg"
    config.write_text("".join(f"{key}={value}\n" for key, value in SETTINGS.items()))
    with serve(data, options=["--config", str(config)]) as server:
        client = load.Client(server.port)
        for i in range(WRITES):
            assert client.call(load.CREATE, load.create_body(f"/n{i}", b"v" * 500))[0] == 0
        while len(snapshot_files(data / "version-2")) < 3:
            assert client.call(load.SET_DATA, load.set_body("/n0", b"v" * 500))[0] == 0
        hashes = apache.ask(server.port, "hash").splitlines()
        assert [line.partition(":")[0] for line in hashes[:3]] == ["80", "100", "180"]
        client.close()
        server.kill()

        names = sorted(path.name for path in (data / "version-2").iterdir())
        assert all(name.endswith(".gz") for name in names if name.startswith("snapshot."))
        logs = list((data / "version-2").glob("log.*"))
        assert len(logs) > WRITES * 500 // (20 << 10)
        assert max(path.stat().st_size for path in logs) < 18 << 10

        found = digest_check.check(data, [log_scan.scan_log(path) for path in logs])
        assert found is not None
        assert found.compared > WRITES
        assert found.mismatches == 0

        server.serve()
        said = server.output.read_text()
        assert "digest_mismatch" not in said
        assert "zk_digest_mismatches_count\t0\n" in apache.ask(server.port, "mntr")
        # What the second server remembers of its replay is what the first one told.
        again = apache.ask(server.port, "hash").splitlines()
        assert set(again) <= set(hashes) | set(again[-1:])
