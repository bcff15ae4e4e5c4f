"""Every znode of the cluster: its path, how its value is written and how it is read back.

In:  typed records, or the bytes found in a znode.  Out: bytes, or typed records. Knows nothing of sessions, versions
or who may write. Answers to Kafka's ZkData.scala (`/master` is its `/controller`, `/workers` its `/brokers/ids`).

    /master                              ephemeral   who is the controller
    /master_epoch                        persistent  how often there was a new one
    /workers/<id>                        ephemeral   a broker; the znode's czxid is its broker epoch
    /topics/<topic>                      persistent  replicas of each partition
    /topics/<topic>/partitions/<p>/state persistent  leader, leader epoch, ISR
    /config/cluster | brokers/<id> | topics/<topic>  settings
    /admin/reassign_partitions | delete_topics/<topic>  requests to the controller

(1) decode(encode(record)) == record, and fields this version does not know survive the round trip.
(2) A value that cannot be used raises `ZnodeValueError` naming znode, key, value and reason; nothing half-read escapes.
(3) Every value is one JSON object with `"version": 1`; a higher version is refused, never guessed at.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MASTER = "/master"
MASTER_EPOCH = "/master_epoch"
WORKERS = "/workers"
TOPICS = "/topics"
CONFIG = "/config"
CONFIG_CLUSTER = "/config/cluster"
CONFIG_BROKERS = "/config/brokers"
CONFIG_TOPICS = "/config/topics"
ADMIN = "/admin"
REASSIGN_PARTITIONS = "/admin/reassign_partitions"
DELETE_TOPICS = "/admin/delete_topics"

# Parents first, so that they can be created in this order by whoever comes first.
PERSISTENT_PARENTS = (WORKERS, TOPICS, CONFIG, CONFIG_BROKERS, CONFIG_TOPICS, ADMIN, DELETE_TOPICS)

NO_LEADER = -1
VALUE_VERSION = 1
# Kafka's rule (Topic.java): the name becomes a directory name with "-<partition>" behind it.
TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


class ZnodeValueError(ValueError):
    """The value of a znode cannot be used. `znode`, `key` ("" = the whole value), `value` and `reason` say why."""

    def __init__(self, znode: str, key: str, value: object, reason: str) -> None:
        self.znode = znode
        self.key = key
        self.value = value
        self.reason = reason
        where = f"{znode} {key}={value!r}" if key else f"{znode} {value!r}"
        super().__init__(f"cannot use {where}: {reason}")


# ---- paths ---------------------------------------------------------------------------------------------------------


def worker_path(broker_id: int) -> str:
    return f"{WORKERS}/{broker_id}"


def topic_path(topic: str) -> str:
    return f"{TOPICS}/{topic}"


def partitions_path(topic: str) -> str:
    return f"{TOPICS}/{topic}/partitions"


def partition_path(topic: str, partition: int) -> str:
    return f"{TOPICS}/{topic}/partitions/{partition}"


def state_path(topic: str, partition: int) -> str:
    return f"{TOPICS}/{topic}/partitions/{partition}/state"


def partition_of_state_path(path: str) -> tuple[str, int] | None:
    """Which partition's state a path is; None for any other path."""
    parts = path.split("/")
    if len(parts) != 6 or parts[1] != "topics" or parts[3] != "partitions" or parts[5] != "state":
        return None
    partition = parse_id(parts[4])
    return None if partition is None else (parts[2], partition)


def broker_config_path(broker_id: int) -> str:
    return f"{CONFIG_BROKERS}/{broker_id}"


def topic_config_path(topic: str) -> str:
    return f"{CONFIG_TOPICS}/{topic}"


def delete_topic_path(topic: str) -> str:
    return f"{DELETE_TOPICS}/{topic}"


def parse_id(name: str) -> int | None:
    """A child's name as a broker id or partition number; None for anything else (foreign children are skipped)."""
    # Both are 32-bit numbers on Kafka's wire, so ten digits are enough.
    if not (name.isascii() and name.isdigit() and len(name) <= 10) or (name[0] == "0" and name != "0"):
        return None
    return int(name)


def check_topic_name(name: str) -> None:
    """Raise ValueError unless `name` may be a topic (Kafka's rule: 1 to 249 of a-z A-Z 0-9 . _ -, not "." or "..")."""
    if name in (".", "..") or not TOPIC_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot be a topic's name: use 1 to 249 letters, digits, dots, underscores or hyphens; not . or"
            " .. alone"
        )


