"""The digest of the tree in recovery: what is compared when, and what is only told.

That it is right after every txn is seen in test_data_tree, that it is ZooKeeper's in tests/differential.
"""

from collections.abc import Sequence

import pytest

from coordination.state.data_tree import DataTree
from coordination.state.tree_digest import HISTORY_EVERY, TreeDigest, ZxidDigest, digest_of, znode_digest
from coordination.state.txn import (
    CloseSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    SetAclTxn,
    SetDataTxn,
    TxnBody,
    TxnDigest,
    TxnHeader,
    decode_entry,
    encode,
)
from coordination.wire import opcodes
from coordination.wire.records import OPEN_ACL, READ_ACL

STAT = (0x11, 0x12, 0x13, 1_700_000_000_000, 1_700_000_000_001, 3, 4, 5, 0x1000_0000_0000_0001)
SESSION = 7
BODIES: Sequence[tuple[int, TxnBody]] = [
    (opcodes.CREATE, CreateTxn("/a", b"1", OPEN_ACL, False, 1)),
    (opcodes.CREATE_TTL, CreateTtlTxn("/a/ttl", None, OPEN_ACL, 1, 5000)),
    (opcodes.CREATE, CreateTxn("/a/e", b"", OPEN_ACL, True, 2)),
    (opcodes.SET_DATA, SetDataTxn("/a", b"2", 1)),
    (opcodes.SET_ACL, SetAclTxn("/a", READ_ACL, 1)),
    (opcodes.ERROR, ErrorTxn(-101)),
    (opcodes.CLOSE_SESSION, CloseSessionTxn(["/a/e"])),
    (opcodes.DELETE_CONTAINER, DeleteTxn("/a/ttl")),
    (opcodes.CREATE, CreateTxn("/zookeeper/x", b"", OPEN_ACL, False, 3)),
    (opcodes.SET_DATA, SetDataTxn("/zookeeper/x", b"y", 1)),
]
TXNS = [(TxnHeader(SESSION, 1, zxid, 1000 + zxid, type_), body) for zxid, (type_, body) in enumerate(BODIES, 1)]


def grown(count: int) -> DataTree:
    tree = DataTree()
    for header, body in TXNS[:count]:
        tree.apply(header, body, [])
    return tree


def digests() -> list[int]:
    """Of the tree after no txn, the first, the first two ..."""
    return [digest_of(grown(count).nodes.items()) for count in range(len(TXNS) + 1)]


def loaded(count: int, promised: ZxidDigest | None) -> tuple[DataTree, TreeDigest]:
    """A tree from a snapshot taken after so many txns."""
    source, tree = grown(count), DataTree()
    tree.load(source.acl_table(), source.dump(), count)
    digest = TreeDigest(tree)
    digest.loaded(count, promised)
    return tree, digest


def replay(tree: DataTree, digest: TreeDigest, first: int, logged: dict[int, int | None]) -> None:
    """Txns from number `first` on; `logged` replaces the digest behind some."""
    right = digests()
    for header, body in TXNS[first - 1 :]:
        zxid = header.zxid
        value = logged.get(zxid, right[zxid])
        digest.replaying(header, body)
        tree.apply(header, body, [])
        digest.replayed(zxid, None if value is None else TxnDigest(2, value))


# --- one znode


def test_a_znode_as_zookeeper_counts_it() -> None:
    """crc32 of the bytes put together by hand."""
    assert znode_digest("/a", b"data", STAT) == 0xD5975E5B
    assert znode_digest("/a", None, STAT) == znode_digest("/a", b"", STAT)


@pytest.mark.parametrize("place", range(len(STAT)))
def test_every_field_of_the_stat_counts(place: int) -> None:
    other = (*STAT[:place], STAT[place] + 1, *STAT[place + 1 :])
    assert znode_digest("/a", b"", other) != znode_digest("/a", b"", STAT)


def test_what_each_server_keeps_for_itself_does_not_count() -> None:
    assert znode_digest("/zookeeper/quota", b"x", STAT) == 0
    assert znode_digest("/zookeeper", b"x", STAT) != 0
    assert znode_digest("/", b"x", STAT) == znode_digest("", b"x", STAT)


# --- serving


