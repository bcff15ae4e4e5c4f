"""Refusals: what is refused now, and what is not any more."""

from typing import Any

from brokerdemo.cluster.refusals import Refusals


def rejected(broker: int, znode: str, key: str = "", **more: Any) -> dict[str, Any]:
    return {
        "event": "config_rejected",
        "broker": broker,
        "znode": znode,
        "key": key,
        "value": "x",
        "reason": "r",
        **more,
    }


def where(refusals: Refusals, unreadable: set[str] | None = None) -> list[tuple[int, str, str]]:
    return [(one["broker"], one["znode"], one["key"]) for one in refusals.now(unreadable)]


def test_every_key_of_the_latest_value_is_told() -> None:
    refusals = Refusals()
    refusals.listen(rejected(1, "/config/cluster", "old", mzxid=7))
    refusals.listen(rejected(1, "/config/cluster", "a", mzxid=8))
    refusals.listen(rejected(1, "/config/cluster", "b", mzxid=8))
    assert where(refusals) == [(1, "/config/cluster", "a"), (1, "/config/cluster", "b")]
    refusals.listen({"event": "config_applied", "broker": 1, "znode": "/config/cluster"})
    assert where(refusals) == []


def test_a_broker_that_starts_anew_says_again_what_it_refuses() -> None:
    refusals = Refusals()
    for broker in (1, 2):
        refusals.listen(rejected(broker, "/config/cluster", "a", mzxid=8))
    refusals.listen({"event": "process_started", "broker": 1})
    refusals.listen({"event": "process_started", "process": "coordinator"})
    assert where(refusals) == [(2, "/config/cluster", "a")]


def test_what_a_controller_could_not_read_is_told_while_it_cannot_be_read() -> None:
    refusals = Refusals()
    refusals.listen(rejected(1, "/topics/bad"))
    refusals.listen(rejected(1, "/admin/reassign_partitions"))
    assert where(refusals, {"/topics/bad"}) == [(1, "/topics/bad", "")]
    assert where(refusals, None) == [(1, "/topics/bad", "")]  # nobody could look: the last that was known
    assert where(refusals, set()) == []


def test_an_epoch_nobody_can_read_is_told_until_somebody_is_elected() -> None:
    refusals = Refusals()
    refusals.listen(rejected(2, "/master_epoch"))
    assert where(refusals, set()) == [(2, "/master_epoch", "")]
    refusals.listen({"event": "controller_elected", "broker": 2, "controller_epoch": 4})
    assert where(refusals, set()) == []
