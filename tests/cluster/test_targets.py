"""The target grammar, as a table."""

import random

import pytest

from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.cluster.targets import View, parse, resolve

VIEW = View(
    brokers=(1, 2, 3, 4),
    live=frozenset({1, 2, 4}),
    controller=2,
    leaders={("demo", 0): 1, ("demo", 1): 2, ("demo", 2): 1, ("demo", 3): -1, ("far", 0): 9},
    followers={("demo", 0): (2, 3), ("demo", 1): (9, 4), ("demo", 2): (), ("far", 0): (1,)},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", [3]),
        (3, [3]),
        ("1,3", [1, 3]),
        ("1-3", [1, 2, 3]),
        ("3,1-3", [3, 1, 2]),
        (" 2 , 1", [2, 1]),
        ("controller", [2]),
        ("leader", [1]),
        ("leader:demo/1", [2]),
        ("follower:demo/0", [2]),
        ("follower:demo/1", [4]),
        ("follower:far/0", [1]),
        ("all", [1, 2, 3, 4]),
        ("coordinator", ["coordinator"]),
        ("zk:leader", ["coordinator"]),
        ("controller,coordinator,2", [2, "coordinator"]),
        (["controller", 3], [2, 3]),
    ],
)
def test_resolves(text: str | int | list[str | int], expected: list[object]) -> None:
    assert resolve(parse(text), VIEW, random.Random(1)) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "3-1", "1,,2", "leader:", "leader:demo", "leader:demo/x", "-1", "zk:2", "1-99999999"]
)
def test_no_target_in_any_cluster(text: str) -> None:
    with pytest.raises(ClusterError) as caught:
        parse(text)
    assert caught.value.code == Code.NOT_FOUND


@pytest.mark.parametrize(
    "text",
    [
        "7",
        "1-9",
        "leader:demo/9",
        "leader:nope/0",
        "leader:demo/3",
        "leader:far/0",
        "follower:demo/2",
        "random,random,random,random",
    ],
)
def test_unknown_here(text: str) -> None:
    with pytest.raises(ClusterError) as caught:
        resolve(parse(text), VIEW, random.Random(1))
    assert caught.value.code == Code.NOT_FOUND
    assert "valid targets: 1, 2, 3, 4, controller" in caught.value.why


def test_random_is_seeded_live_and_without_repeats() -> None:
    chosen = resolve(parse("random,random,random"), VIEW, random.Random(5))
    assert set(chosen) == {1, 2, 4}
    assert chosen == resolve(parse("random,random,random"), VIEW, random.Random(5))


def test_roles_nobody_has() -> None:
    empty = View(brokers=(1,), live=frozenset(), embedded=False)
    for text in ("controller", "leader", "random", "coordinator"):
        with pytest.raises(ClusterError) as caught:
            resolve(parse(text), empty, random.Random(1))
        assert caught.value.code == Code.NOT_FOUND
    assert empty.valid() == ["1", "all"]


def test_a_controller_on_another_host_is_not_ours_to_kill() -> None:
    view = View(brokers=(1,), live=frozenset({1}), controller=9)
    with pytest.raises(ClusterError, match="another host"):
        resolve(parse("controller"), view, random.Random(1))
