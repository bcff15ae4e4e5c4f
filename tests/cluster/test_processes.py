"""Real processes: starting, dying in every order, and leaving nothing behind."""

import json
import os
import signal
import socket
import stat
import subprocess

import pytest

from brokerdemo.cluster import launcher, layout
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.cluster.processes import start_time
from tests.cluster.conftest import Cluster, Up, alive, wait_gone


def test_up_tells_its_steps_and_status_agrees(cluster: Cluster) -> None:
    assert [step["step"]["name"] for step in cluster.steps[:-1]] == [
        "coordination",
        "brokers 1-5",
        "controller",
        "topic demo",
    ]
    assert cluster.result["topics"] == [{"name": "demo", "partitions": 6, "rf": 3}]
    status = cluster.call("status")
    assert [b["state"] for b in status["brokers"]] == ["live"] * 5
    assert [b["rack"] for b in status["brokers"]] == ["a", "b", "a", "b", "a"]
    assert status["controller"] == cluster.result["controller"]
    assert [p["leader"] in range(1, 6) for p in status["topics"][0]["partitions"]] == [True] * 6
    for broker in status["brokers"]:  # the port it says is the port it has
        with socket.create_connection((broker["host"], broker["port"]), timeout=5):
            pass


def test_what_is_on_disk_is_private_and_holds_no_secret(cluster: Cluster) -> None:
    place = cluster.place
    assert stat.S_IMODE(place.state_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(place.socket_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.socket_path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(place.cluster_json.stat().st_mode) == 0o600
    for path in (place.cluster_json, place.events, place.supervisor_log, place.broker_dir(1) / "log.ndjson"):
        assert "password" not in path.read_text()


def test_every_process_is_away_from_the_terminal(cluster: Cluster) -> None:
    ours = os.getsid(0)
    sessions = {name: os.getsid(pid) for name, (pid, _) in cluster.processes().items()}
    assert ours not in sessions.values()
    assert len(set(sessions.values())) == len(sessions)


def test_supervisor_killed_with_a_paused_broker_leaves_no_orphan(up: Up) -> None:
    cluster = up(brokers=3)
    cluster.call("pause", targets=2)
    processes = cluster.processes()
    assert len(processes) == 6  # supervisor, zygote, coordinator, three brokers
    os.kill(processes["supervisor"][0], signal.SIGKILL)
    assert wait_gone(processes) == {}
    assert not layout.is_running(cluster.place)
    with pytest.raises(ClusterError, match="its supervisor was killed"):
        layout.select("default")
    # The next one cleans up after it, says so, and starts from nothing.
    again = up(brokers=1)
    assert again.steps[0]["step"]["name"] == "stale state"
    assert again.call("status")["controller"] == {"id": 1, "epoch": 1}


def test_zygote_killed_with_a_paused_broker_leaves_no_orphan(up: Up) -> None:
    cluster = up(brokers=3)
    cluster.call("pause", targets=1)
    processes = cluster.processes()
    os.kill(processes["zygote"][0], signal.SIGKILL)
    assert wait_gone(processes) == {}
    assert not cluster.place.socket_path.exists()


def test_an_orphan_of_an_earlier_cluster_is_swept(up: Up) -> None:
    """Should a process have outlived its supervisor all the same: pid and start time together name it."""
    cluster = up(brokers=1)
    processes = cluster.processes()
    os.kill(processes["supervisor"][0], signal.SIGKILL)
    assert wait_gone(processes) == {}
    bystander, orphan = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
    known = json.loads(cluster.place.cluster_json.read_text())
    known["processes"] = [
        {"name": "broker 1", "pid": orphan.pid, "start_time": start_time(orphan.pid)},
        {"name": "broker 2", "pid": bystander.pid, "start_time": 1},  # the pid was used again: not ours
    ]
    cluster.place.cluster_json.write_text(json.dumps(known))
    try:
        again = up(brokers=1)
        assert "killed 1 of its processes" in again.steps[0]["step"]["detail"]
        assert orphan.wait(timeout=5) == -signal.SIGKILL
        assert bystander.poll() is None
    finally:
        for process in (bystander, orphan):
            process.kill()
            process.wait()


def test_second_up_of_the_same_name_is_refused_another_name_is_not(up: Up) -> None:
    cluster = up(brokers=1)
    with pytest.raises(ClusterError, match='"default" is already running') as caught:
        up(brokers=1)
    assert caught.value.code == Code.CONFLICT
    assert str(cluster.processes()["supervisor"][0]) in caught.value.what
    other = up(brokers=1, name="other")
    assert layout.running() == ["default", "other"]
    assert other.call("ping")["cluster"] == "other"


def test_a_busy_port_names_its_owner(up: Up) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ClusterError, match=f"port {port} is in use by pid {os.getpid()} ") as caught:
            up(brokers=1, base_port=port)
    assert caught.value.code == Code.CONFLICT
    assert "--base-port auto" in caught.value.do
    assert not layout.is_running(layout.layout())


def test_an_external_service_that_is_not_there(up: Up) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: refused
        with pytest.raises(ClusterError) as caught:
            up(brokers=1, connect=f"127.0.0.1:{nobody.getsockname()[1]}", ready_within_ms=3_000)
    assert caught.value.code in (Code.ENVIRONMENT, Code.TIMED_OUT)


def test_a_start_that_is_given_up_takes_everything_with_it(home: object) -> None:
    starting = launcher.start(launcher.UpOptions(base_port=0, brokers=3))
    assert next(starting)["step"]["name"] == "coordination"
    place = layout.layout()
    starting.close()
    assert not layout.is_running(place)
    left = {p["name"]: (p["pid"], p["start_time"]) for p in layout.read_cluster_json(place).get("processes", ())}
    assert wait_gone(left) == {}


def test_down_with_a_paused_broker_is_graceful_and_complete(up: Up) -> None:
    cluster = up(brokers=3)
    cluster.call("pause", targets=[1, 3])
    processes = cluster.processes()
    with cluster.client.request("down") as answers:
        steps = [answer["step"]["detail"] for answer in answers]
        assert answers.result["killed"] == []  # SIGCONT first, so that SIGTERM is heard
        layout.wait_released(cluster.place)
    assert sorted(steps) == ["broker 1", "broker 2", "broker 3", "coordination server"]
    assert wait_gone(processes) == {}
    assert not cluster.place.cluster_json.exists()
    assert not cluster.place.socket_path.exists()
    assert not cluster.place.coordination_dir.exists()


def test_sigterm_to_the_supervisor_is_down(up: Up) -> None:
    cluster = up(brokers=2)
    processes = cluster.processes()
    os.kill(processes["supervisor"][0], signal.SIGTERM)
    assert wait_gone(processes) == {}
    assert not cluster.place.cluster_json.exists()


def test_data_that_is_kept_is_found_again(up: Up) -> None:
    cluster = up(brokers=3)
    cluster.call("topics_create", name="orders", partitions=2, rf=2)
    before = cluster.call("topics_describe", name="orders")["partitions"]
    with cluster.client.request("down", keep_data=True) as answers:
        assert answers.result["cluster"] == "default"
        layout.wait_released(cluster.place)
    again = up(brokers=3)
    assert again.result["topics"][0]["existed"] is True
    after = again.call("topics_describe", name="orders")["partitions"]
    assert [p["replicas"] for p in after] == [p["replicas"] for p in before]
    assert again.result["controller"]["epoch"] > cluster.result["controller"]["epoch"]


def test_alive_is_about_the_process_and_not_its_pid() -> None:
    started = start_time(os.getpid())
    assert started is not None
    assert alive((os.getpid(), started))
    assert not alive((os.getpid(), started + 1))
