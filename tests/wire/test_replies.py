"""Replies and events as the real server sent them (frames of peers' probe), and back."""

import pytest

from coordination.errors import RemoteProtocolError
from coordination.wire import replies
from coordination.wire.records import (
    ConnectResponse,
    Stat,
    decode_connect_response,
    get_stat,
)
from coordination.wire.replies import ReplyHeader, WatcherEvent, decode_event, decode_header


def test_reply() -> None:
    raw = replies.reply(1, 7, bytes.fromhex("000000062f70726f6265"))
    assert raw.hex() == "0000001a00000001000000000000000700000000000000062f70726f6265"
    assert decode_header(raw, 4, len(raw)) == (ReplyHeader(1, 7, 0), 20)


def test_error_reply_has_no_body() -> None:
    assert replies.error_reply(2, 8, -110).hex() == "00000010000000020000000000000008ffffff92"


def test_event() -> None:
    raw = replies.event(3, "/probe", 11)
    assert raw[20:].hex() == "0000000300000003000000062f70726f6265"
    header, after = decode_header(raw, 4, len(raw))
    assert header == ReplyHeader(-1, 11, 0)
    assert decode_event(raw, after, len(raw)) == WatcherEvent(3, 3, "/probe")


def test_multi_parts() -> None:
    raw = replies.multi_part(13) + replies.MULTI_END
    assert raw.hex() == "0000000d0000000000ffffffff01ffffffff"
    assert (replies.multi_error(-103) + replies.MULTI_END).hex() == "ffffffff00ffffff99ffffff99ffffffff01ffffffff"


def test_connect_response_of_a_session_that_is_gone() -> None:
    raw = ConnectResponse(0, 0, 0, bytes(16), False).encode()
    assert raw.hex() == "00000000000000000000000000000000000000100000000000000000000000000000000000"
    assert decode_connect_response(raw, 0, len(raw)) == ConnectResponse(0, 0, 0, bytes(16), False)


def test_stat_round_trip_and_cut() -> None:
    stat = Stat(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
    raw = stat.encode()
    assert get_stat(raw, 0, len(raw)) == (stat, 68)
    for cut in range(68):
        with pytest.raises(RemoteProtocolError):
            get_stat(raw, 0, cut)


def test_a_cut_header_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        decode_header(bytes(15), 0, 15)