# ---- values --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Master:
    """/master: the acting controller. `incarnation` tells two processes with one broker id apart."""

    broker: int
    controller_epoch: int
    owner: str
    incarnation: str
    extra: Mapping[str, object] = field(default_factory=dict)

    def encode(self) -> bytes:
        return _encode(
            self.extra,
            broker=self.broker,
            controller_epoch=self.controller_epoch,
            owner=self.owner,
            incarnation=self.incarnation,
        )

    @classmethod
    def decode(cls, value: bytes, znode: str = MASTER) -> "Master":
        read = _Reader(znode, value)
        return cls(
            read.whole("broker", 0), read.whole("controller_epoch", 0), read.text("owner"), read.text("incarnation"),
            read.rest(),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class MasterEpoch:
    """/master_epoch: raised by one in the multi that creates /master. Its data version is what every write checks."""

    epoch: int
    extra: Mapping[str, object] = field(default_factory=dict)

    def encode(self) -> bytes:
        return _encode(self.extra, epoch=self.epoch)

    @classmethod
    def decode(cls, value: bytes, znode: str = MASTER_EPOCH) -> "MasterEpoch":
        read = _Reader(znode, value)
        return cls(read.whole("epoch", 0), read.rest())


@dataclass(frozen=True, slots=True)
class Worker:
    """/workers/<id>: a live broker. `owner` is stable with its data directory, `incarnation` is new at each start."""

    host: str
    port: int
    rack: str
    owner: str
    incarnation: str
    extra: Mapping[str, object] = field(default_factory=dict)

    def encode(self) -> bytes:
        return _encode(
            self.extra, host=self.host, port=self.port, rack=self.rack, owner=self.owner, incarnation=self.incarnation
        )

    @classmethod
    def decode(cls, value: bytes, znode: str = WORKERS) -> "Worker":
        read = _Reader(znode, value)
        return cls(
            read.text("host"), read.whole("port", 0), read.text("rack", ""), read.text("owner", ""),
            read.text("incarnation", ""), read.rest(),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReplicaAssignment:
    """The replicas of one partition, in order of preference. While they move, `adding` and `removing` are both in
    `replicas` (KIP-455): the target is what is left without `removing`."""

    replicas: tuple[int, ...]
    adding: tuple[int, ...] = ()
    removing: tuple[int, ...] = ()

    @property
    def target(self) -> tuple[int, ...]:
        return tuple(b for b in self.replicas if b not in self.removing)

    @property
    def moving(self) -> bool:
        return bool(self.adding or self.removing)


@dataclass(frozen=True, slots=True)
class TopicRequest:
    """What a topic's creator asks of the controller when it names no replicas itself."""

    partitions: int
    replication_factor: int


@dataclass(frozen=True, slots=True)
class Topic:
    """/topics/<t>. Either `partitions` says where the replicas are, or `request` asks the controller to place them."""

    topic_id: str
    partitions: Mapping[int, ReplicaAssignment] = field(default_factory=dict)
    request: TopicRequest | None = None
    extra: Mapping[str, object] = field(default_factory=dict)

    def encode(self) -> bytes:
        partitions = {
            str(p): {"replicas": list(a.replicas), "adding": list(a.adding), "removing": list(a.removing)}
            for p, a in sorted(self.partitions.items())
        }
        extra = dict(self.extra)
        if self.request is not None:
            extra["request"] = {
                "partitions": self.request.partitions,
                "replication_factor": self.request.replication_factor,
            }
        return _encode(extra, topic_id=self.topic_id, partitions=partitions)

    @classmethod
    def decode(cls, value: bytes, znode: str = TOPICS) -> "Topic":
        read = _Reader(znode, value)
        topic_id = read.text("topic_id", "")
        partitions: dict[int, ReplicaAssignment] = {}
        for name, inner in read.objects("partitions", {}).items():
            partition = parse_id(name)
            if partition is None:
                raise ZnodeValueError(znode, f"partitions.{name}", name, "a partition is a whole number from 0 up")
            of = _Reader(znode, inner, f"partitions.{name}.")
            assignment = ReplicaAssignment(of.ids("replicas"), of.ids("adding", ()), of.ids("removing", ()))
            for key, listed in (("adding", assignment.adding), ("removing", assignment.removing)):
                if not set(listed) <= set(assignment.replicas):
                    raise ZnodeValueError(znode, f"partitions.{name}.{key}", listed, "not all of them are in replicas")
            if not assignment.target:
                raise ZnodeValueError(znode, f"partitions.{name}.replicas", assignment.replicas, "no replica is left")
            partitions[partition] = assignment
        request = None
        if (asked := read.take("request", None)) is not None:
            of = _Reader(znode, asked, "request.")
            request = TopicRequest(of.whole("partitions", 1), of.whole("replication_factor", 1))
        return cls(topic_id, dict(sorted(partitions.items())), request, read.rest())


@dataclass(frozen=True, slots=True)
class PartitionState:
    """/topics/<t>/partitions/<p>/state. `leader` -1 = none; the ISR is then the last one there was, and is kept.

    `broker_epochs` holds, for the members of the ISR, the czxid under which each was taken in: a broker that died and
    came back between two looks, even between two controllers, is told apart from one that never left (KIP-903's point).
    """

    leader: int
    leader_epoch: int
    isr: tuple[int, ...]
    controller_epoch: int
    broker_epochs: Mapping[int, int] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)

    def encode(self) -> bytes:
        return _encode(
            self.extra,
            leader=self.leader,
            leader_epoch=self.leader_epoch,
            isr=list(self.isr),
            controller_epoch=self.controller_epoch,
            broker_epochs={str(b): epoch for b, epoch in sorted(self.broker_epochs.items())},
        )

    @classmethod
    def decode(cls, value: bytes, znode: str = "state") -> "PartitionState":
        read = _Reader(znode, value)
        leader, leader_epoch = read.whole("leader", NO_LEADER), read.whole("leader_epoch", 0)
        isr, controller_epoch = read.ids("isr"), read.whole("controller_epoch", 0)
        epochs: dict[int, int] = {}
        for name, epoch in read.objects("broker_epochs", {}).items():
            broker = parse_id(name)
            if broker is None or not isinstance(epoch, int) or isinstance(epoch, bool):
                raise ZnodeValueError(znode, f"broker_epochs.{name}", epoch, "broker ids map to whole numbers")
            epochs[broker] = epoch
        if leader != NO_LEADER and leader not in isr:
            raise ZnodeValueError(znode, "leader", leader, f"not in the ISR {list(isr)}")
        if not isr:
            raise ZnodeValueError(znode, "isr", [], "an ISR is never empty: the last one is kept when all are gone")
        return cls(leader, leader_epoch, isr, controller_epoch, epochs, read.rest())


@dataclass(frozen=True, slots=True)
class Config:
    """/config/...: settings as text, as Kafka writes them. Numbers and booleans written by hand are taken as text."""

    config: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)

    def encode(self) -> bytes:
        return _encode(self.extra, config=dict(self.config))

    @classmethod
    def decode(cls, value: bytes, znode: str = CONFIG_CLUSTER) -> "Config":
        read = _Reader(znode, value)
        settings: dict[str, str] = {}
        for key, setting in read.objects("config", None).items():
            if isinstance(setting, bool):
                settings[key] = "true" if setting else "false"
            elif isinstance(setting, str | int | float):
                settings[key] = str(setting)
            else:
                raise ZnodeValueError(znode, key, setting, "a setting is text, a number, true or false")
        return cls(settings, read.rest())


