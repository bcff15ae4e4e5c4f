"""The digest of the tree: what Apache ZooKeeper writes down, ours finds too, and the other way round.

Random programs grow a tree on one server; the other one starts on a copy of its files and compares the digest after
every txn and of every snapshot with that of its own tree.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from coordination.state.pipeline import Pipeline
from coordination.state.ready import Settings
from coordination.state.txn import decode_entry
from coordination.storage import TxnLog, TxnSnapLog
from coordination.testing import apache, server
from coordination.wire.records import OPEN_ACL, put_acls

from .conftest import PROPERTIES
from .lockstep import SESSION_TIMEOUT_MS, Ended, Side
from .programs import Maker

pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]

PROGRAMS = 40
SMALL = 300  # a snapCount that gives several snapshots
# Digests are of paths as bytes; Java takes those of its default character set, which must not be ASCII here.
JVM = (*apache.QUICK_JVM, "-Dfile.encoding=UTF-8")
# Containers and TTL nodes shall go, too.
SETTINGS = {**PROPERTIES, "znode.container.checkIntervalMs": "200"}


@pytest.fixture(autouse=True, scope="module")
def _apache_is_there() -> None:
    reason = apache.why_unavailable()
    if reason is not None:
        pytest.skip(reason)


@contextmanager
def theirs(data_dir: Path, **settings: str) -> Iterator[apache.Member]:
    data_dir.mkdir(exist_ok=True)
    jvm = [*JVM, *(f"-D{key}={value}" for key, value in SETTINGS.items())]
    common = {"dataDir": str(data_dir), "maxSessionTimeout": str(SESSION_TIMEOUT_MS), **settings}
    with apache.standalone(settings=common, jvm=jvm) as zoo:
        yield zoo.members[0]


@contextmanager
def ours(data_dir: Path, settings: Mapping[str, str]) -> Iterator[server.Server]:
    data_dir.parent.mkdir(exist_ok=True)
    properties = data_dir.with_suffix(".props")
    lines = {**SETTINGS, "zookeeper.digest.enabled": "true", "4lw.commands.whitelist": "*", **settings}
    properties.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    options = ["--props", str(properties), "--max-session-timeout", str(SESSION_TIMEOUT_MS)]
    with server.serve(data_dir, options=options) as one:
        yield one


def play(name: str, port: int, seeds: range) -> None:
    side = Side(name, port)
    for seed in seeds:
        side.begin(f"/p{seed}", put_acls(OPEN_ACL))
        try:
            for step in Maker(seed, f"/p{seed}").program():
                side.play(step)
        except Ended:
            pass  # a program may end its own connections
        finally:
            side.end()


def replayed(data_dir: Path) -> tuple[Pipeline, int]:
    """Our tree, grown from these files, and how many digests were compared with it."""
    store = TxnSnapLog.open(data_dir)
    pipeline = Pipeline(Settings(digest_enabled=True), 0)
    compared = 0
    with store.restore() as restored:
        if restored.snapshot is not None:
            pipeline.load(restored.snapshot.sessions, restored.snapshot.acls, restored.snapshot.nodes(), restored.zxid)
            pipeline.promised(restored.snapshot.digest)
        for _, payload in restored.txns():
            compared += decode_entry(payload)[2] is not None
            pipeline.replay(payload)
    pipeline.recovered()
    store.close()
    return pipeline, compared


def mismatches(port: int) -> int:
    lines = apache.ask(port, "mntr").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("zk_digest_mismatches_count\t"))


def hashes(port: int) -> dict[str, str]:
    pairs = (line.split(": ") for line in apache.ask(port, "hash").splitlines())
    return dict(pairs)


@pytest.mark.parametrize("snap_count", [100_000, SMALL])
def test_ours_finds_what_theirs_wrote_down(tmp_path: Path, snap_count: int) -> None:
    with theirs(tmp_path / "theirs", snapCount=str(snap_count)) as zoo:
        play("Apache ZooKeeper", zoo.port, range(PROGRAMS))
        told, wrong = hashes(zoo.port), mismatches(zoo.port)
        zoo.kill()
    shutil.copytree(tmp_path / "theirs" / "version-2", tmp_path / "copy" / "version-2")
    pipeline, compared = replayed(tmp_path / "copy")
    assert pipeline.digest is not None
    # ZooKeeper 3.9.5 foretells a few digests wrongly (creations decided behind refused requests), and reports it while
    # it serves. Ours must find the same ones, no more.
    assert pipeline.digest.mismatches == wrong if snap_count > SMALL else pipeline.digest.mismatches <= wrong
    assert compared > (500 if snap_count > SMALL else 0)
    found = {f"{each.zxid:x}": str(each.signed) for each in pipeline.digest.history()}
    assert found.items() <= told.items()
    assert len(found) > 5 or snap_count == SMALL


@pytest.mark.parametrize("snap_count", [100_000, SMALL])
def test_theirs_finds_what_ours_wrote_down(tmp_path: Path, snap_count: int) -> None:
    with ours(tmp_path / "ours", {"snapCount": str(snap_count)}) as one:
        play("ours", one.port, range(PROGRAMS))
        told = hashes(one.port)
        one.kill()
    shutil.copytree(tmp_path / "ours" / "version-2", tmp_path / "copy" / "version-2")
    with theirs(tmp_path / "copy") as zoo:
        found = hashes(zoo.port)
        assert mismatches(zoo.port) == 0
    assert found.items() <= told.items()
    assert len(found) > 5 or snap_count == SMALL


def test_both_report_a_wrong_digest_and_go_on(tmp_path: Path) -> None:
    with ours(tmp_path / "ours", {}) as one:
        play("ours", one.port, range(2))
        one.kill()
    log = TxnLog.open(tmp_path / "ours")
    payloads = [payload for _, payload in log.read()]
    log.close()
    at = max(i for i, payload in enumerate(payloads) if decode_entry(payload)[2] is not None)
    payloads[at] = payloads[at][:-1] + bytes([payloads[at][-1] ^ 1])
    (tmp_path / "copy" / "version-2").mkdir(parents=True)
    shutil.copy(tmp_path / "ours" / "version-2" / "snapshot.0", tmp_path / "copy" / "version-2")
    log = TxnLog.open(tmp_path / "copy")
    log.append(payloads)
    log.close()
    pipeline, _ = replayed(tmp_path / "copy")
    assert pipeline.digest is not None
    assert pipeline.digest.mismatches == 1
    assert pipeline.digest.first_mismatch is not None
    assert pipeline.digest.first_mismatch.zxid == decode_entry(payloads[at])[0].zxid
    with ours(tmp_path / "copy", {}) as one:
        assert mismatches(one.port) == 1
        assert "digest_mismatch" in one.output.read_text()
    with theirs(tmp_path / "copy") as zoo:
        assert mismatches(zoo.port) == 1