def test_it_is_foretold_and_told_when_committed() -> None:
    tree = DataTree()
    digest = TreeDigest(tree)
    assert digest.recovered() == []
    behind = [digest.foresee(header, body) for header, body in TXNS]
    assert digest.latest() == ZxidDigest(0, digests()[0])
    for (header, body), entry, expected in zip(TXNS, behind, digests()[1:], strict=True):
        tree.apply(header, body, [])
        digest.settled(header.zxid)
        assert digest.latest() == ZxidDigest(header.zxid, expected)
        logged = decode_entry(encode(header, body) + entry)[2]
        assert logged == (None if type(body) is ErrorTxn else TxnDigest(2, expected))


def test_hash_shows_nothing_that_is_not_committed() -> None:
    digest = TreeDigest(DataTree())
    digest.recovered()
    body = SetDataTxn("/", b"x", 1)
    for zxid in range(1, 2 * HISTORY_EVERY + 1):
        digest.foresee(TxnHeader(1, 1, zxid, zxid, opcodes.SET_DATA), body)
    digest.settled(2 * HISTORY_EVERY - 1)
    assert [each.zxid for each in digest.history()] == [HISTORY_EVERY]


def test_many_znodes_do_not_stay_remembered() -> None:
    tree = DataTree()
    digest = TreeDigest(tree)
    digest.recovered()
    for zxid in range(1, 10_001):
        header, body = TxnHeader(1, 1, zxid, zxid, 1), CreateTxn(f"/{zxid}", b"", OPEN_ACL, False, zxid)
        digest.foresee(header, body)
        tree.apply(header, body, [])
        digest.settled(zxid)
    assert len(digest._recent) < 5000
    assert digest.latest().digest == digest_of(tree.nodes.items())


# --- recovery


@pytest.mark.parametrize("at", range(len(TXNS) + 1))
def test_a_right_log_has_no_mismatch(at: int) -> None:
    tree, digest = loaded(at, ZxidDigest(at, digests()[at]))
    replay(tree, digest, at + 1, {})
    assert digest.recovered() == []
    assert digest.latest() == ZxidDigest(len(TXNS), digests()[-1])


def test_a_wrong_digest_is_told_and_the_rest_goes_on() -> None:
    tree, digest = loaded(0, None)
    replay(tree, digest, 1, {3: 99, 5: 98})
    [(name, fields)] = digest.recovered()
    assert name == "digest_mismatch"
    assert fields == {"zxid": 3, "promised": 99, "found": digests()[3], "mismatches": 2}
    assert digest.latest().digest == digests()[-1]


def test_a_snapshot_s_digest_is_compared_with_its_znodes() -> None:
    _, digest = loaded(4, ZxidDigest(4, 1))
    assert digest.first_mismatch == (4, 1, digests()[4])


def test_over_a_fuzzy_snapshot_nothing_is_compared_before_its_digest() -> None:
    """Named for txn 2, holding all that came until 5."""
    source, tree = grown(5), DataTree()
    tree.load(source.acl_table(), source.dump(), 2)
    digest = TreeDigest(tree)
    digest.loaded(2, ZxidDigest(5, digests()[5]))
    replay(tree, digest, 3, {})
    assert digest.mismatches == 0
    assert digest.recovered() == []
    assert digest.latest().digest == digests()[-1]


def test_a_log_that_ends_before_the_snapshot_s_digest() -> None:
    tree, digest = loaded(2, ZxidDigest(99, 1))
    replay(tree, digest, 3, {})
    assert digest.recovered() == [("snapshot_ahead_of_log", {"zxid": 99, "log_zxid": len(TXNS)})]
    assert digest.latest().digest == digests()[-1]


@pytest.mark.parametrize("promised", [None, ZxidDigest(0, 5), ZxidDigest(1, 5)], ids=["none", "empty", "of before"])
def test_a_snapshot_without_a_digest_of_use(promised: ZxidDigest | None) -> None:
    tree, digest = loaded(2, promised)
    replay(tree, digest, 3, dict.fromkeys(range(1, 8)))  # the first digests come late: digests were switched on
    assert digest.recovered() == []


def test_a_digest_by_another_method_is_not_compared() -> None:
    tree, digest = loaded(0, None)
    header, body = TXNS[0]
    tree.apply(header, body, [])
    digest.replayed(1, TxnDigest(3, 1))
    assert digest.mismatches == 0


def test_the_sign_is_java_s() -> None:
    assert ZxidDigest(1, (1 << 64) - 5).signed == -5
    assert ZxidDigest(1, 5).signed == 5
