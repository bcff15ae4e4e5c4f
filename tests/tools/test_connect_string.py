"""Connect strings as a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.errors import LocalProtocolError
from coordination.tools.connect_string import parse

GOOD = [
    ("localhost", (("localhost", 2181),), ""),
    ("localhost:2182", (("localhost", 2182),), ""),
    ("a:1,b:2,c", (("a", 1), ("b", 2), ("c", 2181)), ""),
    (" a:1 , b:2 ", (("a", 1), ("b", 2)), ""),
    ("[::1]:2181,[fe80::1]", (("::1", 2181), ("fe80::1", 2181)), ""),
    ("a:1/app", (("a", 1),), "/app"),
    ("a:1,b:2/app/x", (("a", 1), ("b", 2)), "/app/x"),
    ("a:1/", (("a", 1),), ""),
]
BAD = ["", "/app", ",", "a:b", "a:0", "a:65536", ":2181", "::1", "[::1", "[::1]x", "a:1/app/", "a:1//x", "a:1/../x"]


@pytest.mark.parametrize(("text", "addresses", "chroot"), GOOD)
def test_good_ones(text: str, addresses: tuple[tuple[str, int], ...], chroot: str) -> None:
    found = parse(text)
    assert (found.addresses, found.chroot) == (addresses, chroot)


@pytest.mark.parametrize("text", BAD)
def test_bad_ones_say_why(text: str) -> None:
    with pytest.raises(LocalProtocolError) as raised:
        parse(text)
    assert len(str(raised.value)) > 20


@given(st.lists(st.text("abc", min_size=1), max_size=4).map(lambda names: "/" + "/".join(names)))
def test_a_chroot_comes_off_again(path: str) -> None:
    for text in ("h", "h/app", "h/app/a"):
        where = parse(text)
        assert where.client_path(where.server_path(path)) == path
        assert where.server_path(path).startswith(where.chroot or "/")


def test_a_path_outside_the_chroot_is_left_alone() -> None:
    assert parse("h/app").client_path("/zookeeper/config") == "/zookeeper/config"
    assert parse("h/app").client_path("/apple") == "/apple"
