"""Which strings are znode paths (cases of ZooKeeper's PathUtilsTest and our own), and the table of error codes."""

import pytest

from coordination import errors, paths

GOOD = ["/", "/a", "/a/b", "/this is / a valid/path", "/.a", "/a.", "/a..b", "/...", "/ä/漢字", "/a/..b", "/ "]
BAD = ["", "a", "a/b", "/a/", "//", "/a//b", "/.", "/..", "/a/.", "/a/..", "/./a", "/../a", "/a/./b", "/a/../b"]
BAD += ["/a\0b", "/a\x01", "/a\x1f", "/a\x7f", "/a\x9f", "/\ud800", "/\uf8ff", "/\ufff0", "/a\n"]


@pytest.mark.parametrize("path", GOOD)
def test_good(path: str) -> None:
    assert paths.validate(path) == path
    assert paths.why_invalid(path) == ""


@pytest.mark.parametrize("path", BAD)
def test_bad(path: str) -> None:
    with pytest.raises(errors.BadArgumentsError):
        paths.validate(path)
    assert paths.why_invalid(path)


def test_parents_and_names() -> None:
    assert [paths.parent_of(p) for p in ("/", "/a", "/a/b")] == ["/", "/", "/a"]
    assert [paths.name_of(p) for p in ("/", "/a", "/a/b")] == ["", "a", "b"]
    assert paths.join("/", "a") == "/a"
    assert paths.join("/a", "b") == "/a/b"
    assert paths.is_under("/ab", "/a") is False
    assert paths.is_under("/a/b", "/a") is True


def test_sequence_numbers_as_java_prints_them() -> None:
    assert paths.with_sequence("/q-", 7) == "/q-0000000007"
    assert paths.with_sequence("/q-", 12345678901) == "/q-12345678901"
    assert paths.with_sequence("/q-", -2147483648) == "/q--2147483648"


def test_one_class_per_code() -> None:
    # The room's own: elsewhere an error may carry the code of another (a refused multi).
    classes = [each for each in errors.KeeperError.__subclasses__() if each.__module__ == errors.__name__]
    assert len({each.code for each in classes}) == len(classes)
    for each in classes:
        assert type(errors.from_code(each.code, "/x")) is each
    assert "-9999" in str(errors.from_code(-9999))