@dataclass(frozen=True, slots=True)
class ReassignRequest:
    """/admin/reassign_partitions: new replicas for the partitions named, Kafka's shape; or `rebalance`: spread
    everything over the live brokers with the fewest moves there can be."""

    partitions: Mapping[tuple[str, int], tuple[int, ...]] = field(default_factory=dict)
    rebalance: bool = False
    extra: Mapping[str, object] = field(default_factory=dict)

    def encode(self) -> bytes:
        listed = [{"topic": t, "partition": p, "replicas": list(r)} for (t, p), r in sorted(self.partitions.items())]
        return _encode(self.extra, partitions=listed, rebalance=self.rebalance)

    @classmethod
    def decode(cls, value: bytes, znode: str = REASSIGN_PARTITIONS) -> "ReassignRequest":
        read = _Reader(znode, value)
        listed = read.take("partitions", [])
        if not isinstance(listed, list):
            raise ZnodeValueError(znode, "partitions", listed, "a list of {topic, partition, replicas} is wanted")
        partitions: dict[tuple[str, int], tuple[int, ...]] = {}
        for index, item in enumerate(listed):
            of = _Reader(znode, item, f"partitions[{index}].")
            where, replicas = (of.text("topic"), of.whole("partition", 0)), of.ids("replicas")
            if where in partitions:
                raise ZnodeValueError(znode, f"partitions[{index}]", list(where), "the partition is named twice")
            if not replicas:
                raise ZnodeValueError(znode, f"partitions[{index}].replicas", [], "a partition needs a replica")
            partitions[where] = replicas
        rebalance = read.take("rebalance", False)
        if not isinstance(rebalance, bool):
            raise ZnodeValueError(znode, "rebalance", rebalance, "true or false is wanted")
        if not partitions and not rebalance:
            raise ZnodeValueError(znode, "partitions", [], "nothing is asked for: name partitions, or rebalance: true")
        return cls(partitions, rebalance, read.rest())


