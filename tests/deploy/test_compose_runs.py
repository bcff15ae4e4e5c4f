"""The compose file's own five commands, run as processes side by side on a real ensemble: one cluster out of five
hosts.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trio
import yaml

import coordination
from brokerdemo import znodes
from coordination.testing import apache

pytestmark = [pytest.mark.peers, pytest.mark.timeout(240)]

COMPOSE: dict[str, Any] = yaml.safe_load(
    (Path(__file__).resolve().parent.parent.parent / "docker-compose.yml").read_text()
)
BROKERS = [name for name in COMPOSE["services"] if name.startswith("broker-")]


def brokerdemo(home: Path, *words: str, codes: tuple[int, ...] = (0,)) -> str:
    command = [sys.executable, "-m", "brokerdemo", *words]
    environment = {**os.environ, "BROKERDEMO_HOME": str(home)}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert ran.returncode in codes, f"{' '.join(words)}: exit {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def on_this_host(service: str, zoo: apache.Ensemble, home: Path) -> list[str]:
    """The service's command with the container's addresses and directories replaced by this machine's."""
    words = shlex.split(COMPOSE["services"][service]["command"])
    here = {
        "--connect": zoo.connect,
        "--host": "127.0.0.1",
        "--advertise": "127.0.0.1",
        "--base-port": "auto",
        "--data": str(home / "data"),
    }
    return [here.get(before, word) for before, word in zip(["", *words], words, strict=False)]


def at_once(do: Callable[[Any], object], items: Iterable[Any]) -> None:
    """All of them side by side, as hosts do; raises the first failure."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(do, items))


def take_down(homes: dict[str, Path]) -> None:
    at_once(lambda home: brokerdemo(home, "down", "--force", codes=(0, 3)), homes.values())  # 3: it is not running


async def until_gone(connect: str, broker: int) -> None:
    """Returns once the broker's registration is gone and it leads nothing."""
    with trio.fail_after(20):
        async with coordination.connect(connect) as zk:
            async with zk.watch_exists(znodes.worker_path(broker)) as changes:
                async for stat in changes:
                    if stat is None:
                        break
            for partition in range(6):
                async with zk.watch_data(znodes.state_path("demo", partition)) as states:
                    async for found in states:
                        if found is not None and znodes.PartitionState.decode(found[0]).leader != broker:
                            break


def test_five_hosts_are_one_cluster(tmp_path: Path) -> None:
    reason = apache.why_unavailable()
    if reason:
        pytest.skip(reason)
    homes = {name: tmp_path / name for name in BROKERS}
    tick_time_ms = int(COMPOSE["services"]["zoo1"]["environment"]["ZOO_TICK_TIME"])
    with apache.ensemble(3, tick_time_ms=tick_time_ms) as zoo:
        try:
            *first, last = BROKERS
            for stage in (first, [last]):  # as `depends_on` says
                at_once(lambda name: brokerdemo(homes[name], *on_this_host(name, zoo, homes[name]), "-d"), stage)
            seen = [json.loads(brokerdemo(home, "status", "--json")) for home in homes.values()]
            for status in seen:
                assert [broker["id"] for broker in status["brokers"]] == [1, 2, 3, 4, 5]
                assert status["controller"] == seen[0]["controller"]
                (topic,) = status["topics"]
                assert (topic["name"], len(topic["partitions"])) == ("demo", 6)
                assert all(len(partition["isr"]) == 3 for partition in topic["partitions"])
            at_once(
                lambda name: brokerdemo(homes[name], *COMPOSE["services"][name]["healthcheck"]["test"][2:]), BROKERS
            )
            # A broker dies on one host: its supervisor proves it, and the controller, on another, hands its partitions
            # on.
            brokerdemo(homes["broker-2"], "kill", "2", "--no-wait")
            trio.run(until_gone, zoo.connect, 2)
            said = [json.loads(line) for line in brokerdemo(homes["broker-2"], "events", "--json").splitlines()]
            closed = [event for event in said if event["event"] == "session_closed"]
            assert [(event["broker"], event["certainty"]) for event in closed] == [(2, "proven")]
            after = json.loads(brokerdemo(homes["broker-4"], "status", "--json"))
            assert 2 not in [broker["id"] for broker in after["brokers"]]
            assert all(partition["leader"] not in (2, -1) for partition in after["topics"][0]["partitions"])
        finally:
            take_down(homes)
