"""Quotas: limits and sums as text, the nearest limit, sums that follow every change, refusals."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.auth.settings import AuthSettings
from coordination.errors import KeeperError, MarshallingError, QuotaExceededError, from_code
from coordination.state import quotas
from coordination.state.clock import Clock
from coordination.state.data_tree import Change, DataTree
from coordination.state.prep import Prep
from coordination.state.quotas import Exceeded, LimitedPaths, encode, exceeded, limits_path, parse, sums_path
from coordination.state.txn import ErrorTxn, MultiTxn, TxnBody, TxnHeader
from coordination.wire import opcodes, requests
from coordination.wire.records import OPEN_ACL, STAT_BYTES, get_stat
from coordination.wire.requests import Create, Delete, Multi, SetData

from .conftest import Machine


@pytest.mark.parametrize(
    ("data", "numbers"),
    [
        (b"", {}),
        (b"count=5,bytes=-1", {"count": 5, "bytes": -1}),
        (
            b"count=4,bytes=5=;byteHardLimit=10;countHardLimit=6",
            {"count": 4, "bytes": 5, "byteHardLimit": 10, "countHardLimit": 6},
        ),
        (b"count=1,;,bytes=2", {"count": 1, "bytes": 2}),
        (b"count=+007,bytes=-00", {"count": 7, "bytes": 0}),
        (b"count=" + b"0" * 9000 + b"3", {"count": 3}),
        (b"count=9223372036854775807,bytes=-9223372036854775808", {"count": (1 << 63) - 1, "bytes": -(1 << 63)}),
    ],
)
def test_numbers(data: bytes, numbers: dict[str, int]) -> None:
    assert parse(data) == numbers


@pytest.mark.parametrize(
    "data",
    [
        *(b"nonsense", b"count=", b"count=x", b",count=1", b"=", b"count=1 ,bytes=2", b"\xff", None),
        *(b"count=9223372036854775808", b"count=-9223372036854775809", b"bytes=" + b"9" * 9000),
    ],
)
def test_what_is_no_number_is_refused(data: bytes | None) -> None:
    with pytest.raises(MarshallingError):
        parse(data)


@pytest.mark.parametrize(
    ("numbers", "data"),
    [
        ({}, b"count=-1,bytes=-1"),
        ({"count": 5}, b"count=5,bytes=-1"),
        (
            {"countHardLimit": 6, "byteHardLimit": 10, "bytes": 5},
            b"count=-1,bytes=5=;byteHardLimit=10;countHardLimit=6",
        ),
    ],
)
def test_text(numbers: dict[str, int], data: bytes) -> None:
    assert encode(numbers) == data


@given(
    st.dictionaries(
        st.sampled_from(["count", "bytes", "countHardLimit", "byteHardLimit", "x"]), st.integers(-1, 1 << 62)
    )
)
def test_text_comes_back(numbers: dict[str, int]) -> None:
    assert parse(encode(numbers)) == {"count": -1, "bytes": -1} | numbers


@pytest.mark.parametrize(
    ("limits", "count", "size", "found"),
    [
        (b"count=5,bytes=-1", 1, 0, []),
        (b"count=3,bytes=-1", 1, 0, [Exceeded("/a", "count", 3, 4, False)]),
        (b"count=-1,bytes=-1=;countHardLimit=3", 1, 0, [Exceeded("/a", "count", 3, 4, True)]),
        (b"count=2,bytes=-1=;countHardLimit=9", 1, 0, []),  # the hard limit hides the soft one
        (b"count=1,bytes=1", 0, 0, []),  # what does not change is not looked at
        (b"count=1,bytes=20", 0, -5, []),
        (b"count=9,bytes=14", 1, 5, [Exceeded("/a", "bytes", 14, 15, False)]),
        (
            b"count=3,bytes=1=;byteHardLimit=14",
            1,
            5,
            [Exceeded("/a", "count", 3, 4, False), Exceeded("/a", "bytes", 14, 15, True)],
        ),
        (b"count=0,bytes=-1", 1, 0, [Exceeded("/a", "count", 0, 4, False)]),
    ],
)
def test_limits(limits: bytes, count: int, size: int, found: list[Exceeded]) -> None:
    assert exceeded("/a", limits, b"count=3,bytes=10", count, size) == found


def test_the_nearest_limit_counts() -> None:
    paths = LimitedPaths()
    assert paths.nearest("/a/b") is None
    for path in ("/a", "/a/b/c", ""):
        paths.add(path)
    assert paths.nearest("/a") == "/a"
    assert paths.nearest("/a/b") == "/a"
    assert paths.nearest("/a/b/c/d/e") == "/a/b/c"
    assert paths.nearest("/ab") is None
    assert paths.nearest("/") is None
    assert paths.nearest("/zookeeper/quota/a") is None
    paths.discard("/a/b/c")
    assert paths.nearest("/a/b/c/d") == "/a"


class Server:
    """Prep and tree, every txn applied at once."""

    def __init__(self) -> None:
        self.tree = DataTree()
        self.reports: list[Exceeded] = []
        self.prep = Prep(
            self.tree,
            AuthSettings().access_control(),
            enforce_quota=True,
            report=lambda each: self.reports.append(each),
        )
        self.zxid = 0
        self.txns: list[tuple[TxnHeader, TxnBody]] = []

    def do(self, request: Create | SetData | Delete | Multi) -> None:
        self.zxid += 1
        body = self.prep.decide(request, 1, self.zxid, ())
        for part in (part for _, part in body.parts) if isinstance(body, MultiTxn) else ():
            if isinstance(part, ErrorTxn) and part.code:
                raise from_code(part.code)
        header = TxnHeader(1, 0, self.zxid, 0, request.opcode)
        changes: list[Change] = []
        self.tree.apply(header, body, changes)
        self.prep.settled(self.zxid)
        self.txns.append((header, body))

    def create(self, path: str, data: bytes = b"") -> None:
        self.do(Create(1, opcodes.CREATE, path, data, OPEN_ACL, 0))

    def limit(self, path: str, limits: bytes) -> None:
        at = quotas.QUOTA_ROOT
        for name in path.split("/")[1:]:
            at += "/" + name
            if at not in self.tree.nodes:
                self.create(at)
        self.create(limits_path(path), limits)
        self.create(sums_path(path), b"count=0,bytes=0")

    def sums(self, path: str) -> dict[str, int]:
        return parse(self.tree.nodes[sums_path(path)].data)


def test_sums_begin_with_what_is_there_and_follow_every_change() -> None:
    server = Server()
    for path, data in (("/a", b"1"), ("/a/b", b"22"), ("/other", b"333")):
        server.create(path, data)
    server.limit("/a", b"count=100,bytes=100")
    assert server.sums("/a") == {"count": 2, "bytes": 3}
    server.create("/a/c", b"4444")
    server.create("/other/x", b"1")
    assert server.sums("/a") == {"count": 3, "bytes": 7}
    server.do(SetData(1, "/a/c", b"", -1))
    assert server.sums("/a") == {"count": 3, "bytes": 3}
    server.do(Delete(1, "/a/b", -1))
    assert server.sums("/a") == {"count": 2, "bytes": 1}
    assert not server.reports


def test_a_stat_tells_the_length_of_the_sums() -> None:
    server = Server()
    server.create("/a")
    server.limit("/a", b"count=100,bytes=-1")
    node = server.tree.nodes[sums_path("/a")]
    for number in range(12):
        server.create(f"/a/{number}", b"x" * number)
        assert node.data is not None
        assert int.from_bytes(node.stat[52:56], "big") == len(node.data)


def test_a_hard_limit_refuses_and_a_soft_one_reports() -> None:
    server = Server()
    server.create("/a")
    server.limit("/a", b"count=2,bytes=-1=;byteHardLimit=10")
    server.create("/a/1", b"12345")
    server.create("/a/2")
    assert server.reports == [Exceeded("/a", "count", 2, 3, False)]
    with pytest.raises(QuotaExceededError):
        server.create("/a/3", b"123456")
    with pytest.raises(QuotaExceededError):
        server.do(SetData(1, "/a/1", b"x" * 11, -1))
    server.do(SetData(1, "/a/1", b"x" * 10, -1))
    assert server.sums("/a") == {"count": 3, "bytes": 10}


def test_a_multi_is_refused_as_a_whole() -> None:
    server = Server()
    server.create("/a")
    server.limit("/a", b"count=-1,bytes=-1=;countHardLimit=1")
    parts = [Create(0, opcodes.CREATE, path, b"", OPEN_ACL, 0) for path in ("/free", "/a/full")]
    with pytest.raises(QuotaExceededError):
        server.do(Multi(1, list(parts)))
    assert "/free" not in server.tree.nodes
    assert len(server.prep) == 0


def test_limits_that_cannot_be_read_refuse_and_sums_that_cannot_are_counted_anew() -> None:
    server = Server()
    server.create("/a", b"12")
    server.limit("/a", b"count=5,bytes=-1")
    server.do(SetData(1, sums_path("/a"), b"nonsense", -1))
    server.do(SetData(1, limits_path("/a"), b"", -1))
    server.create("/a/1", b"3")
    assert server.sums("/a") == {"count": 2, "bytes": 3}
    server.do(SetData(1, limits_path("/a"), b"nonsense", -1))
    with pytest.raises(MarshallingError):
        server.create("/a/2")


def test_a_lifted_limit_lets_all_through_and_the_one_above_counts_again() -> None:
    server = Server()
    server.create("/a")
    server.create("/a/b")
    server.limit("/a", b"count=-1,bytes=-1=;countHardLimit=3")
    server.limit("/a/b", b"count=-1,bytes=-1=;countHardLimit=1")
    with pytest.raises(QuotaExceededError):
        server.create("/a/b/c")
    server.do(Delete(1, limits_path("/a/b"), -1))
    server.create("/a/b/c")
    assert server.sums("/a")["count"] == 3
    with pytest.raises(QuotaExceededError):
        server.create("/a/b/d")


PATHS = ["/a", "/a/b", "/a/b/c", "/a/d", "/e"]
STEPS = st.lists(st.tuples(st.sampled_from("cds"), st.sampled_from(PATHS), st.binary(max_size=4)), max_size=30)


@settings(deadline=None)
@given(STEPS, st.integers(0, 30), st.sampled_from(["/a", "/a/b"]))
def test_sums_are_always_those_of_the_subtree(steps: list[tuple[str, str, bytes]], when: int, limited: str) -> None:
    """Whatever happens, and also after a snapshot was taken and loaded in the middle."""
    server = Server()
    for number, (what, path, data) in enumerate([*steps, ("c", "/e/last", b"")]):
        if number == when:
            server.limit(limited, b"count=1000,bytes=1000")
        try:
            if what == "c":
                server.create(path, data)
            elif what == "d":
                server.do(Delete(1, path, -1))
            else:
                server.do(SetData(1, path, data, -1))
        except KeeperError:
            continue
        if number >= when:
            inside = [
                node.data or b""
                for path, node in server.tree.nodes.items()
                if path == limited or path.startswith(limited + "/")
            ]
            assert server.sums(limited) == {"count": len(inside), "bytes": sum(map(len, inside))}
    loaded = DataTree()
    loaded.load(
        server.tree.acl_table(),
        list(server.tree.dump()),
        server.zxid,
    )
    assert {path: node.data for path, node in loaded.nodes.items()} == {
        path: node.data for path, node in server.tree.nodes.items()
    }
    assert loaded.limited.paths == server.tree.limited.paths
    loaded.check_invariants()


@pytest.mark.parametrize(("limits", "sums"), [(None, b""), (b"nonsense", b""), (b"count=9", None), (b"count=9", b"x")])
def test_what_cannot_be_read_refuses_the_write_as_in_zookeeper(limits: bytes | None, sums: bytes | None) -> None:
    """Found in lock step with Apache ZooKeeper: null is no empty text."""
    with pytest.raises(MarshallingError):
        exceeded("/a", limits, sums, 1, 0)


def test_limits_must_be_readable_even_where_no_sums_are_kept() -> None:
    server = Server()
    server.create("/a")
    server.limit("/a", b"nonsense")
    server.do(Delete(1, sums_path("/a"), -1))
    with pytest.raises(MarshallingError):
        server.create("/a/b")
    server.do(Delete(1, limits_path("/a"), -1))
    server.create("/a/b")


def test_the_stat_a_create_answers_is_that_of_what_was_given_not_of_the_sums_put_there() -> None:
    machine = Machine()
    client = machine.client()
    given = b"count=0,bytes=0"
    for path, data in (("/q", b"x" * 50), ("/zookeeper/quota/q", b""), (sums_path("/q"), given)):
        answer = client.call(requests.Create(1, opcodes.CREATE2, path, data, OPEN_ACL, 0))
    stat, _ = get_stat(answer.body, len(answer.body) - STAT_BYTES, len(answer.body))
    assert stat.data_length == len(given)
    assert machine.pipeline.tree.get(sums_path("/q")).data == b"count=1,bytes=50"


def test_a_limit_is_told_of_once_a_second_and_not_remembered_for_ever() -> None:
    told: list[str] = []
    clock = Clock(0)
    reports = quotas.Reports(lambda name, **details: told.append(details["path"]), clock, lambda namespace: None)

    def meets(path: str) -> None:
        reports(Exceeded(path, quotas.COUNT, 1, 2, hard=False))

    for now_ms in (0, 999, 1000):
        clock.now_ms = now_ms
        meets("/a")
    assert told == ["/a", "/a"]
    for number in range(3 * quotas.TOLD_MAX):
        meets(f"/{number}")
    assert len(reports) <= quotas.TOLD_MAX
