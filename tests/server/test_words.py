"""The four letter words: what they say of a server that did known things, and their shapes beside the real ones."""

# mypy: disable-error-code="no-untyped-call"
import re
import socket
from collections.abc import Iterator

import pytest
from kazoo.client import KazooClient

from coordination.testing import apache
from coordination.testing.server import Server, serve
from coordination.wire import opcodes, requests
from coordination.wire.records import ConnectRequest
from coordination.wire.replies import frame

WORDS = [
    "conf",
    "cons",
    "crst",
    "dirs",
    "dump",
    "envi",
    "gtmk",
    "hash",
    "isro",
    "ruok",
    "srvr",
    "stat",
    "stmk",
    "wchc",
    "wchp",
    "wchs",
    "mntr",
    "srst",
]


def ask(port: int, word: bytes) -> str:
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(word)
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()


def answers(port: int) -> dict[str, str]:
    """What each word says once a client has done the same few things."""
    client = KazooClient(f"127.0.0.1:{port}", timeout=10)
    client.start(10)
    try:
        client.create("/a", b"x")
        client.create("/e", b"", ephemeral=True)
        client.get("/a", watch=lambda _: None)
        client.exists("/nope", watch=lambda _: None)
        client.get_children("/", watch=lambda _: None)
        for number in range(5):
            client.set("/e", b"%d" % number)
        return {word: ask(port, word.encode() + (bytes(7) + b"\x07" if word == "stmk" else b"")) for word in WORDS}
    finally:
        client.stop()
        client.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("data"), options=["--4lw", "all"]) as running:
        yield running


@pytest.fixture(scope="module")
def said(server: Server) -> dict[str, str]:
    return answers(server.port)


def figures(text: str) -> dict[str, str]:
    return dict(line.split("\t") for line in text.splitlines())


def test_figures_are_what_happened(said: dict[str, str]) -> None:
    found = figures(said["mntr"])
    assert found["zk_server_state"] == "standalone"
    assert found["zk_znode_count"] == "7"
    assert found["zk_ephemerals_count"] == "1"
    assert found["zk_watch_count"] == "3"
    assert found["zk_global_sessions"] == "1"
    assert found["zk_num_alive_connections"] == "2"
    assert found["zk_approximate_data_size"] == "50"
    assert found["zk_connection_request_count"] == "1"
    assert found["zk_cnt_updatelatency"] == "8"  # createSession, two creates, five sets
    assert found["zk_cnt_readlatency"] == "3"  # one of each kind of read
    assert found["zk_sync_processor_request_queued"] == found["zk_prep_processor_request_queued"] == "11"
    assert int(found["zk_cnt_fsynctime"]) in range(1, 9)
    assert found["zk_sum_sync_processor_batch_size"] == "8"
    assert found["zk_cnt_startup_txns_loaded"] == "0"  # as the real one of a fresh directory
    assert found["zk_cnt_snapshottime"] == "1"
    assert int(found["zk_bytes_received_count"]) > 300
    assert int(found["zk_response_bytes"]) > int(found["zk_bytes_received_count"])
    assert int(found["zk_packets_received"]) == int(found["zk_packets_sent"]) + 1


def test_a_reset_sets_to_zero_what_it_should(server: Server, said: dict[str, str]) -> None:
    assert said["srst"] == "Server stats reset.\n"
    ask(server.port, b"srst")
    found = figures(ask(server.port, b"mntr"))
    for key in ("cnt_updatelatency", "sum_sync_processor_batch_size", "connection_request_count", "packets_sent"):
        assert int(found[f"zk_{key}"]) <= 1  # srst itself was answered after the reset
    assert found["zk_znode_count"] != "0"


def test_watches_fired_are_counted_by_kind(server: Server, said: dict[str, str]) -> None:
    client = KazooClient(server.connect, timeout=10)
    client.start(10)
    try:
        ask(server.port, b"srst")
        client.create("/w")
        client.get("/w", watch=lambda _: None)
        client.get_children("/", watch=lambda _: None)
        client.set("/w", b"1")
        client.delete("/w")
        found = figures(ask(server.port, b"mntr"))
        assert found["zk_cnt_node_changed_watch_count"] == found["zk_cnt_node_children_watch_count"] == "1"
        assert found["zk_cnt_node_created_watch_count"] == found["zk_cnt_node_deleted_watch_count"] == "0"
        assert int(found["zk_watch_bytes"]) > 0
    finally:
        client.stop()
        client.close()


