"""What one broker process is started with.

In: values from a launcher, a command line or a test. Out: a frozen, checked record. Live settings are not here: they
come from the /config znodes (`brokerdemo.broker.config_watch`). Answers to the static part of Kafka's KafkaConfig.

(1) A record that exists is usable: every bound is checked when it is made, with a message that says what to change.
(2) Nothing here is secret; the record may be logged as it is.
"""

from dataclasses import dataclass

# The lower bound is what the embedded server accepts at its fastest; the upper one is a day, a slip of the pen beyond.
SESSION_TIMEOUT_MS_MIN = 100
SESSION_TIMEOUT_MS_MAX = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOptions:
    """Start options of a broker.

    `connect` is a ZooKeeper connect string (`host:port,host:port`, optionally with a chroot). `port` 0 lets the system
    choose. `data_dir` keeps the owner id between starts; None keeps nothing, so a restart is a stranger to its own
    stale registration unless `owner` is given. `channel_fd` is an inherited socket to the supervisor (Contract: NDJSON
    events out, end of file means the supervisor died). `advertised_host` is what clients are told when `host` is a
    bind address such as 0.0.0.0.
    """

    broker_id: int
    host: str = "127.0.0.1"
    port: int = 0
    connect: str = "127.0.0.1:2181"
    session_timeout_ms: int = 10_000
    data_dir: str | None = None
    rack: str = ""
    owner: str | None = None
    channel_fd: int | None = None
    log_file: str | None = None
    advertised_host: str | None = None

    def __post_init__(self) -> None:
        if self.broker_id < 0:
            raise ValueError(f"broker id {self.broker_id} is negative: ids are whole numbers from 0 up")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port} of broker {self.broker_id} is not a TCP port: use 0 to 65535")
        if not SESSION_TIMEOUT_MS_MIN <= self.session_timeout_ms <= SESSION_TIMEOUT_MS_MAX:
            raise ValueError(
                f"session timeout {self.session_timeout_ms} ms of broker {self.broker_id} is out of bounds: "
                f"use {SESSION_TIMEOUT_MS_MIN} to {SESSION_TIMEOUT_MS_MAX} ms"
            )
        if not self.connect:
            raise ValueError(f"broker {self.broker_id} has no coordination service to connect to: give host:port")
