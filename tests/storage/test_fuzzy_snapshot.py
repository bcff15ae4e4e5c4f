"""The tree through a snapshot file and back, also while it changes under the writer."""

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.state.data_tree import DataTree
from coordination.state.txn import CloseSessionTxn, CreateTxn, DeleteTxn, SetAclTxn, SetDataTxn, TxnBody, TxnHeader
from coordination.storage import Snapshot, SnapshotWriter
from coordination.wire import opcodes
from coordination.wire.records import OPEN_ACL, READ_ACL, Acl

TYPES: dict[type[Any], int] = {
    CreateTxn: opcodes.CREATE,
    DeleteTxn: opcodes.DELETE,
    SetDataTxn: opcodes.SET_DATA,
    SetAclTxn: opcodes.SET_ACL,
    CloseSessionTxn: opcodes.CLOSE_SESSION,
}
DIGEST = (Acl(31, "digest", "bob:x"),)


class Server:
    """A tree and the txns that made it; decides what prep would."""

    def __init__(self) -> None:
        self.tree = DataTree()
        self.txns: list[tuple[TxnHeader, TxnBody]] = []

    def do(self, body: TxnBody, session: int = 7) -> None:
        zxid = len(self.txns) + 1
        header = TxnHeader(session, 0, zxid, 1_700_000_000_000 + zxid, TYPES[type(body)])
        self.txns.append((header, body))
        self.tree.apply(header, body, [])

    def random_step(self, pick: int) -> None:
        """One valid txn, chosen by a number."""
        paths = [path for path in self.tree.nodes if not path.startswith("/zookeeper")]
        pick, which = divmod(pick, 8)
        path = paths[pick % len(paths)]
        node = self.tree.nodes[path]
        session = 1 + pick % 3
        if which <= 2 and not node.owner:
            child = ("" if path == "/" else path) + f"/{pick % 5}"
            if child not in self.tree.nodes:
                acl = (OPEN_ACL, READ_ACL, DIGEST)[pick % 3]
                self.do(CreateTxn(child, b"%d" % pick, acl, which == 2, node.creations + 1), session)
        elif which <= 4:
            self.do(SetDataTxn(path, b"%d" % pick, node.version + 1))
        elif which == 5:
            self.do(SetAclTxn(path, (Acl(1 + pick % 31, "ip", "::1"),), node.aversion + 1))
        elif which == 6 and path != "/" and not node.children:
            self.do(DeleteTxn(path))
        elif which == 7:
            self.do(CloseSessionTxn(list(self.tree.ephemerals.get(session, ()))), session)


def everything(tree: DataTree) -> tuple[list[Any], dict[int, set[str]]]:
    """All of a tree that must survive; ACL numbers are each tree's own, so the ACLs stand for them."""
    tree.check_invariants()
    acls = tree.acl_table()
    nodes = sorted((path, data, acls.get(number, OPEN_ACL), stat) for path, data, number, stat in tree.dump())
    return nodes, {owner: set(paths) for owner, paths in tree.ephemerals.items() if paths}


def begin(directory: Path, tree: DataTree, sessions: dict[int, int]) -> SnapshotWriter:
    return SnapshotWriter(directory, tree.last_zxid, sessions, tree.acl_table(), tree.dump())


def finish(writer: SnapshotWriter) -> Path:
    while (chunk := writer.take(3)) is not None:
        writer.write(chunk)
    return writer.finish()


def test_a_quiet_tree_comes_back(tmp_path: Path) -> None:
    server = Server()
    for pick in range(0, 4000, 7):
        server.random_step(pick)
    tree = DataTree()
    with Snapshot(finish(begin(tmp_path, server.tree, {1: 400}))) as snapshot:
        tree.load(snapshot.acls, snapshot.nodes(), snapshot.zxid)
        assert snapshot.sessions == {1: 400}
    assert everything(tree) == everything(server.tree)
    assert tree.last_zxid == server.tree.last_zxid
    assert {path: node.stat for path, node in tree.nodes.items()} == {
        path: node.stat for path, node in server.tree.nodes.items()
    }


@given(
    st.lists(st.integers(0, 1 << 16), max_size=40), st.lists(st.lists(st.integers(0, 1 << 16), max_size=6), max_size=12)
)
@settings(max_examples=200, deadline=None)
def test_a_fuzzy_snapshot_and_the_log_give_the_tree(
    tmp_path_factory: Any, before: list[int], meanwhile: list[list[int]]
) -> None:
    """Txns go on between the slices; replaying all of them over whatever the snapshot caught gives the same tree."""
    server = Server()
    for pick in before:
        server.random_step(pick)
    writer = begin(tmp_path_factory.mktemp("snap"), server.tree, {})
    for picks in meanwhile:
        for pick in picks:
            server.random_step(pick)
        chunk = writer.take(1)
        if chunk is None:
            break
        writer.write(chunk)
    tree = DataTree()
    with Snapshot(finish(writer)) as snapshot:
        tree.load(snapshot.acls, snapshot.nodes(), snapshot.zxid)
    for header, body in server.txns[snapshot.zxid :]:
        tree.apply(header, body, [])
    assert everything(tree) == everything(server.tree)
