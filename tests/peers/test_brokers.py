"""Brokers on a real three-node Apache ZooKeeper ensemble: `brokerdemo up --connect`, and what is killed is detected by
certificate.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordination.testing import apache

pytestmark = [pytest.mark.peers, pytest.mark.timeout(180)]

# Long enough that nothing within a second or two can be its doing; a multiple of the ensemble's tick.
SESSION_TIMEOUT_MS = 8000
TICK_MS = 500


@pytest.fixture(scope="module")
def zoo() -> Iterator[apache.Ensemble]:
    reason = apache.why_unavailable()
    if reason:
        pytest.skip(reason)
    with apache.ensemble(3, tick_time_ms=TICK_MS) as three:
        yield three


class Host:
    """`brokerdemo` with a home of its own, as on a host of its own."""

    def __init__(self, home: Path) -> None:
        self._environment = {**os.environ, "BROKERDEMO_HOME": str(home)}

    def run(self, *words: str, codes: tuple[int, ...] = (0,)) -> Any:
        command = [sys.executable, "-m", "brokerdemo", *words, "--json"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env=self._environment, check=False)
        assert ran.returncode in codes, f"{' '.join(words)}: exit {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        return json.loads(ran.stdout.splitlines()[-1]) if ran.stdout else None


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path)
    try:
        yield one
    finally:
        one.run("down", "--force", codes=(0, 3))  # 3: it is not running


def up(host: Host, zoo: apache.Ensemble, *more: str) -> None:
    timeout = f"{SESSION_TIMEOUT_MS}ms"
    words = ["-n", "3", "-d", "--connect", zoo.connect, "--session-timeout", timeout, "--base-port", "auto"]
    host.run("up", *words, *more)


def test_a_killed_broker_and_a_killed_controller_are_detected_by_certificate(zoo: apache.Ensemble, host: Host) -> None:
    up(host, zoo)
    status = host.run("status")
    assert status["coordination"]["mode"] == "external"
    controller = status["controller"]["id"]
    other = next(broker["id"] for broker in status["brokers"] if broker["id"] != controller)
    figures = {}
    for target in (other, controller):
        fault = host.run("kill", str(target))
        assert fault["target"] == target
        assert fault["detected_by"] == "certificate"
        assert fault["recovered"] is True
        assert fault["stages_ms"]["serving"] < SESSION_TIMEOUT_MS / 4
        figures[tuple(fault["roles"])] = {stage: round(ms) for stage, ms in fault["stages_ms"].items()}
        host.run("restart", str(target))
    status = host.run("status")
    assert [broker["state"] for broker in status["brokers"]] == ["live"] * 3
    assert status["controller"]["epoch"] >= 2
    print(figures)


def test_without_certificates_it_is_the_session_timeout(zoo: apache.Ensemble, host: Host) -> None:
    up(host, zoo, "--no-certificates", "--session-timeout", "2s")
    fault = host.run("kill", "controller")
    assert fault["detected_by"] == "session_timeout"
    assert fault["recovered"] is True
    # From the last ping, up to 2/3 of the timeout before the kill.
    assert fault["stages_ms"]["detected"] > 2000 / 3
