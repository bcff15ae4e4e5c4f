"""The pytest plugin as its users meet it: a pytest of its own, in a directory of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from brokerdemo.cluster import layout

USER_TESTS = """
import pytest
from kazoo.client import KazooClient


def test_sync(brokers):
    topic = brokers.topic("orders", partitions=2, rf=2)
    assert topic.startswith("orders-")
    assert brokers.leader(topic, 0) is not None
    fault = brokers.kill("leader:%s/0" % topic)
    assert brokers.recovered(fault, within="5s").serving_ms < 5000
    assert brokers.controller in (1, 2)
    # nothing is restarted here: the fixture heals


@pytest.mark.parametrize("again", range(4))
def test_nothing_waits_for_the_kill(brokers, again):
    brokers.kill("controller")


def test_the_next_one_finds_it_whole(brokers):
    assert brokers.view().not_steady() == []
    assert [t["name"] for t in brokers.view().status["topics"]] == ["t"]
    with pytest.raises(AssertionError, match="waited 200ms for the moon"):
        brokers.until(lambda view: False, "the moon", within="200ms")


async def test_trio(brokers):
    await brokers.aio.refresh()
    async with brokers.aio.paused("controller") as fault:
        assert (await brokers.aio.recovered(fault, within="5s")).detected_by == "session_timeout"
    with pytest.raises(RuntimeError, match=r"await brokers.aio.kill"):
        brokers.kill(1)


def test_zookeeper(zookeeper):
    client = KazooClient(zookeeper.hosts)
    client.start()
    assert client.get_children("/") == []
    client.create("/mine")
    client.stop()
    client.close()


def test_zookeeper_again(zookeeper):
    test_zookeeper(zookeeper)  # another chroot: nothing is left of the other test's
"""

STORY = '''
from brokerdemo.scenario import Cluster, scenario


@scenario(brokers=2, topics={"t": (2, 2)}, thresholds={"recovery_ms": "max<LIMIT"})
async def kill_one(cluster: Cluster) -> None:
    """One is killed."""
    await cluster.recovered(await cluster.kill(1))
'''


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's project, and a home for its clusters."""
    monkeypatch.setenv("BROKERDEMO_HOME", str(tmp_path / "home"))
    (tmp_path / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\ntrio_mode = true\nfilterwarnings = ["error"]\n'
    )
    return tmp_path


# A pytest without these starts in half the time: pytest-trio brings hypothesis with it, which is most of the imports.
PLAIN = [word for name in ("trio", "hypothesispytest", "xdist", "timeout", "anyio") for word in ("-p", f"no:{name}")]


def run(project: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=110, check=False,
        cwd=project, env={**os.environ, "COLUMNS": "120"},
    )  # fmt: skip
    return done.returncode, done.stdout


def test_fixtures(project: Path) -> None:
    marker = '\npytestmark = pytest.mark.brokers(n=2, session_timeout="400ms", topics={"t": (2, 2)})\n'
    (project / "test_mine.py").write_text(USER_TESTS + marker)
    code, out = run(project, "--junitxml=j.xml")
    assert code == 0, out
    assert "9 passed" in out
    assert layout.running({"BROKERDEMO_HOME": str(project / "home")}) == []


def test_scenarios_are_collected_and_judged(project: Path) -> None:
    (project / "scenarios").mkdir()
    (project / "scenarios" / "kill_one.py").write_text(STORY.replace("LIMIT", "5000"))
    (project / "scenarios" / "too_slow.py").write_text(STORY.replace("LIMIT", "0.001").replace("kill_one", "too_slow"))
    (project / "scenarios" / "unrelated.py").write_text("raise RuntimeError('nobody asked for this file')\n")
    code, out = run(project, "scenarios", "--junitxml=j.xml")
    assert code == 1, out
    assert "1 failed, 1 passed" in out
    assert "FAIL  recovery_ms       max<0.001" in out
    assert "Traceback" not in out
    assert '<property name="recovery_ms"' in (project / "j.xml").read_text()


def test_a_broken_scenario_file_is_a_collection_error(project: Path) -> None:
    (project / "pyproject.toml").write_text("")
    (project / "scenarios").mkdir()
    (project / "scenarios" / "bad.py").write_text("from brokerdemo.scenario import nothing\n")
    code, out = run(project, *PLAIN, "scenarios")
    assert code == 2
    assert "bad.py cannot be loaded" in out


def test_who_does_not_use_it_pays_nothing(project: Path) -> None:
    """Loaded into every pytest of the environment: no event loop, no client, no cluster code."""
    (project / "test_plain.py").write_text(
        "import sys\n\n\ndef test_nothing():\n"
        "    heavy = {'trio', 'kazoo', 'structlog', 'typer', 'brokerdemo.scenario.dsl', 'brokerdemo.cluster.control'}\n"
        "    assert heavy & set(sys.modules) == set()\n    assert 'brokerdemo.scenario.pytest_plugin' in sys.modules\n"
    )
    (project / "pyproject.toml").write_text("")  # pytest-trio itself imports an event loop
    code, out = run(project, *PLAIN)
    assert code == 0, out


def test_the_plugin_module_imports_no_event_loop() -> None:
    heavy = "{'trio', 'kazoo', 'structlog'}"
    code = f"import sys, brokerdemo.scenario.pytest_plugin; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
