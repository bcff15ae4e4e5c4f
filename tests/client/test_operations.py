"""What the operations do and how they refuse: the same on every server."""

import base64
import hashlib
from functools import partial
from typing import Any

import pytest
import trio

import coordination
from coordination import Check, Create, Delete, Set


async def test_a_znode_lives_through_its_operations(zk: coordination.Client, root: str) -> None:
    path = f"{root}/a"
    assert await zk.exists(path) is None
    assert await zk.create(path, b"one") == path
    value, stat = await zk.get(path)
    assert (value, stat.version, stat.data_length, stat.ephemeral_owner) == (b"one", 0, 3, 0)
    assert (await zk.set(path, b"two")).version == 1
    assert await zk.exists(path) == (await zk.get(path))[1]
    assert await zk.children(root) == ["a"]
    await zk.delete(path)
    assert await zk.exists(path) is None


async def test_create2_tells_the_stat_of_its_own_txn(zk: coordination.Client, root: str) -> None:
    path, stat = await zk.create2(f"{root}/a", b"x", ephemeral=True)
    assert path == f"{root}/a"
    assert stat.czxid == stat.mzxid == stat.pzxid > 0
    assert stat.ephemeral_owner == zk.session_id


async def test_an_empty_value_is_bytes(zk: coordination.Client, root: str) -> None:
    await zk.create(f"{root}/a")
    assert (await zk.get(f"{root}/a"))[0] == b""
    await zk.set(f"{root}/a", b"")
    assert (await zk.get(f"{root}/a"))[0] == b""


async def test_sequence_numbers_rise_and_are_not_used_again(zk: coordination.Client, root: str) -> None:
    first = await zk.create(f"{root}/n-", sequence=True)
    await zk.delete(first)
    second = await zk.create(f"{root}/n-", sequence=True, ephemeral=True)
    bare = await zk.create(f"{root}/", sequence=True)
    assert first == f"{root}/n-0000000000"
    assert second > first
    assert bare.rpartition("/")[2].isdigit()
    assert await zk.children(root) == sorted(path.rpartition("/")[2] for path in (second, bare))


async def test_children_are_sorted_and_come_with_their_parents_stat(zk: coordination.Client, root: str) -> None:
    for name in ("c", "a", "b"):
        await zk.create(f"{root}/{name}")
    names, stat = await zk.children_with_stat(root)
    assert names == ["a", "b", "c"]
    assert (stat.num_children, stat.cversion) == (3, 3)


async def test_makepath_and_ensure_path_make_what_is_missing(zk: coordination.Client, root: str) -> None:
    assert await zk.create(f"{root}/a/b/c", b"x", makepath=True) == f"{root}/a/b/c"
    await zk.ensure_path(f"{root}/a/b/d/e")
    await zk.ensure_path(f"{root}/a/b/d/e")
    assert await zk.children(f"{root}/a/b") == ["c", "d"]


async def test_makepath_from_many_tasks_at_once(zk: coordination.Client, root: str) -> None:
    async with trio.open_nursery() as nursery:
        for i in range(10):
            nursery.start_soon(partial(zk.create, f"{root}/deep/er/{i}", makepath=True))
    assert len(await zk.children(f"{root}/deep/er")) == 10


async def test_delete_recursive_takes_everything_and_minds_nothing_missing(zk: coordination.Client, root: str) -> None:
    await zk.create(f"{root}/a/b/c", makepath=True)
    await zk.delete(f"{root}/a", recursive=True)
    await zk.delete(f"{root}/a", recursive=True)
    assert await zk.children(root) == []


async def test_sync_returns(zk: coordination.Client, root: str) -> None:
    await zk.sync(root)


REFUSALS: list[tuple[str, tuple[Any, ...], type[coordination.KeeperError]]] = [
    ("get", ("{root}/none",), coordination.NoNodeError),
    ("set", ("{root}/none", b""), coordination.NoNodeError),
    ("delete", ("{root}/none",), coordination.NoNodeError),
    ("children", ("{root}/none",), coordination.NoNodeError),
    ("create", ("{root}/none/child",), coordination.NoNodeError),
    ("create", ("{root}/full",), coordination.NodeExistsError),
    ("delete", ("{root}/full",), coordination.NotEmptyError),
    ("set", ("{root}/full", b"", 7), coordination.BadVersionError),
    ("delete", ("{root}/full/child", 7), coordination.BadVersionError),
    ("create", ("{root}/ephemeral/child",), coordination.NoChildrenForEphemeralsError),
    ("get", ("relative",), coordination.BadArgumentsError),
    ("create", ("{root}//double",), coordination.BadArgumentsError),
    ("watch_data", ("{root}/",), coordination.BadArgumentsError),
]


