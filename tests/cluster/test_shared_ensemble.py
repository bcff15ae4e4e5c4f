"""`--connect`: an external service, certificates on it, and two supervisors on one ensemble, as two hosts would be."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.cluster.launcher import TopicSpec
from tests.cluster.conftest import Up

LONG_TIMEOUT_MS = 20_000


class Service:
    """A coordination server of its own, as somebody else would run it."""

    def __init__(self, *where: str) -> None:
        self._where = where
        self.port = "0"

    @property
    def connect(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        ready_read, ready_write = os.pipe()
        command = [sys.executable, "-m", "coordination", "serve", "--port", self.port, *self._where]
        self._process = subprocess.Popen(
            [*command, "--max-session-timeout", "60s", "--ready-fd", str(ready_write)],
            pass_fds=[ready_write],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        os.close(ready_write)
        with open(ready_read) as pipe:
            self.port = pipe.readline().split()[1]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def service() -> Iterator[str]:
    """Its connect string."""
    running = Service("--in-memory")
    running.start()
    yield running.connect
    running.kill()


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[Service]:
    """One that can be killed and started again."""
    running = Service("--data", str(tmp_path / "service"))
    running.start()
    yield running
    running.kill()


def test_two_hosts_one_cluster(up: Up, service: str) -> None:
    topic = (TopicSpec(name="demo", partitions=4, rf=2),)
    here = up(name="here", connect=service, broker_ids=(1, 2), topics=topic, session_timeout_ms=LONG_TIMEOUT_MS)
    there = up(name="there", connect=service, broker_ids=(3, 4), topics=topic, session_timeout_ms=LONG_TIMEOUT_MS)
    assert there.result["topics"][0]["existed"] is True
    status = there.call("status")
    assert [(b["id"], b["state"], b["local"]) for b in status["brokers"]] == [
        (1, "live", False),
        (2, "live", False),
        (3, "live", True),
        (4, "live", True),
    ]
    assert status["coordination"]["mode"] == "external"
    assert status["controller"]["id"] in (1, 2)
    with pytest.raises(ClusterError, match="runs on another host") as caught:
        there.call("kill", targets="controller")
    assert caught.value.code == Code.NOT_FOUND
    with pytest.raises(ClusterError, match="external"):
        here.call("kill", targets="coordinator")

    wide = there.call("topics_create", name="wide", partitions=8, rf=2)
    assert {p["leader"] for p in wide["partitions"]} == {1, 2, 3, 4}

    # A worker here dies, the controller there plans, a leader anywhere takes over.
    worker = there.call("kill", targets=3, within_ms=15_000)
    assert worker["detected_by"] == "certificate"
    assert worker["recovered"] is True
    # Both brokers of this host die, the controller among them: everything goes on elsewhere.
    for fault in here.call("kill", targets="all", within_ms=15_000):
        assert fault["detected_by"] == "certificate"
        assert fault["new_controller"]["id"] == 4
        offline = set(fault["offline"])  # demo's replicas were both here
        assert {name for name in fault["led"] if name.startswith("demo/")} >= {
            n for n in offline if n.startswith("demo/")
        }
    restarted = here.call("restart", targets="all")["restarted"]
    assert {one["broker"] for one in restarted} == {1, 2}
    assert {b["id"]: b["state"] for b in here.call("status")["brokers"]} == {1: "live", 2: "live", 4: "live"}


def test_a_broker_id_taken_by_another_host_is_a_conflict(up: Up, service: str) -> None:
    up(name="here", connect=service, broker_ids=(1,), topics=())
    with pytest.raises(ClusterError) as caught:
        up(name="there", connect=service, broker_ids=(1,), topics=())
    assert caught.value.code == Code.CONFLICT
    assert "broker 1 ended while starting" in caught.value.what


def test_a_certificate_outlives_the_service_it_is_for(up: Up, durable: Service) -> None:
    cluster = up(connect=durable.connect, session_timeout_ms=LONG_TIMEOUT_MS)
    durable.kill()
    cluster.call("await", event={"event": "coordination_suspended"}, since=0, within_ms=10_000)
    before = cluster.call("events")["last_seq"]
    cluster.call("kill", targets=3, wait=False)
    cluster.call("await", event={"event": "process_exited", "broker": 3}, since=before, within_ms=10_000)
    durable.start()
    lost = cluster.call("await", event={"event": "broker_lost", "broker": 3}, since=before, within_ms=15_000)
    assert lost["event"]["by"] == "certificate"
    closed = cluster.call("await", event={"event": "session_closed", "broker": 3}, since=before, within_ms=10_000)
    assert closed["event"]["outcome"] == "closed"


def test_the_session_timeout_told_is_the_one_granted(up: Up, service: str) -> None:
    cluster = up(brokers=1, connect=service, session_timeout_ms=500)  # twice this server's tick is its least
    assert cluster.result["session_timeout_ms"] == 4_000
    assert cluster.call("status")["session_timeout_ms"] == 4_000
