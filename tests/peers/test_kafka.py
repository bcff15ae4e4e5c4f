"""A real Apache Kafka broker in ZooKeeper mode on our server, which is killed and started again under it.

Needs Java, and Kafka's jars in the directory that KAFKA_LIBS names (`libs` of a Kafka 3.x distribution).
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from coordination.testing import apache, server
from coordination.testing.process import Process
from coordination.tools.client import Client
from coordination.tools.connect_string import parse

pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]

LIBS = os.environ.get("KAFKA_LIBS", "")
TOOL_TIMEOUT_S = 90.0
SESSION_TIMEOUT_MS = 6000
CHROOT = "/kafka"
REGISTRATION = "/brokers/ids/1"
TOPICS = "org.apache.kafka.tools.TopicCommand"
PRODUCER = "kafka.tools.ConsoleProducer"
CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"


def java(main: str, *arguments: str) -> list[str]:
    return ["java", *apache.QUICK_JVM, "-cp", f"{LIBS}/*", main, *arguments]


@dataclass
class Kafka:
    """One broker, and what its own tools do with it."""

    broker: Process
    address: str

    def tool(self, name: str, *arguments: str, given: str = "") -> str:
        command = java(name, "--bootstrap-server", self.address, *arguments)
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}\n{self.broker.output.read_text()[-2000:]}"
        return done.stdout

    def create_topic(self, name: str) -> None:
        self.tool(TOPICS, "--create", "--topic", name, "--partitions", "2", "--replication-factor", "1")

    def produce(self, topic: str, lines: list[str]) -> None:
        given = "".join(f"{line}\n" for line in lines)
        self.tool(PRODUCER, "--topic", topic, "--producer-property", "acks=all", given=given)

    def consume(self, topic: str, count: int) -> list[str]:
        said = self.tool(CONSUMER, "--topic", topic, "--from-beginning", "--max-messages", str(count))
        return sorted(said.split())


@pytest.fixture
def zk(tmp_path: Path) -> Iterator[server.Server]:
    with server.serve(tmp_path / "zk") as running:
        yield running


@pytest.fixture
def kafka(zk: server.Server, tmp_path: Path) -> Iterator[Kafka]:
    if not LIBS or not shutil.which("java"):
        pytest.skip("Apache Kafka needs Java, and its jars where KAFKA_LIBS says (libs of a 3.x distribution)")
    address = f"127.0.0.1:{apache.free_ports(1)[0]}"
    settings = {
        "broker.id": 1,
        "listeners": f"PLAINTEXT://{address}",
        "log.dirs": tmp_path / "kafka",
        "zookeeper.connect": zk.connect + CHROOT,
        "zookeeper.session.timeout.ms": SESSION_TIMEOUT_MS,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        "auto.create.topics.enable": "false",
    }
    file = tmp_path / "server.properties"
    file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    broker = Process(java("kafka.Kafka", str(file)), tmp_path / "broker.out")
    broker.start()
    try:
        yield Kafka(broker, address)
    finally:
        broker.kill()


def registration(zk: server.Server) -> tuple[int, int]:
    """(czxid, owner) of the broker's ephemeral znode."""
    with Client(parse(zk.connect + CHROOT)).start() as client:
        stat = client.exists(REGISTRATION)
    assert stat is not None
    return stat.czxid, stat.ephemeral_owner


def test_a_broker_goes_on_when_the_server_was_killed(zk: server.Server, kafka: Kafka) -> None:
    before, after = [f"b{number}" for number in range(50)], [f"a{number}" for number in range(50)]
    kafka.create_topic("one")
    kafka.produce("one", before)
    registered = registration(zk)

    zk.restart()

    kafka.create_topic("two")  # by the controller, which is one by the same ephemeral znode as before
    kafka.produce("one", after)
    kafka.produce("two", after)
    assert kafka.consume("one", 100) == sorted(before + after)
    assert kafka.consume("two", 50) == sorted(after)
    assert registration(zk) == registered
    kafka.tool(TOPICS, "--delete", "--topic", "two")
    assert "one" in kafka.tool(TOPICS, "--list")
