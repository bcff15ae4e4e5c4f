"""Our files and Apache ZooKeeper's: each reads the other's. Needs Java and Maven (`make peers`)."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError, NodeExistsError
from kazoo.security import make_digest_acl

from coordination.state import txn
from coordination.state.data_tree import DataTree
from coordination.state.txn import (
    CheckVersionTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    TxnBody,
    TxnHeader,
)
from coordination.storage import Snapshot, SnapshotWriter, TxnLog, TxnSnapLog
from coordination.storage.snapshot import snapshot_files
from coordination.testing import apache
from coordination.wire import opcodes
from coordination.wire.records import OPEN_ACL, READ_ACL, STAT, Acl

pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]
JAVA_TIMEOUT_S = 60


@pytest.fixture(autouse=True, scope="module")
def _apache_is_there() -> None:
    reason = apache.why_unavailable()
    if reason is not None:
        pytest.skip(reason)


def java(main: str, *arguments: str) -> str:
    """What one of ZooKeeper's own tools says about a file."""
    jars = apache.cache_dir() / "lib"
    done = subprocess.run(
        [
            "java",
            *apache.QUICK_JVM,
            f"-Dlogback.configurationFile={jars / 'logback.xml'}",
            "-cp",
            f"{jars}/*",
            main,
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=JAVA_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


TxnList = list[tuple[TxnHeader, TxnBody]]


def our_txns() -> TxnList:
    """Every kind of txn, as a server would write them, zxids from 1."""
    digest = (Acl(31, "digest", "bob:hash"),)
    session = 0x1000_0000_0000_0001
    bodies: list[tuple[int, TxnBody]] = [
        (opcodes.CREATE_SESSION, CreateSessionTxn(10_000)),
        (opcodes.CREATE, CreateTxn("/a", b"one", OPEN_ACL, False, 1)),
        (opcodes.CREATE, CreateTxn("/a/ü", None, digest, False, 1)),
        (opcodes.CREATE2, CreateTxn("/a/e", b"", OPEN_ACL, True, 2)),
        (opcodes.SET_DATA, SetDataTxn("/a", b"two" * 1000, 1)),
        (opcodes.SET_ACL, SetAclTxn("/a", READ_ACL, 1)),
        (opcodes.ERROR, ErrorTxn(-110)),
        (opcodes.CREATE_CONTAINER, CreateContainerTxn("/c", b"", OPEN_ACL, 2)),
        (
            opcodes.MULTI,
            MultiTxn(
                [
                    (opcodes.CHECK, CheckVersionTxn("/a", 1)),
                    (opcodes.CREATE, CreateTxn("/m", b"x", OPEN_ACL, False, 3)),
                    (opcodes.SET_DATA, SetDataTxn("/m", b"y", 1)),
                ]
            ),
        ),
        (opcodes.CREATE, CreateTxn("/gone", b"", OPEN_ACL, False, 4)),
        (opcodes.DELETE, DeleteTxn("/gone")),
        (opcodes.CREATE_SESSION, CreateSessionTxn(4_000)),
        (opcodes.CREATE, CreateTxn("/e2", b"", OPEN_ACL, True, 5)),
        (opcodes.CLOSE_SESSION, CloseSessionTxn(["/e2"])),
    ]
    return [
        (TxnHeader(session + (zxid > 11), zxid, zxid, 1_700_000_000_000 + zxid, type_), body)
        for zxid, (type_, body) in enumerate(bodies, 1)
    ]


def grown(txns: TxnList) -> DataTree:
    tree = DataTree()
    for header, body in txns:
        tree.apply(header, body, [])
    return tree


def write_snapshot(directory: Path, tree: DataTree, sessions: dict[int, int]) -> Path:
    return SnapshotWriter(directory, tree.last_zxid, sessions, tree.acl_table(), tree.dump()).write_all()


def shape(tree: DataTree) -> dict[str, tuple[bytes, bytes]]:
    """What a client can see of each node: data and Stat; the znodes ZooKeeper keeps for itself are its own affair."""
    return {
        path: (node.data or b"", node.stat)
        for path, node in tree.nodes.items()
        if path != "/" and not path.startswith("/zookeeper")
    }


def seen_by_client(connect: str) -> dict[str, tuple[bytes, bytes]]:
    seen: dict[str, tuple[bytes, bytes]] = {}
    zk = KazooClient(hosts=connect)
    zk.start(timeout=20)
    try:
        waiting = ["/"]
        while waiting:
            path = waiting.pop()
            try:
                names = zk.get_children(path)
            except NoAuthError:
                continue
            for name in names:
                below = path.rstrip("/") + "/" + name
                if not below.startswith("/zookeeper"):
                    waiting.append(below)
            if path != "/":
                data, stat = zk.get(path)
                seen[path] = (data or b"", STAT.pack(*stat))
    finally:
        zk.stop()
        zk.close()
    return seen


def test_its_toolkit_reads_our_log(tmp_path: Path) -> None:
    log = TxnLog.open(tmp_path)
    log.append([txn.encode(header, body) for header, body in our_txns()])
    log.sync()  # not closed: preallocated zeros follow, as after kill -9
    text = java("org.apache.zookeeper.server.persistence.TxnLogToolkit", "-d", str(tmp_path / "version-2" / "log.1"))
    assert "CRC" not in text
    assert f"EOF reached after {len(our_txns())} txns." in text
    zxids = [int(found, 16) for found in re.findall(r" zxid 0x([0-9a-f]+) ", text)]
    assert zxids == list(range(1, len(our_txns()) + 1))
    for part in ("createSession 10000", "create /a,one,", "setACL", "error -110", "multi check:", "/e2"):
        assert part in text, text


def test_its_formatter_reads_our_snapshot(tmp_path: Path) -> None:
    tree = grown(our_txns())
    path = write_snapshot(tmp_path, tree, {0x1000_0000_0000_0001: 10_000})
    text = java("org.apache.zookeeper.server.SnapshotFormatter", "-d", str(path))
    for name in tree.nodes:
        assert f"\n{name}\n" in text
    assert "0x1000000000000001, 10000, 1" in text


@pytest.mark.parametrize("fuzzy_from", [0, 5, 14])
def test_it_starts_on_our_directory(tmp_path: Path, fuzzy_from: int) -> None:
    """A snapshot that began at some zxid and caught the whole tree, and a log that goes on to the end."""
    txns = [(header, body) for header, body in our_txns() if getattr(body, "path", "") != "/a/ü" and header.zxid != 6]
    txns = [(header._replace(zxid=zxid), body) for zxid, (header, body) in enumerate(txns, 1)]
    tree = grown(txns)
    store = TxnSnapLog.open(tmp_path)
    store.log.append([txn.encode(header, body) for header, body in txns])
    start = DataTree() if fuzzy_from == 0 else tree
    start.last_zxid = min(fuzzy_from, len(txns))
    write_snapshot(store.directory, start, {0x1000_0000_0000_0001: 10_000} if fuzzy_from else {})
    store.close()
    with apache.standalone(settings={"dataDir": str(tmp_path)}) as zoo:
        assert seen_by_client(zoo.connect) == shape(tree)


@pytest.fixture(scope="module")
def its_directory(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[bytes, bytes]]]:
    """A directory the real server filled and was killed on, with a few snapshots in it, and what its client saw
    last.
    """
    directory = tmp_path_factory.mktemp("apache")
    settings = {"dataDir": str(directory), "snapCount": "40"}
    with apache.standalone(settings=settings) as zoo:
        keeper = KazooClient(hosts=zoo.connect, timeout=30)
        keeper.start(timeout=20)
        other = KazooClient(hosts=zoo.connect)
        other.start(timeout=20)
        for i in range(150):
            keeper.create(f"/n{i:03}", b"x" * i)
        keeper.create("/n001/child", b"", acl=[make_digest_acl("bob", "secret", all=True)])
        keeper.create("/eph", b"alive", ephemeral=True)
        other.create("/short", b"", ephemeral=True)
        keeper.create("/n002/s-", sequence=True)
        keeper.set("/n003", b"changed")
        keeper.delete("/n004")
        request = keeper.transaction()
        request.create("/t", b"multi")
        request.set_data("/n005", b"multi")
        assert request.commit()
        failing = keeper.transaction()
        failing.create("/t", b"again")
        failing.delete("/n006")
        failing.commit()
        with pytest.raises(NodeExistsError):
            keeper.create("/t")
        other.stop()
        other.close()
        zoo.kill()
        zoo.serve()
        keeper.set("/n007", b"after the restart")
        seen = seen_by_client(zoo.connect)
        zoo.kill()
        keeper.stop()
        keeper.close()
    return directory, seen


def without_protected(seen: dict[str, tuple[bytes, bytes]]) -> dict[str, tuple[bytes, bytes]]:
    return {path: what for path, what in seen.items() if path != "/n001/child"}


def test_we_read_every_file_it_wrote(
    its_directory: tuple[Path, dict[str, tuple[bytes, bytes]]], tmp_path: Path
) -> None:
    directory, seen = its_directory
    shutil.copytree(directory / "version-2", tmp_path / "version-2")
    log = TxnLog.open(tmp_path)
    payloads = list(log.read())
    assert [zxid for zxid, _ in payloads] == list(range(1, log.last_zxid + 1))
    types = {txn.decode(payload)[0].type for _, payload in payloads}
    assert types >= {
        opcodes.CREATE_SESSION,
        opcodes.CREATE,
        opcodes.SET_DATA,
        opcodes.DELETE,
        opcodes.MULTI,
        opcodes.ERROR,
        opcodes.CLOSE_SESSION,
    }
    snapshots = snapshot_files(tmp_path / "version-2")
    assert len(snapshots) >= 2
    for _, path in snapshots:
        tree = DataTree()
        with Snapshot(path) as snapshot:
            tree.load(snapshot.acls, snapshot.nodes(), snapshot.zxid)
        for zxid, payload in payloads:
            if zxid > snapshot.zxid:
                tree.apply(*txn.decode(payload), [])
        tree.check_invariants()
        mine = shape(tree)
        assert without_protected(mine) == without_protected(seen), path.name


def test_it_goes_on_where_we_went_on_where_it_stopped(
    its_directory: tuple[Path, dict[str, tuple[bytes, bytes]]], tmp_path: Path
) -> None:
    """There and back: its directory, txns of ours on top, and it again."""
    directory, seen = its_directory
    shutil.copytree(directory / "version-2", tmp_path / "version-2")
    store = TxnSnapLog.open(tmp_path)
    with store.restore() as restored:
        assert restored.snapshot is not None
        tree = DataTree()
        snapshot = restored.snapshot
        tree.load(snapshot.acls, snapshot.nodes(), snapshot.zxid)
        for _, payload in restored.txns():
            tree.apply(*txn.decode(payload), [])
    zxid = store.log.last_zxid + 1
    header = TxnHeader(1, 1, zxid, 1_700_000_000_000, opcodes.CREATE)
    body = CreateTxn("/ours", b"hello", OPEN_ACL, False, tree.nodes["/"].creations + 1)
    tree.apply(header, body, [])
    store.log.append([txn.encode(header, body)])
    store.close()
    with apache.standalone(settings={"dataDir": str(tmp_path)}) as zoo:
        assert without_protected(seen_by_client(zoo.connect)) == without_protected(shape(tree))
    assert "/ours" not in seen
