"""The test servers themselves: they say why they cannot run, leave nothing half done, and do not outlive their
parent.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordination.testing import apache, server
from coordination.testing.process import Process, ServerDied


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine with an empty cache and only the programs that the test puts into this directory."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    apache.why_unavailable.cache_clear()
    yield programs
    apache.why_unavailable.cache_clear()


def program(directory: Path, name: str, script: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_without_java_it_says_so(elsewhere: Path) -> None:
    assert "needs a Java runtime" in (apache.why_unavailable() or "")


def test_without_maven_it_says_so(elsewhere: Path) -> None:
    program(elsewhere, "java", "exit 0")
    assert "needs Maven" in (apache.why_unavailable() or "")


def test_a_fetch_that_fails_gives_its_reason_and_leaves_nothing(elsewhere: Path) -> None:
    program(elsewhere, "java", "exit 0")
    program(elsewhere, "mvn", "echo '[INFO] trying'; echo '[ERROR] no route to host'; exit 1")
    reason = apache.why_unavailable() or ""
    assert "no route to host" in reason
    assert "trying" not in reason
    assert [path.name for path in apache.cache_dir().iterdir()] == ["lock"]


def test_a_fetch_is_done_once(elsewhere: Path, tmp_path: Path) -> None:
    program(elsewhere, "java", "exit 0")
    counted = tmp_path / "how often"
    # Makes the directory named by -DoutputDirectory, as the real one does.
    program(
        elsewhere,
        "mvn",
        f'echo x >> "{counted}"; for a; do case $a in -DoutputDirectory=*) /bin/mkdir "${{a#*=}}";; esac; done',
    )
    assert apache.why_unavailable() is None
    apache.why_unavailable.cache_clear()
    assert apache.why_unavailable() is None
    assert counted.read_text() == "x\n"


def test_a_server_that_does_not_come_up_is_quoted() -> None:
    with pytest.raises(ServerDied, match="no-such-option"), server.serve(options=["--no-such-option"]):
        pass


def test_a_process_is_stopped_also_while_it_is_paused(tmp_path: Path) -> None:
    child = Process([sys.executable, "-c", "import signal; signal.pause()"], tmp_path / "output")
    child.start()
    child.pause()
    assert child.stop() == -signal.SIGTERM
    assert child.stop() == -signal.SIGTERM
    assert not child.is_running


ORPHANAGE = """
import os, signal
from coordination.testing import server
with server.serve() as ours:
    print(ours.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not Path("/usr/bin/setpriv").exists(), reason="needs setpriv (util-linux)")
def test_a_server_does_not_outlive_a_parent_that_was_killed() -> None:
    ran = subprocess.run([sys.executable, "-c", ORPHANAGE], capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == -signal.SIGKILL
    pid = int(ran.stdout)
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Readable once the process is gone.
        import select

        assert select.select([descriptor], [], [], 10)[0]
    finally:
        os.close(descriptor)
