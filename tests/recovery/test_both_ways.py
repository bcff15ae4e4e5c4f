"""A data directory carried between our server and Apache ZooKeeper: the same znodes, Stats, ACLs and sessions."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_acl, make_digest_acl

from coordination.cli import main
from coordination.errors import MarshallingError
from coordination.testing import apache
from coordination.testing.server import serve
from coordination.wire import opcodes
from coordination.wire.records import ConnectRequest
from coordination.wire.replies import decode_header

pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]
NODES = 2000


@pytest.fixture(autouse=True, scope="module")
def _apache_is_there() -> None:
    reason = apache.why_unavailable()
    if reason is not None:
        pytest.skip(reason)


def fill(connect: str) -> KazooClient:
    """Some thousand znodes of every kind; gives the client whose session owns the ephemerals, still alive."""
    zk = KazooClient(hosts=connect, timeout=60)
    zk.start(timeout=20)
    zk.add_auth("digest", "bob:secret")
    pending: list[Any] = []
    for top in range(20):
        zk.create(f"/t{top:02}", b"top")
        pending += [zk.create_async(f"/t{top:02}/n{i:03}", bytes([top]) * i) for i in range(NODES // 20)]
    for each in pending:
        each.get(timeout=30)
    for i in range(0, 100, 3):
        zk.set(f"/t01/n{i:03}", b"changed")
        zk.delete(f"/t02/n{i:03}")
    zk.create("/t03/ünïcode-☃", "schön".encode())
    zk.create(
        "/t03/digest", b"", acl=[make_digest_acl("bob", "secret", all=True), make_acl("world", "anyone", read=True)]
    )
    zk.set_acls("/t03/n001", [make_acl("ip", "127.0.0.1", all=True), make_acl("world", "anyone", read=True)])
    for i in range(10):
        zk.create("/t04/seq-", sequence=True)
        zk.create(f"/t05/eph{i}", b"mine", ephemeral=True)
    request = zk.transaction()
    request.create("/multi", b"1")
    request.set_data("/multi", b"2")
    request.check("/multi", 1)
    request.delete("/t06/n000")
    assert not [each for each in request.commit() if isinstance(each, Exception)]
    gone = KazooClient(hosts=connect)
    gone.start(timeout=20)
    gone.create("/t07/left", b"", ephemeral=True)
    gone.stop()
    gone.close()
    return zk


def seen(zk: KazooClient) -> Iterator[tuple[str, bytes, tuple[int, ...], list[Any]]]:
    """Level by level, each level asked for at once."""
    level = ["/"]
    while level:
        asked = [(path, zk.get_async(path), zk.get_acls_async(path), zk.get_children_async(path)) for path in level]
        level = []
        for path, value, acls, children in asked:
            data, stat = value.get(timeout=30)
            if path != "/":
                yield path, data, tuple(stat), acls.get(timeout=30)[0]
            level += [path.rstrip("/") + "/" + name for name in children.get(timeout=30) if name != "zookeeper"]


def found(connect: str, session: tuple[int, bytes]) -> list[tuple[str, bytes, tuple[int, ...], list[Any]]]:
    """The tree as the old session sees it: it must still be alive, with its password."""
    zk = KazooClient(hosts=connect, timeout=60, client_id=session)
    zk.start(timeout=20)
    try:
        assert zk.client_id == session, "the session was not carried over"
        zk.add_auth("digest", "bob:secret")
        return sorted(seen(zk))
    finally:
        zk.stop()
        zk.close()


@pytest.mark.parametrize("snap_count", [100_000, 500])
def test_it_starts_on_a_copy_of_ours(tmp_path: Path, snap_count: int) -> None:
    config = tmp_path / "zoo.cfg"
    config.write_text(f"snapCount={snap_count}\n")
    with serve(tmp_path / "data", options=["--config", str(config)]) as server:
        zk = fill(server.connect)
        expected = sorted(seen(zk))
        session = zk.client_id
        server.kill()
        zk.stop()
        zk.close()
    assert len(expected) > NODES
    shutil.copytree(tmp_path / "data" / "version-2", tmp_path / "copy" / "version-2")
    with apache.standalone(settings={"dataDir": str(tmp_path / "copy")}) as zoo:
        assert found(zoo.connect, session) == expected


@pytest.mark.parametrize("snap_count", [100_000, 500])
def test_we_start_on_a_copy_of_its(tmp_path: Path, snap_count: int) -> None:
    settings = {"dataDir": str(tmp_path / "its"), "snapCount": str(snap_count)}
    (tmp_path / "its").mkdir()
    with apache.standalone(settings=settings) as zoo:
        zk = fill(zoo.connect)
        expected = sorted(seen(zk))
        session = zk.client_id
        zoo.kill()
        zk.stop()
        zk.close()
    shutil.copytree(tmp_path / "its" / "version-2", tmp_path / "copy" / "version-2")
    with serve(tmp_path / "copy") as server:
        assert found(server.connect, session) == expected


def refused(port: int, opcode: int, body: bytes) -> None:
    """A request that cannot be decoded, from a client of its own; it is answered MarshallingError."""
    hello = ConnectRequest(0, 0, 30_000, 0, bytes(16)).encode()
    request = (1).to_bytes(4, "big") + opcode.to_bytes(4, "big") + body
    with socket.create_connection(("127.0.0.1", port), 20) as sock, sock.makefile("rb") as answers:
        sock.sendall(b"".join(len(each).to_bytes(4, "big") + each for each in (hello, request)))
        answers.read(int.from_bytes(answers.read(4)))
        answer = answers.read(int.from_bytes(answers.read(4)))
        assert decode_header(answer, 0, len(answer))[0].err == MarshallingError.code


def test_we_start_on_a_log_with_requests_it_could_not_decode(tmp_path: Path) -> None:
    """It logs them as errors that repeat the zxid before them."""
    expected = []
    with apache.standalone() as zoo:
        member = zoo.members[0]
        for name in ("a", "b", "c"):  # each in a file of its own, whose first and last txns are such errors
            for opcode in (opcodes.CREATE, opcodes.DELETE, opcodes.SET_DATA):
                refused(member.port, opcode, b"\0\0\0\2/")
            zk = KazooClient(hosts=zoo.connect, timeout=60)
            zk.start(timeout=20)
            zk.create(f"/{name}", name.encode())
            expected = sorted(seen(zk))
            refused(member.port, opcodes.CREATE, b"")
            zk.stop()
            zk.close()
            member.restart()
        member.kill()
        shutil.copytree(member.data_dir / "version-2", tmp_path / "version-2")
    assert main(["log", "verify", str(tmp_path)]) == 0
    assert main(["doctor", str(tmp_path)]) == 0
    with serve(tmp_path) as server:
        zk = KazooClient(hosts=server.connect, timeout=60)
        zk.start(timeout=20)
        assert sorted(seen(zk)) == expected
        zk.stop()
        zk.close()
