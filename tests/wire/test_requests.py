"""Every request, both directions, from one table; and what a cut or lying record does."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.errors import RemoteProtocolError
from coordination.wire import opcodes, requests
from coordination.wire.jute import put_buffer
from coordination.wire.records import OPEN_ACL, Acl, ConnectRequest, decode_connect_request, put_acls
from coordination.wire.replies import frame
from coordination.wire.requests import DECODERS, Decoder, Request, encode
from coordination.wire.requests.layout import decoder_of
from coordination.wire.server_connection import (
    FIRST_BYTES_MAX,
    WORDS,
    FourLetterWord,
    Malformed,
    ServerConnection,
    UnknownOperation,
    Violation,
)

OPEN = "000000010000001f00000005776f726c6400000006616e796f6e65"

# (record, its body in hex: what stands behind xid and opcode)
TABLE: list[tuple[Request, str]] = [
    (requests.Create(1, 1, "/a", b"v", OPEN_ACL, 0), "000000022f610000000176" + OPEN + "00000000"),
    (requests.Create(2, 15, "/a", None, OPEN_ACL, 3), "000000022f61ffffffff" + OPEN + "00000003"),
    (requests.Create(3, 19, "/a", b"", OPEN_ACL, 4), "000000022f6100000000" + OPEN + "00000004"),
    (
        requests.CreateTtl(4, "/a", b"v", OPEN_ACL, 5, 1000),
        "000000022f610000000176" + OPEN + "0000000500000000000003e8",
    ),
    (requests.Delete(5, "/a", -1), "000000022f61ffffffff"),
    (requests.Exists(6, "/a", True), "000000022f6101"),
    (requests.GetData(7, "/ä", False), "000000032fc3a400"),
    (requests.SetData(8, "/a", b"w", 3), "000000022f61000000017700000003"),
    (requests.GetAcl(9, "/a"), "000000022f61"),
    (
        requests.SetAcl(10, "/a", (Acl(1, "ip", "10.0.0.0/8"),), 0),
        "000000022f6100000001000000010000000269700000000a31302e302e302e302f3800000000",
    ),
    (requests.GetChildren(11, "/", True), "000000012f01"),
    (requests.GetChildren2(12, "/", False), "000000012f00"),
    (requests.Sync(13, "/"), "000000012f"),
    (requests.Ping(-2), ""),
    (
        requests.Multi(16, [requests.CheckVersion(0, "/a", 1), requests.Delete(0, "/a", -1)]),
        "0000000d00ffffffff000000022f61000000010000000200ffffffff000000022f61ffffffffffffffff01ffffffff",
    ),
    (
        requests.MultiRead(17, [requests.GetData(0, "/a", False), requests.GetChildren(0, "/", False)]),
        "0000000400ffffffff000000022f61000000000800ffffffff000000012f00ffffffff01ffffffff",
    ),
    (requests.Reconfig(18, None, "1", None, -1), "ffffffff0000000131ffffffffffffffffffffffff"),
    (requests.CheckWatches(19, "/a", 3), "000000022f6100000003"),
    (requests.RemoveWatches(20, "/a", 1), "000000022f6100000001"),
    (requests.Auth(-4, "digest", b"u:p"), "000000000000000664696765737400000003753a70"),
    (
        requests.SetWatches(-8, 101, 5, ["/a"], [], ["/b"], [], []),
        "000000000000000500000001000000022f610000000000000001000000022f62",
    ),
    (
        requests.SetWatches(22, 105, 5, [], [], [], ["/a"], ["/b"]),
        "0000000000000005" + "00000000" * 3 + "00000001000000022f6100000001000000022f62",
    ),
    (requests.Sasl(23, b"token"), "00000005746f6b656e"),
    (requests.GetEphemerals(24, "/"), "000000012f"),
    (requests.GetAllChildrenNumber(25, "/"), "000000012f"),
    (requests.AddWatch(26, "/a", 1), "000000022f6100000001"),
    (requests.WhoAmI(27), ""),
    (requests.CloseSession(28), ""),
]
IDS = [f"{type(record).__name__}-{record.opcode}" for record, _ in TABLE]
HELLO = frame(ConnectRequest(0, 0, 10_000, 0, bytes(16), False).encode())


def connected() -> ServerConnection:
    connection = ServerConnection()
    connection.receive_data(HELLO)
    return connection


@pytest.mark.parametrize(("record", "body"), TABLE, ids=IDS)
def test_encodes(record: Request, body: str) -> None:
    raw = bytes.fromhex(body)
    expected = (len(raw) + 8).to_bytes(4, "big") + record.xid.to_bytes(4, "big", signed=True)
    assert encode(record) == expected + record.opcode.to_bytes(4, "big", signed=True) + raw


@pytest.mark.parametrize(("record", "body"), TABLE, ids=IDS)
def test_decodes(record: Request, body: str) -> None:
    raw = bytes.fromhex(body)
    assert DECODERS[record.opcode](record.xid, raw, 0, len(raw)) == record


@pytest.mark.parametrize(("record", "body"), TABLE, ids=IDS)
def test_decodes_in_the_middle_of_a_buffer(record: Request, body: str) -> None:
    """A decoder stays inside its record: what lies around it changes nothing."""
    raw = bytes.fromhex(body)
    assert DECODERS[record.opcode](record.xid, b"\xff" * 7 + raw + b"\xff" * 9, 7, 7 + len(raw)) == record


@pytest.mark.parametrize(("record", "body"), TABLE, ids=IDS)
def test_a_cut_record_is_refused_at_every_byte(record: Request, body: str) -> None:
    raw = bytes.fromhex(body)
    for cut in range(len(raw)):
        with pytest.raises(RemoteProtocolError):
            # The rest of the bytes is there, but belongs to the next frame.
            DECODERS[record.opcode](record.xid, raw, 0, cut)


@pytest.mark.parametrize(("record", "body"), TABLE, ids=IDS)
def test_bytes_behind_a_record_are_ignored(record: Request, body: str) -> None:
    raw = bytes.fromhex(body) + b"later versions may say more"
    assert DECODERS[record.opcode](record.xid, raw, 0, len(raw)) == record


@given(
    st.sampled_from([requests.GetData, requests.Exists, requests.GetChildren, requests.GetChildren2, requests.SetData]),
    st.binary(max_size=40)
    | st.builds(lambda path, rest: len(path).to_bytes(4, "big") + path + rest, *[st.binary()] * 2),
)
def test_decoders_written_out_give_what_the_layout_gives(record: Any, raw: bytes) -> None:
    def decoded(decode: Decoder) -> object:
        try:
            return decode(1, raw, 0, len(raw))
        except RemoteProtocolError:
            return RemoteProtocolError

    assert decoded(DECODERS[record.opcode]) == decoded(decoder_of(record))


@given(
    st.binary(max_size=60)
    | st.builds(
        lambda path, data, acl, rest: put_buffer(path) + put_buffer(data) + acl + rest,
        *[st.binary()] * 2,
        st.sampled_from([put_acls(OPEN_ACL), put_acls((Acl(1, "ip", "::1"),)), b"\xff" * 4]),
        st.binary(),
    )
)
def test_the_decoder_of_create_gives_what_the_layout_gives(raw: bytes) -> None:
    def decoded(decode: Decoder) -> object:
        try:
            return decode(1, raw, 0, len(raw))
        except RemoteProtocolError:
            return RemoteProtocolError

    assert decoded(DECODERS[opcodes.CREATE2]) == decoded(decoder_of(requests.Create, opcode=opcodes.CREATE2))


@pytest.mark.parametrize("opcode", [opcodes.SET_WATCHES, opcodes.SET_WATCHES2])
def test_no_list_of_watches_is_null(opcode: int) -> None:
    raw = bytes(8) + bytes(4) + b"\xff" * 4 + bytes(12)
    with pytest.raises(RemoteProtocolError, match="null"):
        DECODERS[opcode](1, raw, 0, len(raw))


def test_the_whole_table_in_one_piece_and_byte_by_byte() -> None:
    stream = b"".join(encode(record) for record, _ in TABLE)
    expected = [record for record, _ in TABLE]
    assert connected().receive_data(stream) == expected
    slowly = connected()
    events = [event for at in range(len(stream)) for event in slowly.receive_data(stream[at : at + 1])]
    assert events == expected


@pytest.mark.parametrize("size", [2, 3, 5, 7, 11, 64, 1000])
def test_pieces_of_any_size(size: int) -> None:
    stream = HELLO + b"".join(encode(record) for record, _ in TABLE)
    connection = ServerConnection()
    events = [event for at in range(0, len(stream), size) for event in connection.receive_data(stream[at : at + size])]
    assert events[1:] == [record for record, _ in TABLE]


def test_every_client_opcode_is_in_the_table() -> None:
    assert {record.opcode for record, _ in TABLE} == set(DECODERS)


@pytest.mark.parametrize(
    "opcode", [opcodes.CREATE_SESSION, opcodes.ERROR, opcodes.DELETE_CONTAINER, opcodes.CHECK, 0, 999]
)
def test_what_no_client_may_ask_is_unknown(opcode: int) -> None:
    raw = frame((1).to_bytes(4, "big") + opcode.to_bytes(4, "big", signed=True))
    assert connected().receive_data(raw) == [UnknownOperation(1, opcode)]


def test_a_malformed_record_harms_only_itself() -> None:
    bad = frame((7).to_bytes(4, "big") + (4).to_bytes(4, "big") + (1000).to_bytes(4, "big") + b"/")
    events = connected().receive_data(bad + encode(requests.Ping(-2)))
    assert isinstance(events[0], Malformed)
    assert (events[0].xid, events[0].opcode) == (7, 4)
    assert events[1] == requests.Ping(-2)


def test_an_acl_without_scheme_and_id_is_read_for_the_server_to_refuse() -> None:
    """Java's `new Id()` is that: what is wrong is the ACL, not the bytes."""
    null = (-1).to_bytes(4, "big", signed=True)
    body = bytes.fromhex("000000022f61" + "00000001" + "0000001f") + null + null + null
    assert DECODERS[opcodes.SET_ACL](1, body, 0, len(body)) == requests.SetAcl(1, "/a", (Acl(31, "", ""),), -1)


