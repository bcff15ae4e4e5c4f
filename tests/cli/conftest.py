"""A command line to call, and a small fake supervisor that speaks the control protocol.

The fake answers from a table, so that a command's text, JSON and exit code can be tested without a cluster; the tests
in test_real.py and test_terminal.py run the real thing.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from brokerdemo.__main__ import main
from brokerdemo.cli import screen
from brokerdemo.cluster import launcher, layout

STATUS: dict[str, Any] = {
    "schema": "brokerdemo.status/1",
    "cluster": "default",
    "uptime_ms": 131_000,
    "coordination": {"connect": "127.0.0.1:12181", "mode": "embedded"},
    "controller": {"id": 2, "epoch": 1},
    "brokers": [
        {"id": i, "state": "live", "pid": 48210 + i, "host": "127.0.0.1", "port": 19091 + i, "epoch": 20 + i,
         "leads": 2, "follows": 4, "uptime_ms": 130_000}
        for i in (1, 2, 3)
    ],
    "topics": [
        {"name": "demo", "partitions": [
            {"partition": p, "leader": p % 3 + 1, "leader_epoch": 0, "replicas": [1, 2, 3], "isr": [1, 2, 3]}
            for p in range(6)
        ]}
    ],
}  # fmt: skip

FAULT: dict[str, Any] = {
    "schema": "brokerdemo.fault/1",
    "fault": "f7",
    "kind": "kill",
    "signal": "KILL",
    "target": 2,
    "pid": 48212,
    "t_ns": 1_000_000_000,
    "roles": ["controller", "leader"],
    "led": ["demo/1", "demo/4"],
    "detected_by": "certificate",
    "session_timeout_ms": 1500,
    "stages_ms": {"detected": 11.8, "controller": 19.2, "reassigned": 26.0, "serving": 31.4},
    "recovered": True,
    "controller_before": {"id": 2, "epoch": 1},
    "new_controller": {"id": 3, "epoch": 2},
    "moved": [
        {"topic": "demo", "partition": 1, "from": 2, "to": 3, "leader_epoch": 1},
        {"topic": "demo", "partition": 4, "from": 2, "to": 1, "leader_epoch": 1},
    ],
    "notes": [],
}

Answer = Callable[[Mapping[str, Any]], Any]


class Refusal(Exception):
    """Raised by an answer of the fake: becomes the protocol's error object."""

    def __init__(self, code: int, what: str, why: str = "", do: str = "", result: Any = None) -> None:
        super().__init__(what)
        self.error = {"code": code, "what": what, "why": why, "do": do}
        if result is not None:
            self.error["result"] = result


@dataclass
class Fake:
    """A supervisor that answers `verb` with `answers[verb](request)`: streamed lines and a result, or a result only."""

    name: str
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as file:
                request = json.loads(file.readline() or "{}")
                self.requests.append(request)
                for line in self._lines(request):
                    file.write(json.dumps(line).encode() + b"\n")

    def _lines(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        try:
            found = self.answers[request["verb"]](request)
        except Refusal as refusal:
            yield {"ok": False, "error": refusal.error}
            return
        except KeyError:
            yield {"ok": False, "error": {"code": 1, "what": f"the fake knows no {request.get('verb')}"}}
            return
        streamed, result = found if isinstance(found, tuple) else ([], found)
        yield from streamed
        yield {"ok": True, "result": result}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of the test's own; nothing of the developer's clusters is seen."""
    monkeypatch.setenv("BROKERDEMO_HOME", str(tmp_path / "home"))
    for name in ("BROKERDEMO_CLUSTER", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def start_fake(home: Path) -> Iterator[Callable[[str], Fake]]:
    """Start fakes; each holds its cluster's lock as a supervisor does."""
    running: list[tuple[socket.socket, int, Path, threading.Thread]] = []

    def start(name: str) -> Fake:
        place = layout.layout(name)
        place.prepare()
        lock = os.open(place.lock, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(place.socket_path))
        listener.listen()
        fake = Fake(name)
        fake.answers = {
            "status": lambda request: STATUS,
            "ping": lambda request: {"cluster": name, "pid": 1, "uptime_ms": 1.0},
            "kill": lambda request: FAULT,
            "timeline": lambda request: FAULT,
        }
        thread = threading.Thread(target=fake.serve, args=(listener,), daemon=True)
        thread.start()
        running.append((listener, lock, place.socket_path, thread))
        return fake

    yield start
    for listener, lock, path, thread in running:
        listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        listener.close()
        thread.join(5)
        os.close(lock)
        path.unlink()


@pytest.fixture
def fake(start_fake: Callable[[str], Fake]) -> Fake:
    """One fake supervisor, of the cluster `default`."""
    return start_fake("default")


def environ_of(home: Path, **more: str) -> dict[str, str]:
    """The environment of a process whose clusters are in `home`."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith("BROKERDEMO") and k not in ("NO_COLOR", "FORCE_COLOR")
    }
    return {**kept, "BROKERDEMO_HOME": str(home), **more}


@dataclass(frozen=True)
class Ran:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Cli = Callable[..., Ran]


@pytest.fixture
def cli(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process: a hundred of them in the time ten new interpreters take."""
    monkeypatch.setattr(screen, "_look", None)
    monkeypatch.setattr(launcher, "prestart", lambda: None)
    before = signal.getsignal(signal.SIGINT)

    def run(line: str | list[str], **environ: str) -> Ran:
        with monkeypatch.context() as patch:
            patch.setenv("BROKERDEMO_CLUSTER", "")
            for name, value in environ.items():
                patch.setenv(name, value)
            capsys.readouterr()
            try:
                code = main(line.split() if isinstance(line, str) else line)
            finally:
                signal.signal(signal.SIGINT, before)
        done = capsys.readouterr()
        return Ran(code, done.out, done.err)

    return run


@pytest.fixture
def shell(home: Path) -> Cli:
    """Run a command line as a user's shell would, in a process of its own, without a terminal."""

    def run(line: str, **environ: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "brokerdemo", *line.split()],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110, check=False,
            env={**os.environ, **environ},
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr)

    return run
