"""A server of ours for the tools' tests, and the commands as functions: what they print and their exit code."""

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from coordination.testing import server
from coordination.tools import commands
from coordination.tools.client import Client
from coordination.tools.connect_string import parse
from coordination.tools.watch_table import Event

LINES = Path(__file__).with_name("zkcli_lines.txt")
PROPERTIES = "zookeeper.extendedTypesEnabled=true\n"


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
