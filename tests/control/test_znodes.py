"""Znode values: what is written is read back, foreign fields survive, bad values are refused with a precise reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokerdemo import znodes
from brokerdemo.znodes import (
    Config,
    Master,
    MasterEpoch,
    PartitionState,
    ReassignRequest,
    ReplicaAssignment,
    Topic,
    TopicRequest,
    Worker,
    ZnodeValueError,
)

TABLE = [
    (Master(2, 3, "o", "i"), b'{"version":1,"broker":2,"controller_epoch":3,"owner":"o","incarnation":"i"}'),
    (MasterEpoch(3), b'{"version":1,"epoch":3}'),
    (
        Worker("h", 9092, "r1", "o", "i"),
        b'{"version":1,"host":"h","port":9092,"rack":"r1","owner":"o","incarnation":"i"}',
    ),
    (
        Topic("x", {0: ReplicaAssignment((1, 4, 2), (4,), (2,))}),
        b'{"version":1,"topic_id":"x","partitions":{"0":{"replicas":[1,4,2],"adding":[4],"removing":[2]}}}',
    ),
    (
        Topic("x", {}, TopicRequest(6, 3)),
        b'{"version":1,"topic_id":"x","partitions":{},"request":{"partitions":6,"replication_factor":3}}',
    ),
    (
        PartitionState(1, 0, (1, 2), 1, {1: 7, 2: 8}),
        b'{"version":1,"leader":1,"leader_epoch":0,"isr":[1,2],"controller_epoch":1,"broker_epochs":{"1":7,"2":8}}',
    ),
    (Config({"log.level": "debug"}), b'{"version":1,"config":{"log.level":"debug"}}'),
    (
        ReassignRequest({("t", 0): (1, 2)}),
        b'{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1,2]}],"rebalance":false}',
    ),
]


@pytest.mark.parametrize(("record", "value"), TABLE, ids=[type(r).__name__ for r, _ in TABLE])
def test_both_directions(record: Master, value: bytes) -> None:
    assert record.encode() == value
    assert type(record).decode(value) == record


@pytest.mark.parametrize(("record", "value"), TABLE, ids=[type(r).__name__ for r, _ in TABLE])
def test_unknown_fields_are_kept(record: Master, value: bytes) -> None:
    read = type(record).decode(value[:-1] + b',"later":{"a":[1]}}')
    assert read.extra == {"later": {"a": [1]}}
    assert type(record).decode(read.encode()) == read


REFUSED = [
    (MasterEpoch, b"", "", "not JSON"),
    (MasterEpoch, b"\xff", "", "not JSON"),
    (MasterEpoch, b"[" * 100_000, "", "not JSON"),
    (MasterEpoch, b"3", "", "a JSON object is wanted"),
    (MasterEpoch, b'{"epoch":-1}', "epoch", "a whole number from 0 up"),
    (MasterEpoch, b'{"epoch":true}', "epoch", "a whole number"),
    (MasterEpoch, b'{"version":2,"epoch":1}', "version", "only version 1"),
    (MasterEpoch, b"{}", "epoch", "missing"),
    (Worker, b'{"host":"h","port":"9092"}', "port", "a whole number"),
    (Topic, b'{"partitions":{"x":{"replicas":[1]}}}', "partitions.x", "a whole number"),
    (Topic, b'{"partitions":{"0":{"replicas":[1,1]}}}', "partitions.0.replicas", "listed twice"),
    (Topic, b'{"partitions":{"0":{"replicas":[]}}}', "partitions.0.replicas", "no replica"),
    (Topic, b'{"partitions":{"0":{"replicas":[1],"adding":[2]}}}', "partitions.0.adding", "not all of them"),
    (Topic, b'{"request":{"partitions":0,"replication_factor":1}}', "request.partitions", "a whole number from 1"),
    (PartitionState, b'{"leader":3,"leader_epoch":0,"isr":[1],"controller_epoch":0}', "leader", "not in the ISR"),
    (PartitionState, b'{"leader":-1,"leader_epoch":0,"isr":[],"controller_epoch":0}', "isr", "never empty"),
    (Config, b'{"config":{"a":null}}', "a", "a setting is text"),
    (Config, b'{"config":[]}', "config", "a JSON object"),
    (ReassignRequest, b'{"partitions":[]}', "partitions", "nothing is asked for"),
    (
        ReassignRequest,
        b'{"partitions":[{"topic":"t","partition":0,"replicas":[1]},{"topic":"t","partition":0,"replicas":[2]}]}',
        "partitions[1]",
        "named twice",
    ),
]


@pytest.mark.parametrize(("kind", "value", "key", "reason"), REFUSED)
def test_a_bad_value_is_refused_with_its_reason(kind: type[Master], value: bytes, key: str, reason: str) -> None:
    with pytest.raises(ZnodeValueError, match="cannot use /somewhere") as refused:
        kind.decode(value, "/somewhere")
    assert (refused.value.znode, refused.value.key) == ("/somewhere", key)
    assert reason in refused.value.reason


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.sampled_from([type(r) for r, _ in TABLE]))
def test_any_bytes_are_read_or_refused(value: bytes, kind: type[Master]) -> None:
    try:
        kind.decode(value)
    except ZnodeValueError:
        pass


def test_numbers_and_truths_written_by_hand_are_settings_too() -> None:
    assert Config.decode(b'{"config":{"a":1,"b":true,"c":"x","d":1.5}}').config == {
        "a": "1",
        "b": "true",
        "c": "x",
        "d": "1.5",
    }


@pytest.mark.parametrize(
    ("name", "number"), [("0", 0), ("12", 12), ("01", None), ("", None), ("-1", None), ("²", None)]
)
def test_children_that_are_no_numbers_are_skipped(name: str, number: int | None) -> None:
    assert znodes.parse_id(name) == number


def test_paths_lead_back() -> None:
    assert znodes.partition_of_state_path(znodes.state_path("a.b", 7)) == ("a.b", 7)
    assert znodes.partition_of_state_path(znodes.topic_path("a.b")) is None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "ä", "x" * 250])
def test_topic_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a topic"):
        znodes.check_topic_name(name)
