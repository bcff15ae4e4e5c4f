"""Replies taken apart: the body of each kind of reply as plain values.

In: a reply's body and where it stands in its frame.  Out: values; `RemoteProtocolError` for a body that is cut or lies.
Knows nothing of connections.  Source: the Response records of zookeeper.jute, and MultiResponse.

(1) A decoder takes (buffer, position, end) like those of `wire.records`, and gives the value alone.
"""

from collections.abc import Callable

from coordination import errors
from coordination.errors import KeeperError, RemoteProtocolError
from coordination.wire import opcodes
from coordination.wire.jute import get_bool, get_buffer, get_int, get_string, get_strings, get_vector
from coordination.wire.records import Acl, Stat, get_acls, get_stat

Decoder = Callable[[bytes, int, int], object]
# What one part of a multi gives: the path (create), path and Stat (create2), a Stat (setData), None (delete, check),
# or why it was refused.
WriteResult = str | tuple[str, Stat] | Stat | None | KeeperError
ReadResult = tuple[bytes | None, Stat] | list[str] | KeeperError


def nothing(buf: bytes, pos: int, end: int) -> None:
    """delete, check, auth, close, ping, removeWatches, and addWatch (whose four bytes mean nothing)."""


def path(buf: bytes, pos: int, end: int) -> str:
    return get_string(buf, pos, end)[0]


def path_and_stat(buf: bytes, pos: int, end: int) -> tuple[str, Stat]:
    created, pos = get_string(buf, pos, end)
    return created, get_stat(buf, pos, end)[0]


def stat(buf: bytes, pos: int, end: int) -> Stat:
    return get_stat(buf, pos, end)[0]


def data(buf: bytes, pos: int, end: int) -> tuple[bytes | None, Stat]:
    value, pos = get_buffer(buf, pos, end)
    return value, get_stat(buf, pos, end)[0]


def acl(buf: bytes, pos: int, end: int) -> tuple[tuple[Acl, ...], Stat]:
    entries, pos = get_acls(buf, pos, end)
    return entries, get_stat(buf, pos, end)[0]


def children(buf: bytes, pos: int, end: int) -> list[str]:
    return get_strings(buf, pos, end)[0]


def children_and_stat(buf: bytes, pos: int, end: int) -> tuple[list[str], Stat]:
    names, pos = get_strings(buf, pos, end)
    return names, get_stat(buf, pos, end)[0]


def number(buf: bytes, pos: int, end: int) -> int:
    return get_int(buf, pos, end)[0]


def identities(buf: bytes, pos: int, end: int) -> list[tuple[str, str]]:
    """(scheme, user) of whoAmI."""
    return get_vector(buf, pos, end, _identity)[0]


def _identity(buf: bytes, pos: int, end: int) -> tuple[tuple[str, str], int]:
    scheme, pos = get_string(buf, pos, end)
    user, pos = get_string(buf, pos, end)
    return (scheme, user), pos


def multi(buf: bytes, pos: int, end: int) -> list[WriteResult]:
    """The results of a multi, one per operation. When one was refused nothing happened: those before it are None, it is
    its error, those behind it RuntimeInconsistencyError.
    """
    results: list[WriteResult] = []
    while True:
        kind, done, pos = _part(buf, pos, end)
        if done:
            return results
        if kind == opcodes.ERROR:
            code, pos = get_int(buf, pos, end)
            results.append(errors.from_code(code) if code else None)
        elif kind == opcodes.CREATE:
            created, pos = get_string(buf, pos, end)
            results.append(created)
        elif kind == opcodes.CREATE2:
            created, pos = get_string(buf, pos, end)
            of_it, pos = get_stat(buf, pos, end)
            results.append((created, of_it))
        elif kind == opcodes.SET_DATA:
            of_it, pos = get_stat(buf, pos, end)
            results.append(of_it)
        elif kind in (opcodes.DELETE, opcodes.CHECK):
            results.append(None)
        else:
            raise RemoteProtocolError(f"a multi was answered with a part of opcode {kind}")


def multi_read(buf: bytes, pos: int, end: int) -> list[ReadResult]:
    """The results of a multiRead, one per operation; a refusal stands for itself only."""
    results: list[ReadResult] = []
    while True:
        kind, done, pos = _part(buf, pos, end)
        if done:
            return results
        if kind == opcodes.ERROR:
            code, pos = get_int(buf, pos, end)
            results.append(errors.from_code(code))
        elif kind == opcodes.GET_DATA:
            value, pos = get_buffer(buf, pos, end)
            of_it, pos = get_stat(buf, pos, end)
            results.append((value, of_it))
        elif kind == opcodes.GET_CHILDREN:
            names, pos = get_strings(buf, pos, end)
            results.append(names)
        else:
            raise RemoteProtocolError(f"a multiRead was answered with a part of opcode {kind}")


def _part(buf: bytes, pos: int, end: int) -> tuple[int, bool, int]:
    kind, pos = get_int(buf, pos, end)
    done, pos = get_bool(buf, pos, end)
    _, pos = get_int(buf, pos, end)  # the error once more
    return kind, done, pos
