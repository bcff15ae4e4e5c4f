"""Any bytes, and nearly right ones, where files, settings, tokens and typed lines are read: the refusal that was
promised, never another exception.
"""

from zlib import adler32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.state import txn
from coordination.state.data_tree import DataTree
from coordination.storage import snappy
from coordination.storage.log_format import RECORD_HEAD
from coordination.storage.snapshot_format import HEADER_BYTES, encode_head, encode_nodes
from coordination.wire import opcodes
from coordination.wire.records import OPEN_ACL
from tests.fuzz.file_targets import FILE_TARGETS

HEADER = txn.TxnHeader(1, 2, 3, 4, opcodes.CREATE)
PAYLOADS = [
    txn.encode(HEADER, txn.CreateTxn("/a", b"data", OPEN_ACL, False, 1)),
    txn.encode(HEADER._replace(zxid=4, type=opcodes.CLOSE_SESSION), txn.CloseSessionTxn(["/a", "/b"])),
    txn.encode(
        HEADER._replace(zxid=5, type=opcodes.MULTI),
        txn.MultiTxn([(opcodes.DELETE, txn.DeleteTxn("/a")), (opcodes.ERROR, txn.ErrorTxn(-101))]),
    ),
]


def _record(payload: bytes) -> bytes:
    return RECORD_HEAD.pack(adler32(payload), len(payload)) + payload + b"B"


def _snapshot() -> bytes:
    head, closed = encode_head({7: 4000}, {1: [(31, "digest", "u:x")]})
    return head.removeprefix(HEADER_BYTES) + encode_nodes(DataTree().dump(), {-1, 1}, closed)


SEEDS: dict[str, list[bytes]] = {
    "log_file": [b"".join(map(_record, PAYLOADS)) + bytes(20)],
    "txn_payload": [*PAYLOADS, *(each[32:] for each in PAYLOADS)],
    "snapshot": [_snapshot(), bytes(8) + b"\xff\xff\xff\xfc" + bytes(80)],
    "compressed": [b"\x0a\x24abcdefghij", b"\x14\x0cabcd\x3e\x04\x00", snappy.MAGIC + bytes(12)],
    "settings": [b"tickTime=2000\ndataDir=/x\\\n  y\nserver.1=a:1:2\n4lw.commands.whitelist=*\nlog.file.size = 1K\n"],
    "setting": [b"a=1K", b"b=0x10", b"c=true", b"d=a:1:2;3", b"e=\\u0041"],
    "login_file": [
        b'Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_bob="a\\"b" x=y; }; // end\n'
    ],
    "token": [
        b'username="u",realm="zk-sasl-md5",nonce="nnnnnnnnnnnnnnnn",nc=00000001,qop=auth,response=0,cnonce="c\\"'
    ],
    "quota": [b"count=4,bytes=5=;byteHardLimit=10;countHardLimit=6"],
    "names": [
        b"CN=a+OU=b,O=\\,c",
        b"10.0.0.0/8",
        b"fe80::1/64",
        b"u:hash=",
        bytes.fromhex("300b3009a0003000300030003000"),
    ],
    "line": [
        b"create -s -e \"/a b\" 'data' world:anyone:cdrwa",
        b"ls -R -w /",
        b"[::1]:2181,host:1/chroot",
        b"h:99999",
    ],
}


@st.composite
def nearly_right(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A good one with a few bytes changed, taken out or put in."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 4))] = draw(
            st.binary(max_size=4)
            | st.sampled_from([b"\x7f\xff\xff\xff", b"\xff\xff\xff\xfe", b"9" * 5000, b"\xed\xa0\x80"])
        )
    return bytes(data)


@pytest.mark.parametrize("target", sorted(FILE_TARGETS))
def test_the_refusal_that_was_promised(target: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=200) | nearly_right(SEEDS[target]))
    def anything(data: bytes) -> None:
        FILE_TARGETS[target](data)

    anything()
    for each in SEEDS[target]:
        FILE_TARGETS[target](each)
