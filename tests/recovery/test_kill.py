"""kill -9 at random moments under load; a checker replays by zxid.

    python -m pytest tests/recovery/test_kill.py                                  20 kills
    RECOVERY_KILLS=200 RECOVERY_SEED=7 python -m pytest tests/recovery/test_kill.py

(1) No acknowledged write is lost: it is in the server after the restart, with the zxid of its reply, and in the log.
(2) No zxid is used twice: what is acknowledged after a restart lies above everything acknowledged before, and the
    log's zxids are a row without a hole.
(3) Of what was not acknowledged, a client's own order holds: if its n-th write is there, so are all before it.
(4) Sessions live on with their ephemerals and their passwords; a closed session stays closed, its ephemerals gone.
(5) A multi is there whole or not at all. A sequence goes on above every number it gave.

Every second history has its log in a directory of its own.
"""

import os
import random
import select
import shutil
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench.load import CLOSE, CREATE, GET_DATA, Failed, create_body, frame, get_body
from coordination.state import txn
from coordination.state.data_tree import DataTree
from coordination.state.txn import CreateTtlTxn, CreateTxn, MultiTxn
from coordination.storage import TxnSnapLog
from coordination.testing.server import Server

KILLS = int(os.environ.get("RECOVERY_KILLS", "20"))
SEED = int(os.environ.get("RECOVERY_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
WINDOW = 16
SESSION_TIMEOUT_MS = 60_000
EPHEMERAL, PERSISTENT_SEQUENTIAL, PERSISTENT_WITH_TTL = 1, 2, 5
MULTI, CREATE_TTL = 14, 21
TTL_MS = 3_600_000
BESIDE = "-beside"
NO_NODE = -101

# Several servers with a history of some kills each: restarts on one directory, and no test runs for a minute.
KILLS_EACH = 5 if KILLS <= 20 else 25
pytestmark = pytest.mark.timeout(30 + KILLS_EACH * 12)


class Session:
    """A raw session whose id and password outlive its connection."""

    def __init__(self) -> None:
        self.id = 0
        self.password = bytes(16)
        self.sock = socket.socket()
        self.unread = b""

    def connect(self, port: int) -> bool:
        """Attach (again); False: the server says the session is over."""
        self.sock.close()
        self.sock = socket.create_connection(("127.0.0.1", port), 30)
        self.unread = b""
        body = struct.pack(">iqiqi", 0, 0, SESSION_TIMEOUT_MS, self.id, 16) + self.password + b"\0"
        self.sock.sendall(struct.pack(">i", len(body)) + body)
        (reply,) = self.replies(at_least=1)
        _, timeout_ms, found_id = struct.unpack_from(">iiq", reply)
        if timeout_ms <= 0:
            self.sock.close()
            return False
        assert self.id in (0, found_id)
        self.id, self.password = found_id, reply[20:36]
        return True

    def replies(self, at_least: int = 0) -> Iterator[bytes]:
        """Whole frames that came; waits until there are so many. Failed when the server is gone."""
        got = 0
        while True:
            while len(self.unread) >= 4:
                end = 4 + int.from_bytes(self.unread[:4], "big")
                if len(self.unread) < end:
                    break
                found, self.unread = self.unread[4:end], self.unread[end:]
                got += 1
                yield found
            if got >= at_least:
                return
            self.receive()

    def receive(self) -> None:
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            raise Failed("the server is gone")
        self.unread += data

    def call(self, opcode: int, body: bytes) -> tuple[int, int, bytes]:
        """(zxid, error, body) of one request."""
        self.sock.sendall(frame(1, opcode, body))
        (reply,) = self.replies(at_least=1)
        _, zxid, code = struct.unpack_from(">iqi", reply)
        return zxid, code, reply[16:]


PLAIN, TTL, IN_MULTI = "plain", "ttl", "in multi"
KINDS = (PLAIN, PLAIN, TTL, IN_MULTI)
MULTI_PATHS = f"/w{KINDS.index(IN_MULTI)}-"


@dataclass
class Writer:
    """A client that creates /w<number>-<n> one after the other, WINDOW of them under way; each kind in its own way."""

    number: int
    session: Session = field(default_factory=Session)
    sent: int = 0
    acked: int = 0

    @property
    def kind(self) -> str:
        return KINDS[self.number]

    def request(self, n: int) -> bytes:
        if self.kind == TTL:
            body = create_body(self.path(n), b"%d" % n, PERSISTENT_WITH_TTL) + struct.pack(">q", TTL_MS)
            return frame(n, CREATE_TTL, body)
        if self.kind == IN_MULTI:  # its own znode, and one beside it
            part = struct.pack(">iBi", CREATE, 0, -1)
            creates = (part + create_body(path, b"%d" % n) for path in (self.path(n), self.path(n) + BESIDE))
            return frame(n, MULTI, b"".join(creates) + struct.pack(">iBi", -1, 1, -1))
        return frame(n, CREATE, create_body(self.path(n), b"%d" % n))

    def path(self, n: int) -> str:
        return f"/w{self.number}-{n:06}"

    def send(self, count: int) -> None:
        requests = b"".join(self.request(self.sent + i) for i in range(count))
        self.sent += count
        self.session.sock.sendall(requests)


class History:
    """What the clients were told, and the checks against it."""

    def __init__(self) -> None:
        self.path_of: dict[int, str] = {}
        self.highest = 0

    def acknowledged(self, zxid: int, path: str) -> None:
        assert zxid not in self.path_of, f"zxid 0x{zxid:x} was given to {self.path_of.get(zxid)} and to {path}"
        self.path_of[zxid] = path
        self.highest = max(self.highest, zxid)

    def check_files(self, data: Path, logs: Path, scratch: Path) -> DataTree:
        """Replay a copy of the dead server's files: (1), (2). Gives the tree."""
        for directory in {data, logs}:
            shutil.copytree(directory / "version-2", scratch / directory.name / "version-2")
        store = TxnSnapLog.open(scratch / data.name, scratch / logs.name)
        tree = DataTree()
        with store.restore() as restored:
            assert restored.passed_over == [], "a snapshot gets its name only when it is whole"
            if restored.snapshot is not None:
                tree.load(restored.snapshot.acls, restored.snapshot.nodes(), restored.snapshot.zxid)
            for _, payload in restored.txns():
                tree.apply(*txn.decode(payload), [])
        previous = 0
        logged: dict[int, str] = {}
        for zxid, payload in store.log.read():
            assert zxid == previous + 1, f"zxid 0x{zxid:x} follows 0x{previous:x}"
            previous = zxid
            _, body = txn.decode(payload)
            if isinstance(body, (CreateTxn, CreateTtlTxn)):
                logged[zxid] = body.path
            elif isinstance(body, MultiTxn):
                first = body.parts[0][1]
                assert isinstance(first, CreateTxn)
                logged[zxid] = first.path
        for zxid, path in self.path_of.items():
            assert logged.get(zxid) == path, f"{path}, acknowledged with zxid 0x{zxid:x}, is not in the log"
        store.close()
        shutil.rmtree(scratch)
        tree.check_invariants()
        for zxid, path in self.path_of.items():
            assert tree.nodes[path].czxid == zxid
        beside = {path.removesuffix(BESIDE) for path in tree.nodes if path.endswith(BESIDE)}
        both = {path for path in tree.nodes if path.startswith(MULTI_PATHS) and not path.endswith(BESIDE)}
        assert both == beside, f"half of a multi: {both ^ beside}"
        return tree


def load_until(writers: list[Writer], history: History, acks: int) -> None:
    """Keep every writer's window full until so many replies came."""
    poll = select.poll()
    by_fd = {writer.session.sock.fileno(): writer for writer in writers}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    for writer in writers:
        writer.send(WINDOW)
    while acks > 0:
        for fd, _ in poll.poll(30_000):
            writer = by_fd[fd]
            writer.session.receive()
            acks -= take_replies(writer, history, refill=True)


def take_replies(writer: Writer, history: History, *, refill: bool) -> int:
    count = 0
    for reply in writer.session.replies():
        xid, zxid, code = struct.unpack_from(">iqi", reply)
        assert code == 0, f"{writer.path(xid)}: error {code}"
        assert xid == writer.acked, "replies come in the order of the requests"
        history.acknowledged(zxid, writer.path(xid))
        writer.acked += 1
        count += 1
    if refill and count:
        writer.send(count)
    return count


def take_what_arrived(writer: Writer, history: History) -> None:
    """Replies that left the server before it died count too."""
    try:
        while True:
            writer.session.receive()
            take_replies(writer, history, refill=False)
    except Failed:
        writer.session.sock.close()


def resume(writer: Writer, port: int, tree: DataTree) -> None:
    """Re-attach, and check (3): which of the unacknowledged writes are there."""
    assert writer.session.connect(port), "a live session was not taken back"
    there = [writer.path(n) in tree.nodes for n in range(writer.acked, writer.sent)]
    assert there == sorted(there, reverse=True), f"writer {writer.number}: a later write is there and an earlier is not"
    writer.sent = writer.acked = writer.acked + sum(there)
    assert writer.session.call(GET_DATA, get_body(writer.path(writer.sent)))[1] == NO_NODE


@pytest.mark.parametrize("part", range(-(-KILLS // KILLS_EACH)))
def test_kill_at_random_moments(tmp_path: Path, part: int) -> None:
    print(f"seed {SEED}: again with RECOVERY_SEED={SEED} RECOVERY_KILLS={KILLS}")
    rng = random.Random(SEED + part)
    config = tmp_path / "zoo.cfg"
    data = tmp_path / "data"
    logs = tmp_path / "logs" if part % 2 else data
    directories = f"dataDir={data}\ndataLogDir={logs}\n"
    config.write_text(f"maxClientCnxns=0\nsnapCount=150\npreAllocSize=16\nextendedTypesEnabled=true\n{directories}")
    history = History()
    writers = [Writer(number) for number in range(len(KINDS))]
    keeper = Session()  # a session with ephemerals that lives through every kill
    kept: list[str] = []
    closed: list[tuple[Session, str]] = []
    numbers: list[int] = []
    server = Server(None, tmp_path / "output", ["--config", str(config), "--log-level", "warning"])
    server.command.remove("--in-memory")
    try:
        server.serve()
        for session in (keeper, *(writer.session for writer in writers)):
            assert session.connect(server.port)
        for kill in range(KILLS_EACH):
            path = f"/kept-{kill}"
            zxid, code, _ = keeper.call(CREATE, create_body(path, b"", EPHEMERAL))
            assert code == 0
            assert zxid > history.highest, "a zxid from before the restart was used again"
            history.acknowledged(zxid, path)
            kept.append(path)
            zxid, code, reply = keeper.call(CREATE, create_body("/seq-", b"", PERSISTENT_SEQUENTIAL))
            assert code == 0
            sequential = reply[4:].decode()
            history.acknowledged(zxid, sequential)
            numbers.append(int(sequential.removeprefix("/seq-")))
            assert numbers == sorted(set(numbers)), "a number was given twice"
            closed.append(short_session(server, kill, history))
            load_until(writers, history, rng.randrange(1, 400))
            server.kill()
            for writer in writers:
                take_what_arrived(writer, history)
            keeper.sock.close()
            tree = history.check_files(data, logs, tmp_path / "copy")
            assert set(tree.ephemerals.get(keeper.id, ())) == set(kept)
            server.serve()
            assert keeper.connect(server.port), "the keeper's session was not taken back"
            for path in (kept[0], kept[-1]):
                assert keeper.call(GET_DATA, get_body(path))[1] == 0
            for session, gone in closed[-3:]:
                assert keeper.call(GET_DATA, get_body(gone))[1] == NO_NODE
                assert not session.connect(server.port), "a closed session came back"
            for writer in writers:
                resume(writer, server.port, tree)
        for session in (keeper, *(writer.session for writer in writers)):
            session.sock.close()
        assert len(history.path_of) > KILLS_EACH * 2
        print(f"{KILLS_EACH} kills, {len(history.path_of)} acknowledged writes, highest zxid 0x{history.highest:x}")
    finally:
        server.stop()


def short_session(server: Server, kill: int, history: History) -> tuple[Session, str]:
    """A session that leaves before the kill, with an ephemeral of its own."""
    session, path = Session(), f"/short-{kill}"
    assert session.connect(server.port)
    assert session.call(CREATE, create_body(path, b"", EPHEMERAL))[1] == 0
    zxid, code, _ = session.call(CLOSE, b"")
    assert code == 0
    history.highest = max(history.highest, zxid)
    session.sock.close()
    return session, path