@pytest.mark.parametrize("count", [-2, 0x7FFFFFFF, 1000])
def test_a_lying_count_is_refused_before_anything_is_allocated(count: int) -> None:
    body = bytes.fromhex("000000022f61") + count.to_bytes(4, "big", signed=True)
    with pytest.raises(RemoteProtocolError, match="items"):
        DECODERS[opcodes.SET_ACL](1, body, 0, len(body))


@pytest.mark.parametrize("length", [-1, -0x80000000, 0x100000, 0x7FFFFFFF])
def test_a_frame_length_out_of_bounds_ends_the_connection(length: int) -> None:
    connection = connected()
    events = connection.receive_data(encode(requests.Ping(-2)) + length.to_bytes(4, "big", signed=True))
    assert events[0] == requests.Ping(-2)
    assert isinstance(events[1], Violation)
    assert connection.receive_data(encode(requests.Ping(-2))) == []


@pytest.mark.parametrize(
    ("start", "said"), [(b"GET / HTTP/1.1\r\n", "HTTP"), (b"POST /x", "HTTP"), (b"\x16\x03\x01\x02\x00\x01", "TLS")]
)
def test_other_protocols_get_a_helpful_reason(start: bytes, said: str) -> None:
    (event,) = ServerConnection().receive_data(start)
    assert isinstance(event, Violation)
    assert said in event.reason


