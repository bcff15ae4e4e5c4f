"""What the fuzzers feed besides a client's bytes: files, settings, tokens, what a person types; and what must hold.

Each target returns normally, or raises what its reader promises to raise for bad input; anything else is a bug.
"""

from collections.abc import Callable
from contextlib import suppress
from zlib import adler32

from coordination.auth import distinguished_name, ip_address, jaas
from coordination.auth.sasl_digest_md5 import DigestMd5Server, SaslError, parse_directives
from coordination.auth.schemes import DigestScheme, IpScheme, X509Scheme
from coordination.errors import LocalProtocolError, MarshallingError, RemoteProtocolError
from coordination.secret import Secret
from coordination.server.config import build
from coordination.server.config_reader import ConfigError
from coordination.server.properties import parse_properties
from coordination.state import quotas, txn
from coordination.storage import snappy
from coordination.storage.log_format import HEADER_BYTES, RECORD_HEAD, End, find_record, records, was_whole
from coordination.storage.snapshot_format import HEADER_BYTES as SNAPSHOT_HEADER
from coordination.storage.snapshot_format import decode_head, decode_nodes, encode_end, fault_of
from coordination.tools import connect_string
from coordination.tools.java_options import OptionError
from coordination.tools.shell import VERBS, split_line


def log_file(data: bytes) -> None:
    """A log with any bytes behind its header: the records it gives are good ones, and its end lies within it."""
    buffer = HEADER_BYTES + data
    end: list[End] = []
    last_zxid, stop = 0, len(HEADER_BYTES)
    for zxid, payload, after in records(buffer, stop, len(buffer), end):
        assert zxid > last_zxid
        assert buffer[stop : stop + 12] == RECORD_HEAD.pack(adler32(payload), len(payload))
        last_zxid, stop = zxid, after
    assert (end[0].offset, end[0].last_zxid) == (stop, last_zxid)
    used = len(buffer.rstrip(b"\0"))
    found = find_record(buffer, stop, len(buffer), last_zxid)
    assert found is None or stop <= found[0] < len(buffer)
    if used > stop and was_whole(buffer, stop, used):
        assert end[0].fault is not None


def txn_payload(data: bytes) -> None:
    """A txn behind its header, of every type."""
    with suppress(RemoteProtocolError):
        txn.decode_entry(data)
    for type_ in (*range(-12, 25), 100):
        with suppress(RemoteProtocolError):
            txn.decode_entry(bytes(28) + type_.to_bytes(4, "big", signed=True) + data)


def snapshot(data: bytes) -> None:
    """A snapshot whose seal is good and whose inside is anything."""
    with suppress(ValueError):
        _read_snapshot(data)
    sealed = SNAPSHOT_HEADER + data
    sealed += encode_end(adler32(sealed))
    assert fault_of(sealed) is None
    with suppress(ValueError):
        _read_snapshot(sealed)


def _read_snapshot(buffer: bytes) -> None:
    if fault_of(buffer) is None:
        _, _, at = decode_head(buffer)
        for _ in decode_nodes(buffer, at):
            pass


def compressed(data: bytes) -> None:
    """Snappy: what comes out is bounded by what went in."""
    for read, given in (
        (snappy.decompress_stream, data),
        (snappy.decompress_block, data),
        (snappy.decompress_stream, snappy.MAGIC + bytes(8) + len(data).to_bytes(4, "big") + data),
    ):
        with suppress(snappy.SnappyError):
            assert len(read(given)) <= 64 * len(given)


def settings(data: bytes) -> None:
    """zoo.cfg and --props: always read; used, or refused with a ConfigError."""
    text = data.decode("utf-8", "replace")
    values = parse_properties(text)
    half = len(values) // 2
    pairs = list(values.items())
    with suppress(ConfigError):
        build(dict(pairs[:half]), dict(pairs[half:]), {})


def setting(data: bytes) -> None:
    """One key that exists, with any value."""
    key, _, value = data.partition(b"=")
    names = (
        "clientPort",
        "dataDir",
        "tickTime",
        "snapCount",
        "preAllocSize",
        "jute.maxbuffer",
        "server.1",
        "log.level",
    )
    names += ("4lw.commands.whitelist", "authProvider.1", "secureClientPort", "admin.serverPort", "maxClientCnxns")
    names += ("clientPortAddress", "log.file.size", "metricsProvider.className", "dynamicConfigFile", "ssl.protocol")
    name = names[sum(key) % len(names)]
    with suppress(ConfigError):
        build(parse_properties(f"{name}={value.decode('utf-8', 'replace')}"), {}, {})


def login_file(data: bytes) -> None:
    """A JAAS file."""
    text = data.decode("utf-8", "replace")
    with suppress(jaas.JaasError):
        jaas.digest_users(text)


def token(data: bytes) -> None:
    """DIGEST-MD5: any token instead of the response, and any bytes inside one that is nearly right."""
    with suppress(SaslError):
        parse_directives(data)
    for said in (
        data,
        b'realm="zk-sasl-md5",nonce="' + b"n" * 16 + b'",nc=00000001,cnonce="c",username="' + data + b'"',
        b'username="u",digest-uri="zookeeper/zk-sasl-md5",nc=00000001,charset=utf-8,cnonce=c,' + data,
    ):
        server = DigestMd5Server({"u": Secret(b"p")}, "n" * 16)
        server.step(b"")
        with suppress(SaslError):
            server.step(said)
            raise AssertionError("nobody knows the password")


def quota(data: bytes) -> None:
    """Limits and sums: numbers that can be written again, or a refusal."""
    with suppress(MarshallingError):
        found = quotas.parse(data)
        assert quotas.parse(quotas.encode(found)) == {"count": -1, "bytes": -1} | found
        quotas.exceeded("/a", data, data, 1, 1)


def names(data: bytes) -> None:
    """Ids of ACLs, addresses, certificates: judged, never an exception but for DER that lies."""
    text = data.decode("utf-8", "replace")
    for scheme in (DigestScheme(), IpScheme(), X509Scheme()):
        scheme.is_valid(text)
    ip_address.in_network(text, text)
    ip_address.java_text(text)
    distinguished_name.is_name(text)
    with suppress(ValueError):
        distinguished_name.subject(data)


def line(data: bytes) -> None:
    """What a person types at the shell: words, then each verb's options, and connect strings."""
    text = data.decode("utf-8", "replace")
    words = split_line(text)
    for verb in VERBS.values():
        with suppress(OptionError):
            verb.options.parse(words)
    with suppress(LocalProtocolError):
        connect_string.parse(text)


FILE_TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (
        log_file,
        txn_payload,
        snapshot,
        compressed,
        settings,
        setting,
        login_file,
        token,
        quota,
        names,
        line,
    )
}
