"""Znode paths: which strings are one, and how to take them apart.

In: a str as it came off the wire.  Out: the same str, or a `BadArgumentsError` that says what is wrong with it.
Knows no tree.  Answers to ZooKeeper's PathUtils and ZKUtil.

(1) A valid path is absolute, has no empty, `.` or `..` name, no trailing slash (but the root) and no character that
    cannot be printed safely: the ranges are PathUtils.validatePath's.
"""

import re

from coordination.errors import BadArgumentsError

SEQUENCE_DIGITS = 10

# The whole rule as one match on the hot path; `why_invalid` finds the words only once it has failed.
# Characters beyond U+FFFF are none for Java's validatePath, which sees their two surrogates.
_BAD = "\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\uffff\U00010000-\U0010ffff"
_VALID = re.compile(rf"/|(?:/(?!\.{{1,2}}(?:/|\Z))[^/{_BAD}]+)+")
_BAD_CHARACTER = re.compile(f"[{_BAD}]")


def is_valid(path: str) -> bool:
    return _VALID.fullmatch(path) is not None


def why_invalid(path: str) -> str:
    """Why `path` is no znode path, in words; empty if it is one."""
    if is_valid(path):
        return ""
    if not path:
        return "a path cannot be empty"
    if path[0] != "/":
        return "a path must start with /"
    bad = _BAD_CHARACTER.search(path)
    if bad:
        return f"character U+{ord(bad.group()):04X} at position {bad.start()} is not allowed"
    if path.endswith("/"):
        return "a path must not end with /"
    if "//" in path:
        return "a path must not hold an empty name (//)"
    return "a path must not hold the names . and .."


def validate(path: str) -> str:
    """`path` itself; `BadArgumentsError` with the reason if it is not a znode path."""
    if _VALID.fullmatch(path) is None:
        raise BadArgumentsError(path, why_invalid(path))
    return path


def parent_of(path: str) -> str:
    """The parent's path; the root's parent is the root."""
    return path[: path.rfind("/")] or "/"


def name_of(path: str) -> str:
    """The last name of a path; empty for the root."""
    return path[path.rfind("/") + 1 :]


def join(parent: str, name: str) -> str:
    return f"/{name}" if parent == "/" else f"{parent}/{name}"


def with_sequence(path: str, number: int) -> str:
    """The name of a sequential znode: `%010d`, and an overflown (negative) number as Java prints it."""
    return f"{path}{number:0{SEQUENCE_DIGITS}d}"


def is_under(path: str, top: str) -> bool:
    """Is `path` `top` itself or below it?"""
    return path == top or top == "/" or path.startswith(top + "/")