def test_a_word_is_a_word_however_large_frames_may_be() -> None:
    """Some set jute.maxbuffer to all that an int holds."""
    assert min(int.from_bytes(word, "big") for word in WORDS) > FIRST_BYTES_MAX
    assert ServerConnection(2**31 - 1).receive_data(b"ruok") == [FourLetterWord("ruok")]
    connection = ServerConnection(2**31 - 1)
    connection.receive_data(frame(ConnectRequest(0, 0, 4000, 0, bytes(16)).encode()) + b"ruok")
    assert connection.phase == "requests"


def test_a_frame_too_short_for_a_header_ends_the_connection() -> None:
    (event,) = connected().receive_data(frame(b"\0\0\0\1"))
    assert isinstance(event, Violation)


def test_byte_by_byte_costs_no_more_than_it_must() -> None:
    """A megabyte in single bytes is joined once, not once per byte."""
    connection = connected()
    raw = encode(requests.SetData(1, "/a", b"x" * 200_000, -1))
    for at in range(len(raw) - 1):
        assert connection.receive_data(raw[at : at + 1]) == []
    (event,) = connection.receive_data(raw[-1:])
    assert isinstance(event, requests.SetData)


@pytest.mark.parametrize("read_only", [None, False, True])
def test_connect_request_with_and_without_the_read_only_byte(read_only: bool | None) -> None:
    request = ConnectRequest(0, 1 << 33, 10_000, 0x1234, b"p" * 16, read_only)
    raw = request.encode()
    assert len(raw) == (44 if read_only is None else 45)
    assert decode_connect_request(raw, 0, len(raw)) == request
    assert "pppp" not in repr(request)


def test_secrets_do_not_show() -> None:
    assert "hunter2" not in repr(requests.Auth(-4, "digest", b"bob:hunter2"))
    assert "hunter2" not in repr(requests.Sasl(1, b"hunter2"))
