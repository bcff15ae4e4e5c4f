"""The tree behind prep, against a model that is a dict of paths and knows no index, no log and no outstanding change.

Hypothesis draws operations; each is decided by prep and, sometimes later, applied: a decision must come out the same
whether the ones before it were applied or are still under way.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Never

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from coordination.auth.identity import Identity
from coordination.auth.settings import AuthSettings
from coordination.errors import KeeperError
from coordination.state.data_tree import Change, DataTree
from coordination.state.prep import Outstanding, Prep, next_version
from coordination.state.tree_digest import DIGEST_VERSION, TreeDigest, digest_of
from coordination.state.txn import CloseSessionTxn, CreateTxn, ErrorTxn, TxnBody, TxnHeader, decode_entry, encode
from coordination.state.znode import kind_of, owner_of_ttl, ttl_of_owner
from coordination.wire import opcodes
from coordination.wire.opcodes import EVENT_DELETED
from coordination.wire.records import OPEN_ACL, STAT, Acl, Stat
from coordination.wire.requests import CheckVersion, Create, Delete, Multi, SetData, WriteOperation

NAMES = ["a", "b", "c"]
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))
FLAGS = st.sampled_from([opcodes.PERSISTENT, opcodes.EPHEMERAL, opcodes.PERSISTENT_SEQUENTIAL, opcodes.CONTAINER])
SESSIONS = st.sampled_from([11, 22])
VERSIONS = st.sampled_from([-1, 0, 1, 2])


@dataclass
class Twin:
    """A znode as a child would draw it."""

    data: bytes
    owner: int
    czxid: int
    mzxid: int
    pzxid: int
    version: int = 0
    created: int = 0
    children: set[str] = field(default_factory=set)


def parent(path: str) -> str:
    return path.rsplit("/", 1)[0] or "/"


class TreeAgainstADict(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tree = DataTree()
        self.prep = Prep(self.tree, AuthSettings().access_control())
        self.model = {"/": Twin(b"", 0, 0, 0, 0)}
        self.zxid = 0
        self.under_way: list[bytes] = []
        self.multi: list[WriteOperation] = []
        self.digest = TreeDigest(self.tree)
        self.digest.recovered()

    # --- deciding and applying

    def decided(self, session: int, opcode: int, body: TxnBody) -> None:
        header = TxnHeader(session, 1, self.zxid, 1000 + self.zxid, opcode)
        self.under_way.append(encode(header, body) + self.digest.foresee(header, body))

    def attempt(self, session: int, operation: WriteOperation) -> None:
        """One request: prep and the model must agree, also about the error."""
        self.zxid += 1
        expected = self.model_code(session, operation, self.model)
        code, body = 0, None
        try:
            body = self.prep.decide(operation, session, self.zxid, ())
        except KeeperError as error:
            code = error.code
        assert code == expected, operation
        if body is None:
            self.decided(session, opcodes.ERROR, ErrorTxn(code))
            return
        self.model_apply(session, operation, self.model)
        self.decided(session, operation.opcode, body)

    @rule(session=SESSIONS, path=PATHS, data=st.binary(max_size=3), flags=FLAGS)
    def create(self, session: int, path: str, data: bytes, flags: int) -> None:
        opcode = opcodes.CREATE_CONTAINER if flags == opcodes.CONTAINER else opcodes.CREATE2
        self.attempt(session, Create(0, opcode, path, data, OPEN_ACL, flags))

    @rule(session=SESSIONS, path=PATHS, version=VERSIONS)
    def delete(self, session: int, path: str, version: int) -> None:
        self.attempt(session, Delete(0, path, version))

    @rule(session=SESSIONS, path=PATHS, data=st.binary(max_size=3), version=VERSIONS)
    def set_data(self, session: int, path: str, data: bytes, version: int) -> None:
        self.attempt(session, SetData(0, path, data, version))

    @rule(path=PATHS, version=VERSIONS)
    def add_check(self, path: str, version: int) -> None:
        self.multi.append(CheckVersion(0, path, version))

    @rule(path=PATHS, data=st.binary(max_size=3))
    def add_set(self, path: str, data: bytes) -> None:
        self.multi.append(SetData(0, path, data, -1))

    @rule(path=PATHS, flags=FLAGS)
    def add_create(self, path: str, flags: int) -> None:
        opcode = opcodes.CREATE_CONTAINER if flags == opcodes.CONTAINER else opcodes.CREATE
        self.multi.append(Create(0, opcode, path, b"m", OPEN_ACL, flags))

    @rule(path=PATHS)
    def add_delete(self, path: str) -> None:
        self.multi.append(Delete(0, path, -1))

    @precondition(lambda self: self.multi)
    @rule(session=SESSIONS)
    def commit_multi(self, session: int) -> None:
        """All or nothing, in the model by working on a copy."""
        operations, self.multi = self.multi, []
        self.zxid += 1
        trial = {path: Twin(**{**vars(node), "children": set(node.children)}) for path, node in self.model.items()}
        codes = []
        for operation in operations:
            codes.append(self.model_code(session, operation, trial))
            if codes[-1]:
                break
            self.model_apply(session, operation, trial)
        body = self.prep.multi(Multi(1, operations), session, self.zxid, ())
        said = [part.code for _, part in body.parts if isinstance(part, ErrorTxn)]
        if codes[-1]:
            assert said == [0] * (len(codes) - 1) + [codes[-1]] + [-2] * (len(operations) - len(codes))
        else:
            assert said == []
            self.model = trial
        self.decided(session, opcodes.MULTI, body)

    @rule(session=SESSIONS)
    def close_session(self, session: int) -> None:
        self.zxid += 1
        body = self.prep.close_session(session, self.zxid)
        owned = {path for path, node in self.model.items() if node.owner == session}
        assert body.paths is not None
        assert set(body.paths) == owned
        for path in owned:
            self.model_apply(session, Delete(0, path, -1), self.model)
        self.decided(session, opcodes.CLOSE_SESSION, body)

    @rule(count=st.integers(1, 5))
    def apply(self, count: int) -> None:
        """Some of what is under way is committed."""
        for payload in self.under_way[:count]:
            header, body, digest = decode_entry(payload)
            result = self.tree.apply(header, body, [])
            for part in result if isinstance(result, list) else [result]:
                assert part.code == 0 or part.type == opcodes.ERROR
            self.prep.settled(header.zxid)
            self.digest.settled(header.zxid)
            counted = digest_of(self.tree.nodes.items())
            assert self.digest.latest() == (header.zxid, counted, DIGEST_VERSION)
            assert digest == (None if header.type == opcodes.ERROR else (DIGEST_VERSION, counted))
        del self.under_way[:count]

    @invariant()
    def once_all_is_applied_both_are_the_same(self) -> None:
        self.tree.check_invariants()
        if self.under_way:
            return
        assert len(self.prep) == 0
        assert not self.prep._owned
        assert not self.prep._by_path
        found = {path: node for path, node in self.tree.nodes.items() if not path.startswith("/zookeeper")}
        assert set(found) == set(self.model)
        for path, twin in self.model.items():
            node, stat = found[path], Stat(*STAT.unpack(found[path].stat))
            children = set(node.children or ()) - {"zookeeper"}
            extra = 1 if path == "/" else 0  # /zookeeper itself, which no txn created
            assert children == twin.children
            assert (node.data, stat.version, stat.czxid, stat.mzxid, stat.pzxid) == (
                twin.data,
                twin.version,
                twin.czxid,
                twin.mzxid,
                twin.pzxid,
            )
            assert stat.cversion == 2 * twin.created - len(twin.children) - extra
            assert stat.num_children == len(twin.children) + extra
            assert stat.ephemeral_owner == (max(0, twin.owner))
        twin_tree = DataTree()
        twin_tree.load(self.tree.acl_table(), list(self.tree.dump()), self.tree.last_zxid)
        assert {p: n.stat for p, n in twin_tree.nodes.items()} == {p: n.stat for p, n in self.tree.nodes.items()}

    # --- the model

    def model_path(self, operation: WriteOperation, model: dict[str, Twin]) -> str:
        if isinstance(operation, Create) and operation.flags == opcodes.PERSISTENT_SEQUENTIAL:
            above = model.get(parent(operation.path))
            return f"{operation.path}{above.created if above else 0:010d}"
        return operation.path

    def model_code(self, session: int, operation: WriteOperation, model: dict[str, Twin]) -> int:
        path = self.model_path(operation, model)
        above, node = model.get(parent(path)), model.get(path)
        if isinstance(operation, Create):
            if above is None:
                return -101
            if node is not None:
                return -110
            return -108 if above.owner > 0 else 0
        if isinstance(operation, Delete) and above is None:
            return -101
        if node is None:
            return -101
        assert isinstance(operation, (Delete, SetData, CheckVersion))
        if operation.version not in (-1, node.version):
            return -103
        return -111 if isinstance(operation, Delete) and node.children else 0

    def model_apply(self, session: int, operation: WriteOperation, model: dict[str, Twin]) -> None:
        path = self.model_path(operation, model)
        above, name = model[parent(path)], path.rsplit("/", 1)[1]
        if isinstance(operation, Create):
            owner = {opcodes.EPHEMERAL: session, opcodes.CONTAINER: -1}.get(operation.flags, 0)
            model[path] = Twin(operation.data or b"", owner, self.zxid, self.zxid, self.zxid)
            above.created += 1
            above.pzxid = self.zxid
            above.children.add(name)
        elif isinstance(operation, Delete):
            del model[path]
            above.children.remove(name)
            above.pzxid = self.zxid
        elif isinstance(operation, SetData):
            model[path].data = operation.data or b""
            model[path].version += 1
            model[path].mzxid = self.zxid


TreeAgainstADict.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTreeAgainstADict = TreeAgainstADict.TestCase


def test_applying_a_txn_twice_changes_nothing() -> None:
    """A fuzzy snapshot may already hold what the log says again."""
    tree, prep = DataTree(), Prep(DataTree(), AuthSettings().access_control())
    prep = Prep(tree, AuthSettings().access_control())
    steps: list[WriteOperation] = [
        Create(0, 1, "/a", b"1", OPEN_ACL, 0),
        Create(0, 1, "/a/b", b"2", OPEN_ACL, opcodes.EPHEMERAL),
        SetData(0, "/a", b"3", -1),
        Delete(0, "/a/b", -1),
        Create(0, 1, "/a/c", b"4", OPEN_ACL, 0),
    ]
    entries = []
    for zxid, step in enumerate(steps, 1):
        header = TxnHeader(7, 1, zxid, 1000, step.opcode)
        entries.append((header, prep.decide(step, 7, zxid, ())))
        tree.apply(*entries[-1], [])
    before = {path: node.stat for path, node in tree.nodes.items()}
    for header, body in entries[2:]:
        tree.apply(header, body, [])
    assert {path: node.stat for path, node in tree.nodes.items()} == before
    tree.check_invariants()


def test_owners() -> None:
    assert kind_of(0) == "plain"
    assert kind_of(-(1 << 63)) == "container"
    assert kind_of(0x1000026A63600CA) == "ephemeral"
    assert kind_of(owner_of_ttl(5000)) == "ttl"
    assert ttl_of_owner(owner_of_ttl(5000)) == 5000


def test_versions_skip_minus_one() -> None:
    """ZOOKEEPER-4743: -1 means `any`, so it is never a version."""
    assert next_version(0x7FFFFFFF, -1, "/a") == -0x80000000
    assert next_version(-2, -1, "/a") == 0


class NotWalked(deque[Outstanding]):
    def __iter__(self) -> Iterator[Never]:
        raise AssertionError("looked through")


def test_nothing_looks_through_all_that_is_under_way() -> None:
    """Ten thousand sessions may end in one batch, and everything they end is under way with them; or as many multis may
    be refused.
    """
    prep = Prep(DataTree(), AuthSettings().access_control())
    prep._queue = NotWalked()
    for zxid, path in enumerate(("/kept", "/mine", "/mine too"), 1):
        prep.create(Create(1, opcodes.CREATE, path, b"", OPEN_ACL, opcodes.EPHEMERAL), 11 if zxid > 1 else 22, zxid, ())
    refused = prep.multi(Multi(1, [Delete(1, "/mine", -1), Delete(1, "/none", -1)]), 11, 4, ())
    assert [opcode for opcode, _ in refused.parts] == [opcodes.ERROR] * 2
    assert prep.close_session(11, 5).paths == ["/mine", "/mine too"]


def test_the_end_of_a_session_is_one_change_however_many_its_ephemerals_are() -> None:
    """100,000 of them, and everybody waits: two records of a change for each were a third of the time."""
    tree = DataTree()
    prep = Prep(tree, AuthSettings().access_control())
    zxid = 0

    def create(path: str, session: int, flags: int = opcodes.PERSISTENT) -> None:
        nonlocal zxid
        zxid += 1
        body = prep.create(Create(1, opcodes.CREATE, path, b"", OPEN_ACL, flags), session, zxid, ())
        tree.apply(TxnHeader(session, 1, zxid, 1000, opcodes.CREATE), body, [])
        prep.settled(zxid)

    create("/a", 11)
    create("/b", 11)
    for number in range(100):
        create(f"/a/{number}", 11, opcodes.EPHEMERAL)
        create(f"/b/{number}", 11, opcodes.EPHEMERAL)
    create("/b/other", 22, opcodes.EPHEMERAL)
    ended = zxid + 1
    body = prep.close_session(11, ended)
    assert len(body.paths or ()) == 200
    assert len(prep) == 3  # all of them, and each parent
    prep.delete(Delete(1, "/a", -1), 22, ended + 1, ())  # it is empty by now
    prep.create(Create(1, opcodes.CREATE, "/b/0", b"", OPEN_ACL, opcodes.EPHEMERAL), 22, ended + 2, ())
    assert prep.close_session(22, ended + 3).paths == ["/b/other", "/b/0"]
    tree.apply(TxnHeader(11, 1, ended, 1000, opcodes.CLOSE_SESSION), body, [])
    prep.settled(ended)
    assert "/b/1" not in prep._by_path
    assert "/b/0" in prep._by_path  # which is about the one that came after


def test_the_end_of_a_session_over_a_fuzzy_snapshot() -> None:
    """The tree may lack what the txn names, hold later znodes of those names, and ephemerals the txn does not name."""
    tree = DataTree()
    planted = (("/a", 0), ("/a/gone", 11), ("/a/later", 22), ("/a/full", 0), ("/a/full/x", 22), ("/a/left", 11))
    for zxid, (path, owner) in enumerate(planted, 1):
        body = CreateTxn(path, b"v", (Acl(31, "digest", f"{path}:x"),), bool(owner), -1)
        tree.apply(TxnHeader(owner or 11, 1, zxid, 1000, opcodes.CREATE), body, [])
    changes: list[Change] = []
    names = ["/a/gone", "/a/never", "/none/below", "/a/later", "/a/full", "/a/full/x"]
    tree.apply(TxnHeader(11, 1, 9, 1000, opcodes.CLOSE_SESSION), CloseSessionTxn(names), changes)
    assert {path for path in tree.nodes if not path.startswith("/zookeeper")} == {"/", "/a"}
    assert [change.path for change in changes] == ["/a/gone", "/a/later", "/a/full", "/a/left"]
    assert {(change.type, change.parent_acl) for change in changes} == {(EVENT_DELETED, tree.nodes["/a"].acl)}
    assert tree.ephemerals == {}
    assert tree.nodes["/a"].pzxid == 9
    tree.check_invariants()


def test_a_znode_whose_acl_a_fuzzy_snapshot_does_not_hold_is_closed_until_its_txn_is_replayed() -> None:
    mine = (Acl(31, "digest", "me:x"),)
    stat, root = (7, 7, 1, 1, 0, 0, 0, 0, 7), (0,) * 9
    tree = DataTree()
    tree.load({}, [("/", b"", -1, root), ("/zookeeper", b"", -1, root), ("/late", b"v", 4, stat)], 5)
    tree.check_invariants()
    access = AuthSettings().access_control()
    assert not access.allows(tree.get("/late").acl, 31, (Identity("digest", "me:x"),))
    tree.replay(TxnHeader(11, 1, 7, 1, opcodes.CREATE), CreateTxn("/late", b"v", mine, False, 1))
    assert tree.get("/late").acl == mine
    tree.check_invariants()
