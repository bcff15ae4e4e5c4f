"""Launcher: starts a cluster. `UpOptions` says what; `start` yields the steps as they finish, and the result last.

In: options. Out: steps (plain dicts) and the control socket of a running cluster. Starts one interpreter, the zygote,
and hands it the options over a pipe; everything else is the supervisor's work. Stdlib only: `up` imports this
beside typer.

(1) Ready is heard, never polled: the supervisor writes on the inherited pipe.
(2) If this process goes away before the cluster is ready, the half-started cluster goes too: the supervisor sees the
    end of that pipe. Once ready, the cluster needs nobody.
(3) A cluster of that name that runs already is refused before anything is started (the supervisor's lock decides in any
    case).

The interpreter may have been started early (`prestart`): its imports then run beside those of the command line.
"""

import os
import re
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from brokerdemo.cluster import control, layout, prestart
from brokerdemo.cluster.errors import ClusterError, Code

DEFAULT_BASE_PORT = 19092
DEFAULT_COORDINATION_PORT = 12181
READY_WITHIN_MS = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """A topic to make: `NAME:PARTS:RF`."""

    name: str
    partitions: int = 6
    rf: int = 3

    @classmethod
    def parse(cls, text: str) -> "TopicSpec":
        """`orders`, `orders:6` or `orders:6:3`; ClusterError (usage) otherwise."""
        found = re.fullmatch(r"([A-Za-z0-9._-]{1,249})(?::(\d{1,5}))?(?::(\d{1,3}))?", text)
        if not found or found[1] in (".", "..") or found[2] == "0" or found[3] == "0":
            raise ClusterError(
                Code.USAGE, f"{text!r} is not a topic", "a topic is NAME:PARTITIONS:REPLICATION-FACTOR", "orders:6:3"
            )
        return cls(name=found[1], partitions=int(found[2] or 6), rf=int(found[3] or 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What `up` was asked for. Frozen, JSON-able; every bound is checked when it is made (ClusterError, usage).

    `connect`: an external ensemble (`host:port,...`) in place of the embedded server. `broker_ids`: 1..n when None.
    `base_port` 0 = auto: the system chooses every port. `data`: a directory that outlives `down`; None keeps the data
    under the state directory and `down` removes it. `advertise`: what brokers tell clients when `host` is a bind
    address. `topics` None makes `demo`, 6 partitions, RF min(3, n); an empty tuple makes none.
    """

    name: str = layout.DEFAULT_NAME
    brokers: int = 5
    broker_ids: tuple[int, ...] | None = None
    connect: str | None = None
    session_timeout_ms: int = 1_500
    topics: tuple[TopicSpec, ...] | None = None
    base_port: int = DEFAULT_BASE_PORT
    coordination_port: int | None = None
    host: str = "127.0.0.1"
    advertise: str | None = None
    data: str | None = None
    seed: int | None = None
    certificates: bool = True
    racks: tuple[str, ...] = ()
    """Racks given to the brokers in turn: `("a", "b")` puts brokers 1, 3, 5 in a."""
    ready_within_ms: int = READY_WITHIN_MS

    def __post_init__(self) -> None:
        ids = self.ids
        if not ids or len(set(ids)) != len(ids) or min(ids) < 0 or len(ids) > 200:
            raise ClusterError(
                Code.USAGE, f"brokers {ids or 'none'} cannot be started", "1 to 200 brokers, each id once", "-n 5"
            )
        if not 100 <= self.session_timeout_ms <= 60_000:
            raise ClusterError(
                Code.USAGE,
                f"session timeout {self.session_timeout_ms} ms is out of bounds",
                "a dead host is noticed after it; below 100 ms healthy brokers would be lost, above 60 s nobody waits",
                "--session-timeout 1500ms",
            )
        if self.base_port and not 1 <= self.base_port <= 65_535 - len(ids):
            raise ClusterError(
                Code.USAGE, f"base port {self.base_port} leaves no room for {len(ids)} brokers", "", "--base-port 19092"
            )
        if self.connect is not None and not re.fullmatch(r"[^,\s/:]+(:\d+)?(,[^,\s/:]+(:\d+)?)*(/\S*)?", self.connect):
            raise ClusterError(
                Code.USAGE, f"{self.connect!r} is not a connect string", "", "--connect host1:2181,host2:2181"
            )

    @property
    def ids(self) -> tuple[int, ...]:
        """The broker ids to start, in order."""
        return self.broker_ids if self.broker_ids is not None else tuple(range(1, self.brokers + 1))

    def port_of(self, broker: int) -> int:
        """The port broker `broker` binds first: base port + its place; 0 = the system chooses."""
        return self.base_port + self.ids.index(broker) if self.base_port else 0

    def to_json(self) -> dict[str, Any]:
        """For the zygote; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "UpOptions":
        """What `to_json` gave, after a trip through JSON."""
        topics = said.get("topics")
        ids = said.get("broker_ids")
        return cls(
            **{
                **said,
                "topics": None if topics is None else tuple(TopicSpec(**topic) for topic in topics),
                "broker_ids": None if ids is None else tuple(ids),
                "racks": tuple(said.get("racks", ())),
            }
        )


def parse_broker_ids(text: str) -> tuple[int, ...]:
    """`3`, `1-5` or `1,3-4`: the ids for `--broker-ids`; ClusterError (usage) otherwise."""
    ids: list[int] = []
    for piece in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,6})(?:-(\d{1,6}))?\s*", piece)
        if not found or int(found[2] or found[1]) < int(found[1]):
            raise ClusterError(Code.USAGE, f"{piece!r} is not a broker id or a range of them", "", "--broker-ids 1-3")
        ids += range(int(found[1]), int(found[2] or found[1]) + 1)
    return tuple(ids)