# ---- reading and writing ---------------------------------------------------------------------------------------------

_MISSING = object()


def _encode(extra: Mapping[str, object], **fields: object) -> bytes:
    overlap = extra.keys() & fields.keys()
    assert not overlap, f"known fields {sorted(overlap)} among the unknown ones"
    return json.dumps({"version": VALUE_VERSION, **fields, **extra}, separators=(",", ":")).encode()


def _from_json(znode: str, value: bytes) -> object:
    try:
        return json.loads(value)
    except ValueError as error:  # UnicodeDecodeError is one too
        raise ZnodeValueError(znode, "", value[:80], f"not JSON: {error}") from None
    except RecursionError:
        raise ZnodeValueError(znode, "", value[:80], "not JSON: nested too deep") from None


class _Reader:
    """Takes typed fields out of one JSON object; what nobody took is `rest()`."""

    def __init__(self, znode: str, value: object, prefix: str = "") -> None:
        self._znode = znode
        self._prefix = prefix
        top = isinstance(value, bytes)
        if isinstance(value, bytes):
            value = _from_json(znode, value)
        if not isinstance(value, dict):
            raise ZnodeValueError(znode, prefix.rstrip("."), value, "a JSON object is wanted")
        self._fields: dict[str, object] = dict(value)
        if top:
            version = self._fields.pop("version", VALUE_VERSION)
            if version != VALUE_VERSION or isinstance(version, bool):
                raise ZnodeValueError(znode, "version", version, f"only version {VALUE_VERSION} is known here")

    def take(self, key: str, default: object = _MISSING) -> object:
        value = self._fields.pop(key, default)
        if value is _MISSING:
            raise ZnodeValueError(self._znode, self._prefix + key, None, "the field is missing")
        return value

    def whole(self, key: str, minimum: int) -> int:
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise ZnodeValueError(self._znode, self._prefix + key, value, f"a whole number from {minimum} up is wanted")
        return value

    def text(self, key: str, default: object = _MISSING) -> str:
        value = self.take(key, default)
        if not isinstance(value, str):
            raise ZnodeValueError(self._znode, self._prefix + key, value, "text is wanted")
        return value

    def ids(self, key: str, default: object = _MISSING) -> tuple[int, ...]:
        value = self.take(key, default)
        if not isinstance(value, Iterable) or isinstance(value, str | bytes):
            raise ZnodeValueError(self._znode, self._prefix + key, value, "a list of broker ids is wanted")
        found: list[int] = []
        for item in value:
            if not isinstance(item, int) or isinstance(item, bool) or item < 0:
                raise ZnodeValueError(self._znode, self._prefix + key, item, "a broker id is a whole number from 0 up")
            if item in found:
                raise ZnodeValueError(self._znode, self._prefix + key, item, "the broker is listed twice")
            found.append(item)
        return tuple(found)

    def objects(self, key: str, default: object) -> dict[str, object]:
        value = self.take(key, _MISSING if default is None else default)
        if not isinstance(value, dict):
            raise ZnodeValueError(self._znode, self._prefix + key, value, "a JSON object is wanted")
        return value

    def rest(self) -> dict[str, object]:
        return self._fields
