"""The shell at a terminal: completion as a function, and a real terminal (a pty) with prompt, Tab and history."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coordination.testing import server
from coordination.tools.client import Client
from coordination.tools.line import complete
from coordination.tools.shell import OWN_VERBS, VERBS

WAIT_S = 20.0
TREE = {"/": ["app", "apple", "zookeeper"], "/app": ["config", "lock"], "/app/config": []}


def children(path: str) -> list[str]:
    return TREE.get(path, [])


COMPLETIONS = [
    ("get", "get", ["get", "getAcl", "getAllChildrenNumber", "getEphemerals"]),
    ("w", "w", ["watch", "whoami"]),
    ("ls /a", "/a", ["/app", "/apple"]),
    ("ls -R /app/", "/app/", ["/app/config", "/app/lock"]),
    ("ls /app/c", "/app/c", ["/app/config"]),
    ("ls ", "", ["/app", "/apple", "/zookeeper"]),
    ("ls /nowhere/x", "/nowhere/x", []),
    ("create -", "-", ["-c", "-e", "-s", "-t"]),
    ("help redo", "redo", ["redo"]),
    ("history /a", "/a", []),
    ("set /app val", "val", []),
]


@pytest.mark.parametrize(("line", "text", "found"), COMPLETIONS)
def test_completion(line: str, text: str, found: list[str]) -> None:
    assert complete(line, text, children) == found


def test_an_empty_line_completes_to_every_verb() -> None:
    assert complete("", "", children) == sorted([*VERBS, *OWN_VERBS])


class Terminal:
    """A program on a pseudo terminal: what was typed, and what came until something expected came."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.seen = ""

    def expect(self, pattern: str) -> str:
        """Everything up to and with the first match."""
        while (match := re.search(pattern, self.seen)) is None:
            ready, _, _ = select.select([self.fd], [], [], WAIT_S)
            assert ready, f"{pattern!r} did not come, but {self.seen!r}"
            self.seen += os.read(self.fd, 4096).decode(errors="replace")
        found, self.seen = self.seen[: match.end()], self.seen[match.end() :]
        return found

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())


@contextmanager
def shell(where: str, home: Path) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    controller, terminal = pty.openpty()
    environment = os.environ | {"XDG_STATE_HOME": str(home), "TERM": "dumb", "INPUTRC": "/dev/null"}
    command = [sys.executable, "-m", "coordination", "cli", "-c", where]
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True
    )
    os.close(terminal)
    try:
        yield Terminal(controller), process
    finally:
        process.kill()
        process.wait()
        os.close(controller)


def test_at_a_terminal(zk: server.Server, client: Client, top: str, tmp_path: Path) -> None:
    client.create(f"{top}/only-one", b"")
    with shell(zk.connect, tmp_path) as (terminal, process):
        terminal.expect(r"\(CONNECTED\) 0\] ")
        terminal.type(f"ls {top}/on\t\n")
        assert "only-one" in terminal.expect(r"\[\]")
        terminal.expect(r"\(CONNECTED\) 1\] ")
        terminal.type(f"addWatch {top}\n")
        terminal.expect(r" 2\] ")
        # An event from elsewhere is shown at once, and the prompt and what was typed so far are drawn again behind it.
        terminal.type("get ")
        terminal.expect("get ")
        client.set(top, b"new")
        terminal.expect(rf"WATCHER::\s+WatchedEvent .*NodeDataChanged path:{top} zxid: \d+\s+\[zk: .* 2\] get ")
        terminal.type(f"{top}\n")
        terminal.expect("new")
        terminal.expect(r" 3\] ")
        terminal.type("addauth digest alice:secret\n")
        terminal.expect(r" 4\] ")
        process.send_signal(signal.SIGINT)
        terminal.expect(r"\^C")
        terminal.type("quit\n")
        assert process.wait(WAIT_S) == 0
    kept = (tmp_path / "brokerdemo" / "coordination_cli_history").read_text()
    assert f"addWatch {top}" in kept
    assert "secret" not in kept
    assert (tmp_path / "brokerdemo" / "coordination_cli_history").stat().st_mode & 0o077 == 0


def test_control_characters_in_a_value_do_not_drive_the_terminal(
    zk: server.Server, client: Client, top: str, tmp_path: Path
) -> None:
    client.set(top, b"\x1b[2Jgone")
    with shell(zk.connect, tmp_path) as (terminal, _):
        terminal.expect(r" 0\] ")
        terminal.type(f"get {top}\n")
        assert "\x1b" not in terminal.expect(r"\\x1b\[2Jgone")
        terminal.type("\x04")


def test_ctrl_c_ends_a_watch_and_nothing_else(zk: server.Server, client: Client, top: str) -> None:
    command = [sys.executable, "-m", "coordination", "cli", "-c", zk.connect, "--json", "watch", "-R", top]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "Ctrl-C" in process.stderr.readline()
        client.create(f"{top}/a", b"")
        assert '"NodeCreated"' in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 130


def test_watch_ends_after_as_many_events_as_asked_for(zk: server.Server, client: Client, top: str) -> None:
    command = [sys.executable, "-m", "coordination", "cli", "-c", zk.connect, "watch", "-n", "2", top]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()
        client.set(top, b"1")
        client.create(f"{top}/a", b"")
        out, _ = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
        assert re.findall(r"type:(\w+)", out) == ["NodeDataChanged", "NodeChildrenChanged"]
