"""Replies taken apart: what a server writes is read back, and bytes that are no reply are refused, never misread."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination import errors
from coordination.errors import RemoteProtocolError
from coordination.tools import answers
from coordination.wire import opcodes
from coordination.wire.jute import pack_int, put_buffer, put_string, put_strings, put_vector
from coordination.wire.records import OPEN_ACL, Stat, put_acls
from coordination.wire.replies import MULTI_END, multi_error, multi_part

STAT = Stat(*range(1, 12))
BODIES: list[tuple[Callable[[bytes, int, int], object], bytes, object]] = [
    (answers.path, put_string("/a"), "/a"),
    (answers.path_and_stat, put_string("/a") + STAT.encode(), ("/a", STAT)),
    (answers.stat, STAT.encode(), STAT),
    (answers.data, put_buffer(b"x") + STAT.encode(), (b"x", STAT)),
    (answers.data, put_buffer(None) + STAT.encode(), (None, STAT)),
    (answers.acl, put_acls(OPEN_ACL) + STAT.encode(), (OPEN_ACL, STAT)),
    (answers.children, put_strings(["a", "b"]), ["a", "b"]),
    (answers.children_and_stat, put_strings([]) + STAT.encode(), ([], STAT)),
    (answers.number, pack_int(7), 7),
    (
        answers.identities,
        put_vector([("ip", "::1"), ("digest", "u")], lambda each: put_string(each[0]) + put_string(each[1])),
        [("ip", "::1"), ("digest", "u")],
    ),
    (
        answers.multi,
        multi_part(opcodes.CREATE, put_string("/a"))
        + multi_part(opcodes.CREATE2, put_string("/b") + STAT.encode())
        + multi_part(opcodes.SET_DATA, STAT.encode())
        + multi_part(opcodes.DELETE)
        + multi_part(opcodes.CHECK)
        + MULTI_END,
        ["/a", ("/b", STAT), STAT, None, None],
    ),
    (
        answers.multi_read,
        multi_part(opcodes.GET_DATA, put_buffer(b"") + STAT.encode())
        + multi_part(opcodes.GET_CHILDREN, put_strings(["a"]))
        + MULTI_END,
        [(b"", STAT), ["a"]],
    ),
]
DECODERS = sorted({each[0] for each in BODIES}, key=lambda decoder: decoder.__name__)


@pytest.mark.parametrize(("decoder", "body", "value"), BODIES)
def test_what_a_server_writes_is_read(decoder: Callable[[bytes, int, int], object], body: bytes, value: object) -> None:
    assert decoder(body, 0, len(body)) == value
    padded = b"before" + body + b"behind"
    assert decoder(padded, 6, 6 + len(body)) == value


@pytest.mark.parametrize(("decoder", "body", "value"), BODIES)
def test_a_cut_reply_is_refused_wherever_it_is_cut(
    decoder: Callable[[bytes, int, int], object], body: bytes, value: object
) -> None:
    for end in range(len(body)):
        with pytest.raises(RemoteProtocolError):
            decoder(body, 0, end)


@given(st.sampled_from(DECODERS), st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_refusal(decoder: Callable[[bytes, int, int], object], body: bytes) -> None:
    with suppress(RemoteProtocolError):
        decoder(body, 0, len(body))


def test_a_refused_multi() -> None:
    body = multi_error(0) + multi_error(-101) + multi_error(-2) + MULTI_END
    first, second, third = answers.multi(body, 0, len(body))
    assert first is None
    assert isinstance(second, errors.NoNodeError)
    assert isinstance(third, errors.RuntimeInconsistencyError)
