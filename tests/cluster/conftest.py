"""Real clusters for tests: started as `up` starts them, on ports the system chooses, and gone afterwards.

Fixtures are plain functions: the cluster is other processes, and the control client blocks.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brokerdemo.cluster import launcher, layout
from brokerdemo.cluster.control import ControlClient
from brokerdemo.cluster.errors import ClusterError
from brokerdemo.cluster.processes import start_time

Identity = tuple[int, int]
"""pid and start time: one process for good."""


class Cluster:
    """A running cluster, and who belongs to it."""

    def __init__(self, options: launcher.UpOptions, steps: list[dict[str, Any]], result: dict[str, Any]) -> None:
        self.options = options
        self.steps = steps
        self.result = result
        self.place = layout.layout(options.name)
        self.client = ControlClient(self.place.socket_path, timeout_s=50)
        self.call = self.client.call

    def processes(self) -> dict[str, Identity]:
        """Every process of the cluster as cluster.json names them: name -> identity."""
        listed = layout.read_cluster_json(self.place)["processes"]
        return {p["name"]: (p["pid"], p["start_time"]) for p in listed}


def alive(identity: Identity) -> bool:
    """Whether that very process still exists (a zombie does not count: it has ended)."""
    pid, started = identity
    if start_time(pid) != started:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False  # it ended between the two looks


def wait_gone(identities: dict[str, Identity], within_s: float = 5) -> dict[str, Identity]:
    """Wait until all of them have ended, told by their pidfds; those that have not in time."""
    deadline = time.monotonic() + within_s
    left = dict(identities)
    for name, identity in identities.items():
        try:
            pidfd = os.pidfd_open(identity[0])
        except ProcessLookupError:
            del left[name]
            continue
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            # Opened after the fact: only if it is still that process is there anything to wait for.
            if not alive(identity) or poll.poll(max(0, (deadline - time.monotonic()) * 1000)):
                del left[name]
        finally:
            os.close(pidfd)
    return left


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of its own."""
    monkeypatch.setenv("BROKERDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BROKERDEMO_CLUSTER", raising=False)
    return tmp_path / "home"


Up = Callable[..., Cluster]


class Launched:
    """Clusters started for a test or a module, all gone afterwards."""

    def __init__(self) -> None:
        self._started: list[Cluster] = []

    def up(self, **options: Any) -> Cluster:
        """Start one; ClusterError as `launcher.start` says."""
        wanted = launcher.UpOptions(**{"base_port": 0, "brokers": 3, **options})
        steps = list(launcher.start(wanted))
        cluster = Cluster(wanted, steps, steps[-1]["result"])
        self._started.append(cluster)
        return cluster

    def end(self) -> None:
        """Stop what runs; whatever outlives that is killed, and fails the test."""
        left: dict[str, Identity] = {}
        for cluster in self._started:
            known = layout.read_cluster_json(cluster.place)
            if layout.is_running(cluster.place):
                identities = cluster.processes()
                try:
                    cluster.call("down", force=True)
                except ClusterError:
                    pass
                layout.wait_released(cluster.place)
                left |= wait_gone(identities)
            elif known:
                left |= wait_gone(cluster.processes())
            cluster.place.socket_path.unlink(missing_ok=True)  # a killed supervisor leaves it; its home is gone soon
        for pid, _ in left.values():
            os.kill(pid, signal.SIGKILL)
        assert left == {}, "processes outlived their cluster"


@pytest.fixture
def up(home: Path) -> Iterator[Up]:
    """Start clusters: `up(brokers=3)`."""
    launched = Launched()
    yield launched.up
    launched.end()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for the tests of a module: a start costs a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BROKERDEMO_HOME", str(tmp_path_factory.mktemp("home")))
        launched = Launched()
        # A loaded test machine is slow; a session timeout this long cannot be mistaken for a certificate.
        cluster = launched.up(brokers=5, session_timeout_ms=20_000, racks=("a", "b"), seed=7)
        yield cluster
        launched.end()


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    """The shared cluster, whole: every broker lives, is in sync, and leads again what it is the first replica of."""
    found = shared.call("status")
    if dead := [b["id"] for b in found["brokers"] if b["state"] != "live"]:
        shared.call("restart", targets=dead)
    # Leadership comes back a moment after the last follower is in sync: a test's "before" must not fall between.
    since = shared.call("events")["last_seq"]
    for topic in shared.call("status")["topics"]:
        for one in topic["partitions"]:
            if one["leader"] != (preferred := one["replicas"][0]):
                where = {"topic": topic["name"], "partition": one["partition"]}
                shared.call("await", event={"event": "leader_started", "broker": preferred, **where}, since=since)
    return shared
