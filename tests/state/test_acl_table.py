"""ACLs are remembered as long as a znode has them: a client that sets a new one each time must not fill the memory."""

from coordination.state.acl_table import OPEN_ACL_NUMBER, AclTable
from coordination.state.data_tree import DataTree
from coordination.state.txn import CloseSessionTxn, CreateTxn, DeleteTxn, SetAclTxn, TxnBody, TxnHeader
from coordination.wire import opcodes
from coordination.wire.records import OPEN_ACL, Acl

SESSION = 0x10


def acl(number: int) -> tuple[Acl, ...]:
    return (Acl(31, "digest", f"user-{number}:x"),)


class Tree(DataTree):
    def do(self, body: TxnBody, type_: int = opcodes.CREATE) -> None:
        self.apply(TxnHeader(SESSION, 1, self.last_zxid + 1, 1, type_), body, [])
        self.check_invariants()


def test_a_number_is_never_given_twice() -> None:
    table = AclTable()
    assert table.use((Acl(31, "world", "anyone"),)) is OPEN_ACL
    assert table.number(OPEN_ACL) == OPEN_ACL_NUMBER
    first = table.use(acl(1))
    assert table.use(acl(1)) is first
    assert table.by_number() == {1: first}
    table.release(first)
    assert len(table) == 1
    table.release(first)
    table.release(OPEN_ACL)
    assert len(table) == 0
    assert table.number(table.use(acl(2))) == 2


def test_an_acl_goes_with_its_last_znode_whatever_takes_it() -> None:
    tree = Tree()
    at_rest = tree.acl_table()  # that of /zookeeper/config
    for n in range(50):
        tree.do(CreateTxn(f"/n{n}", b"", acl(n), ephemeral=n % 2 == 1, parent_cversion=-1))
    assert len(tree.acl_table()) == len(at_rest) + 50
    for n in range(0, 50, 4):
        tree.do(DeleteTxn(f"/n{n}"), opcodes.DELETE)
    for n in range(2, 50, 4):
        tree.do(SetAclTxn(f"/n{n}", acl(1), n), opcodes.SET_ACL)
        tree.do(SetAclTxn(f"/n{n}", OPEN_ACL, n), opcodes.SET_ACL)
    tree.do(CloseSessionTxn([]), opcodes.CLOSE_SESSION)
    assert tree.acl_table() == at_rest


def test_replaying_over_a_fuzzy_snapshot_counts_right() -> None:
    tree = Tree()
    tree.do(CreateTxn("/a", b"", acl(1), ephemeral=False, parent_cversion=1))
    tree.do(CreateTxn("/a/b", b"", acl(2), ephemeral=False, parent_cversion=1))
    tree.do(CreateTxn("/a", b"", acl(3), ephemeral=False, parent_cversion=1))  # the snapshot held it already
    assert acl(1) not in tree.acl_table().values()
    tree.do(DeleteTxn("/a"), opcodes.DELETE)  # and what is below it
    assert len(tree.acl_table()) == 1


def test_a_snapshot_brings_only_what_it_uses() -> None:
    tree = Tree()
    tree.do(CreateTxn("/a", b"", acl(1), ephemeral=False, parent_cversion=1))
    other = Tree()
    other.do(CreateTxn("/gone", b"", acl(9), ephemeral=False, parent_cversion=1))
    other.load({**tree.acl_table(), 77: acl(7)}, list(tree.dump()), tree.last_zxid)
    other.check_invariants()
    assert set(map(tuple, other.acl_table().values())) == set(map(tuple, tree.acl_table().values()))
    assert other.data_bytes == tree.data_bytes