@pytest.mark.parametrize(("operation", "arguments", "error"), REFUSALS)
async def test_refusals_name_the_error_and_the_path(
    zk: coordination.Client,
    root: str,
    operation: str,
    arguments: tuple[Any, ...],
    error: type[coordination.KeeperError],
) -> None:
    await zk.create(f"{root}/full")
    await zk.create(f"{root}/full/child")
    await zk.create(f"{root}/ephemeral", ephemeral=True)
    path, *rest = arguments
    with pytest.raises(error) as refused:
        await getattr(zk, operation)(path.format(root=root), *rest)
    assert type(refused.value) is error
    assert refused.value.path == path.format(root=root)
    assert await zk.exists(root) is not None  # the client is as good as before


async def test_multi_does_all_of_it(zk: coordination.Client, root: str) -> None:
    await zk.create(f"{root}/old", b"x")
    created, stat, checked, deleted, numbered = await zk.multi(
        [
            Create(f"{root}/new", b"1", ephemeral=True),
            Set(f"{root}/new", b"2", 0),
            Check(f"{root}/old", 0),
            Delete(f"{root}/old", 0),
            Create(f"{root}/n-", sequence=True),
        ]
    )
    assert created == f"{root}/new"
    assert isinstance(stat, coordination.Stat)
    now = await zk.exists(f"{root}/new")
    assert now is not None
    assert (stat.version, stat.czxid, stat.mzxid) == (1, now.czxid, now.mzxid)
    assert checked is True
    assert deleted is True
    assert isinstance(numbered, str)
    assert await zk.children(root) == sorted(["new", numbered.rpartition("/")[2]])


@pytest.mark.parametrize("position", [0, 1, 2])
async def test_a_refused_multi_did_nothing_and_says_which_operation(
    zk: coordination.Client, root: str, position: int
) -> None:
    operations: list[Any] = [Create(f"{root}/a"), Set(root, b"changed")]
    operations.insert(position, Check(root, 99))
    with pytest.raises(coordination.MultiError) as refused:
        await zk.multi(operations)
    assert refused.value.index == position
    assert isinstance(refused.value.error, coordination.BadVersionError)
    assert refused.value.path == root
    assert await zk.children(root) == []
    assert (await zk.get(root))[0] == b""


async def test_an_empty_multi_asks_nobody(zk: coordination.Client) -> None:
    assert await zk.multi([]) == []


async def test_many_calls_at_once_answer_each_its_own_task(zk: coordination.Client, root: str) -> None:
    found: dict[int, bytes] = {}

    async def one(i: int) -> None:
        await zk.create(f"{root}/{i}", b"%d" % i)
        found[i] = (await zk.get(f"{root}/{i}"))[0]

    async with trio.open_nursery() as nursery:
        for i in range(300):
            nursery.start_soon(one, i)
    assert found == {i: b"%d" % i for i in range(300)}


async def test_a_large_value_comes_back_whole(zk: coordination.Client, root: str) -> None:
    value = bytes(range(256)) * 3000
    await zk.set(root, value)
    assert (await zk.get(root))[0] == value


async def test_a_connect_string_may_name_a_root_of_its_own(shared: Any, zk: coordination.Client, root: str) -> None:
    async with coordination.connect(shared.connect + root) as inside:
        assert await inside.create("/a", b"x") == "/a"
        created = await inside.multi([Create("/b")])
        async with inside.watch_children("/") as changes:
            assert await anext(changes) == ["a", "b"]
            await zk.create(f"{root}/c")
            assert await anext(changes) == ["a", "b", "c"]
    assert created == ["/b"]
    assert await zk.children(root) == ["a", "b", "c"]


async def test_the_password_is_not_shown(zk: coordination.Client) -> None:
    secret = zk.session_password
    assert len(secret.reveal()) == 16
    assert any(secret.reveal())
    shown = f"{secret} {secret!r} {zk!r} {vars(zk)}"
    assert secret.reveal().hex() not in shown
    assert repr(secret.reveal()) not in shown


async def test_credentials_are_given_at_every_connection(shared: Any, zk: coordination.Client, root: str) -> None:
    # What ZooKeeper keeps of user:secret: user, and the base64 of the SHA-1 of both.
    digest = "user:" + base64.b64encode(hashlib.sha1(b"user:secret").digest()).decode()
    async with coordination.connect(shared.connect, auth=[("digest", "user:secret")]) as user:
        await user.create(f"{root}/mine", b"x", acl=[(31, "digest", digest)])
        await user.set_session_timeout(20_000)  # attached anew
        assert (await user.get(f"{root}/mine"))[0] == b"x"
    with pytest.raises(coordination.NoAuthError):
        await zk.get(f"{root}/mine")
