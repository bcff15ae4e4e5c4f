"""What the tools are used on: a server of ours, and data directories, sound ones and broken ones.

And the commands as functions: what they print and their exit code.
"""

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from coordination.state import txn
from coordination.state.txn import SetDataTxn, TxnBody, TxnHeader
from coordination.storage import SnapshotWriter, TxnLog
from coordination.storage.log_format import HEADER, records
from coordination.testing import server
from coordination.tools import commands
from coordination.tools.client import Client
from coordination.tools.connect_string import parse
from coordination.tools.watch_table import Event
from coordination.wire import opcodes

LINES = Path(__file__).with_name("zkcli_lines.txt")
PROPERTIES = "zookeeper.extendedTypesEnabled=true\n"
PREALLOC_BYTES = 1 << 16
SESSION = 0x1000

# --- a server


@pytest.fixture(scope="session")
def zk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Server]:
    """A server that all tests share: each keeps to znodes of its own."""
    properties = tmp_path_factory.mktemp("server") / "props"
    properties.write_text(PROPERTIES)
    with server.serve(options=["--props", str(properties), "--4lw", "ruok,srvr,mntr,conf,cons"]) as running:
        yield running


@pytest.fixture
def top(zk: server.Server) -> str:
    """A znode of this test's own."""
    path = f"/{uuid4().hex[:8]}"
    with Client(parse(zk.connect)).start() as client:
        client.create(path, b"")
    return path


@pytest.fixture
def client(zk: server.Server) -> Iterator[Client]:
    with Client(parse(zk.connect)).start() as client:
        yield client


class Events(list[Event]):
    """The events of a client, in order; the list itself is the callback's only side effect."""

    def of_watches(self) -> list[Event]:
        return [each for each in self if each.type != -1]


# --- a data directory


def payload(zxid: int, body: TxnBody | None = None, type_: int = opcodes.SET_DATA) -> bytes:
    return txn.encode(
        TxnHeader(SESSION, zxid, zxid, 1_700_000_000_000 + zxid, type_), body or SetDataTxn("/a", b"x", 1)
    )


def write_log(directory: Path, *files: range) -> Path:
    """A log of one file per range of zxids; its version-2."""
    log = TxnLog.open(directory, prealloc_bytes=PREALLOC_BYTES)
    for zxids in files:
        log.append([payload(zxid) for zxid in zxids])
        log.roll()
    log.close()
    return directory / "version-2"


def without_records(path: Path, first: int, last: int) -> None:
    """Cut these zxids out of a log file, with nothing left of them."""
    before = path.read_bytes()
    ends = {zxid: stop for zxid, _, stop in records(before, HEADER.size, len(before), [])}
    path.write_bytes(before[: ends[first - 1]] + before[ends[last] :])


def write_snapshot(directory: Path, zxid: int, extra: tuple[str, ...] = ()) -> Path:
    """A snapshot of `/`, `/a` and the `extra` paths; its file."""
    stat = (1, 1, 5, 5, 0, 0, 0, 0, 1)
    nodes = [("/", b"", -1, stat), *((path, b"v", 1, stat) for path in ("/a", *extra))]
    acls = {1: [(31, "digest", "u:hash=")]}
    version = directory / "version-2"
    version.mkdir(parents=True, exist_ok=True)
    return SnapshotWriter(version, zxid, {SESSION: 4000}, acls, nodes).write_all()


def damage(path: Path, at: int, byte: int = 0x5A) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([byte]))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    return path


# --- the commands


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """stderr without the advice."""
        return "".join(line for line in self.err.splitlines(True) if not line.startswith("  try: "))


Run = Callable[..., Ran]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("cli", "-c", ..., stdin="...")`: a command in this process."""

    def running(name: str, *argv: object, stdin: str = "") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capfd.readouterr()
        try:
            code = commands.run(name, [str(each) for each in argv])
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 1
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return running


@pytest.fixture
def cli(run: Run, zk: server.Server) -> Run:
    """`cli("ls", "/")`: one command of the shell against the shared server."""

    def running(*argv: object, stdin: str = "") -> Ran:
        return run("cli", "-c", zk.connect, *argv, stdin=stdin)

    return running
