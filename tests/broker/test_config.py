"""Live settings: applied by every broker they concern, refused with a reason, taken back."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from brokerdemo import znodes
from brokerdemo.broker.settings import BROKER, CLUSTER, KEYS, TOPIC, Settings, in_force, parse
from brokerdemo.znodes import Config, Worker


@pytest.fixture(autouse=True)
def level_kept() -> Iterator[None]:
    root = logging.getLogger()
    before = root.level
    yield
    root.setLevel(before)


async def test_a_setting_is_applied_by_every_broker(cluster: Any) -> None:
    await cluster.up(1, 2, 3)
    await cluster.zk.create(znodes.CONFIG_CLUSTER, Config({"log.level": "debug"}).encode())
    for broker_id in (1, 2, 3):
        applied = await cluster.events.first(event="config_applied", broker=broker_id)
        assert (applied["znode"], applied["version"], applied["changed"]) == (
            znodes.CONFIG_CLUSTER, 0, {"log.level": "debug"},
        )  # fmt: skip
    assert logging.getLogger().level == logging.DEBUG
    since = len(cluster.events.heard)
    await cluster.zk.delete(znodes.CONFIG_CLUSTER)
    taken_back = await cluster.events.first(since, event="config_applied", broker=2)
    assert (taken_back["version"], taken_back["changed"]) == (-1, {"log.level": None})
    await cluster.events.until(lambda: logging.getLogger().level == logging.INFO)


async def test_a_bad_value_keeps_the_last_good_ones(cluster: Any) -> None:
    await cluster.up(1)
    await cluster.zk.create(znodes.CONFIG_CLUSTER, Config({"reassign.delay.ms": "77"}).encode())
    await cluster.events.first(event="config_applied")
    for version, value in enumerate(
        [
            Config({"reassign.delay.ms": "soon"}).encode(),
            Config({"reassign.delay.ms": "5", "no.such.key": "1"}).encode(),
            b"no json at all",
            Config({"broker.rack": "r"}).encode(),
        ],
        1,
    ):
        await cluster.zk.set(znodes.CONFIG_CLUSTER, value)
        refused = await cluster.events.first(event="config_rejected", version=version)
        assert refused["znode"] == znodes.CONFIG_CLUSTER
        assert refused["reason"]
    assert cluster.brokers[1].broker._live.present.controller.reassign_delay_ms == 77
    keys = [e["key"] for e in cluster.events.all(event="config_rejected")]
    assert keys == ["reassign.delay.ms", "no.such.key", "", "broker.rack"]
    await cluster.zk.set(znodes.CONFIG_CLUSTER, Config({"reassign.delay.ms": "78"}).encode())
    applied = await cluster.events.first(event="config_applied", version=5)
    assert applied["changed"] == {"reassign.delay.ms": 78}


async def test_a_broker_setting_wins_over_the_clusters(cluster: Any) -> None:
    await cluster.up(1, 2)
    await cluster.zk.create(znodes.broker_config_path(1), Config({"session.timeout.ms": "3000"}).encode())
    await cluster.events.first(event="config_applied", znode=znodes.broker_config_path(1))
    assert cluster.events.all(event="config_applied", broker=2) == []
    await cluster.zk.create(znodes.CONFIG_CLUSTER, Config({"session.timeout.ms": "2500"}).encode())
    for broker_id in (1, 2):
        await cluster.events.first(event="config_applied", broker=broker_id, znode=znodes.CONFIG_CLUSTER)
    timeouts = [cluster.brokers[b].broker._fence._zk.session_timeout_ms for b in (1, 2)]
    assert timeouts == [3000, 2500]
    assert len(cluster.events.all(event="broker_registered")) == 2, "the session lived on"


async def test_a_rack_set_live_stands_in_the_registration(cluster: Any) -> None:
    await cluster.up(1)
    czxid = (await cluster.zk.exists(znodes.worker_path(1))).czxid
    await cluster.zk.create(znodes.broker_config_path(1), Config({"broker.rack": "r7"}).encode())
    await cluster.events.first(event="config_applied")
    value, stat = await cluster.zk.get(znodes.worker_path(1))
    assert (Worker.decode(value).rack, stat.czxid) == ("r7", czxid)


async def test_a_delay_set_live_moves_what_is_waiting(cluster: Any) -> None:
    """`reassign.delay.ms` 0 while a broker is away: its replicas move at once."""
    await cluster.up(1, 2, 3, 4)
    await cluster.topic("t", (1, 2, 3))
    await cluster.brokers[1].stopped()
    await cluster.becomes("t", 0, lambda s: s.leader == 2)
    assert 4 not in (await cluster.state("t", 0)).isr
    await cluster.zk.create(znodes.topic_config_path("t"), Config({"reassign.delay.ms": 0}).encode())  # type: ignore[dict-item]
    await cluster.becomes("t", 0, lambda s: set(s.isr) == {2, 3, 4})
    planned = [e for e in cluster.events.all(event="assignment_planned") if e["moves"]]
    assert [(e["moves"], e["lower_bound"]) for e in planned] == [(1, 1)]


# ---- pure ------------------------------------------------------------------------------------------------------------

GOOD = [
    (CLUSTER, "log.level", "DEBUG", "debug"),
    (BROKER, "session.timeout.ms", "1500", 1500),
    (TOPIC, "reassign.delay.ms", "0", 0),
    (CLUSTER, "auto.leader.rebalance.enable", "False", False),
    (BROKER, "broker.rack", "eu-1a", "eu-1a"),
]
BAD = [
    (CLUSTER, "log.level", "loud", "use one of debug"),
    (CLUSTER, "session.timeout.ms", "99", "use 100 to"),
    (CLUSTER, "session.timeout.ms", "1.5", "not a whole number"),
    (CLUSTER, "auto.leader.rebalance.enable", "yes", "use true or false"),
    (TOPIC, "log.level", "debug", "cannot be set for a topic"),
    (CLUSTER, "broker.rack", "a", "cannot be set for a cluster, only for a broker"),
    (BROKER, "broker.rack", "a\nb", "printable"),
    (CLUSTER, "reassign.delay", "1", "known are auto.leader.rebalance.enable"),
]


@pytest.mark.parametrize(("scope", "key", "text", "value"), GOOD)
def test_good_values(scope: str, key: str, text: str, value: object) -> None:
    assert parse(scope, "/z", {key: text}) == ({key: value}, [])


@pytest.mark.parametrize(("scope", "key", "text", "reason"), BAD)
def test_bad_values(scope: str, key: str, text: str, reason: str) -> None:
    _, (refusal,) = parse(scope, "/z", {key: text})
    assert (refusal.znode, refusal.key, refusal.value) == ("/z", key, text)
    assert reason in refusal.reason


def test_every_key_says_what_it_does() -> None:
    assert all(key.does and key.scopes for key in KEYS.values())


def test_nothing_set_is_the_start_options() -> None:
    base = Settings(session_timeout_ms=1500, rack="r")
    assert in_force(base, {}, {}, {}) == base