def start(options: UpOptions, *, asked_ns: int | None = None) -> Generator[dict[str, Any], None, None]:
    """Start a cluster; yield `{"step": {"name", "detail", "ms"}}` for each step as it finishes, then
    `{"ok": true, "result": {...}}` once every broker is registered and every partition led.

    `result`: `cluster`, `socket`, `connect`, `mode`, `brokers` [{id, host, port, pid}], `controller` {id, epoch},
    `topics`, `session_timeout_ms`, `ms` (since `asked_ns`, a monotonic time; by default since the interpreter was
    started), `where_ms` (where the time went). ClusterError: 4 when one of that name runs, a port is busy or a broker
    id is taken; 5 when it is not ready in time; 7 when the system lacks something. Whatever was started is gone by
    then. Closing the iterator before the end stops the start (2).
    """
    if not hasattr(os, "fork"):
        raise ClusterError(
            Code.ENVIRONMENT, "this system cannot fork", "brokerdemo runs on Linux and macOS", "use a Linux container"
        )
    place = layout.layout(options.name)
    if layout.is_running(place):
        prestart.abandon()
        raise already_running(place)
    zygote = prestart.take()
    started = False
    try:
        asked = {"options": options.to_json(), "asked_ns": asked_ns or zygote.started_ns}
        os.write(zygote.to_fd, control.encode(asked))
        for answer in _answers(zygote):
            started = bool(answer.get("ok"))
            yield answer
    finally:
        zygote.abandon()
        if not started:
            # It kills and reaps what it had started before it ends.
            zygote.wait()


def _answers(zygote: prestart.Zygote) -> Iterator[dict[str, Any]]:
    with open(zygote.from_fd, "rb", closefd=False) as lines:
        for line in lines:
            answer = control.decode(line)
            if answer.get("ok") is False:
                raise ClusterError.from_json(answer["error"])
            yield answer
            if answer.get("ok"):
                return
    raise ClusterError(
        Code.BUG,
        "the cluster ended while it was starting",
        "its supervisor died before it could say why",
        "read supervisor.log in the state directory",
    )


def already_running(place: layout.Layout) -> ClusterError:
    """The error for a second `up` of the same name."""
    known = layout.read_cluster_json(place)
    pid = f" (supervisor pid {known['pid']})" if "pid" in known else ""
    return ClusterError(
        Code.CONFLICT,
        f'cluster "{place.name}" is already running{pid}',
        "one supervisor per name holds the lock",
        "brokerdemo status, brokerdemo down, or another one: brokerdemo up --name two --base-port auto",
    )