def test_quotas_are_told_by_namespace() -> None:
    with serve(options=["--4lw", "all"]) as running:
        client = KazooClient(running.connect, timeout=10)
        client.start(10)
        try:
            assert "per_namespace" not in ask(running.port, b"mntr")
            client.create("/q/x/y", b"12345", makepath=True)
            client.ensure_path("/zookeeper/quota/q/x")
            client.create("/zookeeper/quota/q/x/zookeeper_stats", b"count=0,bytes=0")
            client.create(
                "/zookeeper/quota/q/x/zookeeper_limits", b"count=10,bytes=-1=;byteHardLimit=-1;countHardLimit=20"
            )
            client.create("/q/x/z", b"123")
            found = figures(ask(running.port, b"mntr"))
            assert found["zk_q_quota_count_limit_per_namespace"] == "20"
            assert found["zk_q_quota_bytes_limit_per_namespace"] == "-1"
            assert int(found["zk_q_quota_count_usage_per_namespace"]) >= 1
            assert int(found["zk_q_quota_bytes_usage_per_namespace"]) >= 3
        finally:
            client.stop()
            client.close()


def test_a_ping_leaves_the_last_cxid_in_place() -> None:
    with (
        serve(options=["--4lw", "all"]) as running,
        socket.create_connection(("127.0.0.1", running.port), 10) as sock,
        sock.makefile("rb") as file,
    ):
        sock.sendall(frame(ConnectRequest(0, 0, 10_000, 0, bytes(16)).encode()))
        sock.sendall(requests.encode(requests.Exists(0x17, "/", False)))
        sock.sendall(requests.encode(requests.Ping(opcodes.XID_PING)))
        for _ in range(3):
            file.read(int.from_bytes(file.read(4), "big"))
        said = ask(running.port, b"cons")
    assert ",lop=PING," in said
    assert ",lcxid=0x17," in said


def test_stmk_waits_for_its_argument(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.sendall(b"stmk")
        assert ask(server.port, b"ruok") == "imok"  # nobody else waits
        sock.sendall(bytes(7) + b"\x09")
        assert b"".join(iter(lambda: sock.recv(100), b"")) == b"9"
    assert ask(server.port, b"gtmk") == "9"


def test_a_word_outside_the_whitelist_is_refused_as_the_real_one_does() -> None:
    with serve(options=["--4lw", "ruok"]) as running:
        assert ask(running.port, b"ruok") == "imok"
        for word in (b"mntr", b"wchc", b"crst", b"stmk"):  # stmk without waiting for its argument
            assert ask(running.port, word) == f"{word.decode()} is not executed because it is not in the whitelist.\n"


def test_a_session_without_anything_and_an_empty_server() -> None:
    with serve(options=["--4lw", "all"]) as running:
        assert ask(running.port, b"wchc") == ask(running.port, b"wchp") == "\n"
        assert ask(running.port, b"wchs") == "0 connections watching 0 paths\nTotal watches:0\n"
        assert ask(running.port, b"dirs") == "datadir_size: 0\nlogdir_size: 0\n"
        assert "Session Sets (0)/(0):\nephemeral nodes dump:\nSessions with Ephemerals (0):" in ask(
            running.port, b"dump"
        )


# --- beside the real one


def shape(text: str) -> list[str]:
    """The lines with every number, id, date, path and version taken out, in any order, as the real one lists."""
    text = re.sub(r"(?m)^(Zookeeper version: |zookeeper.version=).*$", r"\1VERSION", text)
    text = re.sub(r"(?m)(expire at ).*:$", r"\1DATE:", text)
    text = re.sub(r"(?m)^(dataDir|dataLogDir)=.*(/version-2)$", r"\1=\2", text)
    text = re.sub(r"\[[0-9a-f]\]", "[N]", text)
    return sorted(re.sub(r"0x[0-9a-f]+|-?\b[0-9][0-9a-f.]*\b", "N", text).splitlines())


# Sessions and connections come due in buckets of other sizes; a JVM has other surroundings.
LOOSE = {"dump", "envi", "mntr"}


@pytest.mark.peers
def test_the_shapes_are_the_real_ones(said: dict[str, str]) -> None:
    reason = apache.why_unavailable()
    if reason:
        pytest.skip(reason)
    with apache.standalone() as zoo:
        real = answers(zoo.members[0].port)
    for word in WORDS:
        if word not in LOOSE:
            assert shape(said[word]) == shape(real[word]), word
    assert {line for line in shape(said["dump"]) if "Sets" not in line} == {
        line for line in shape(real["dump"]) if "Sets" not in line
    }
    ours, theirs = figures(said["mntr"]), figures(real["mntr"])
    assert set(ours) - set(theirs) == set()
    for key in ("znode_count", "ephemerals_count", "watch_count", "global_sessions", "approximate_data_size"):
        assert ours[f"zk_{key}"] == theirs[f"zk_{key}"], key
