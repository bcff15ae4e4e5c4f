"""A pipeline without socket, clock or disk, and clients that speak ZooKeeper's frames to it.

Nothing is persisted until the test says so; what would have been sent stands in each connection's `out`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from coordination.state.connection import Connection
from coordination.state.pipeline import Pipeline
from coordination.state.ready import Settings
from coordination.wire import opcodes, requests
from coordination.wire.jute import unpack_int
from coordination.wire.records import OPEN_ACL, Acl, ConnectRequest, ConnectResponse, decode_connect_response
from coordination.wire.replies import ReplyHeader, WatcherEvent, decode_event, decode_header, frame
from coordination.wire.requests import encode

WALL_MS = 1_700_000_000_000


@dataclass
class Machine:
    """A pipeline and the log it believes in; nothing is persisted until the test says so."""

    settings: Settings = field(default_factory=lambda: Settings(min_session_timeout_ms=100))
    log: list[bytes] = field(default_factory=list)
    now_ms: int = 0

    def __post_init__(self) -> None:
        self.pipeline = Pipeline(self.settings, WALL_MS)
        self.keys = iter(range(1, 1000))
        self.facts: list[str] = []
        self.unpersisted_zxid = 0
        self.advance(0)

    def advance(self, ms: int) -> None:
        self.now_ms += ms
        self.pipeline.at(self.now_ms, WALL_MS + self.now_ms)

    def take(self) -> None:
        ready = self.pipeline.take()
        self.log += ready.persist
        self.unpersisted_zxid = ready.last_zxid
        self.facts += [fact.name for fact in ready.facts]

    def persist(self) -> None:
        """The log has everything; say so."""
        self.take()
        self.pipeline.persisted(self.unpersisted_zxid)
        self.take()

    def tick(self, ms: int) -> None:
        self.advance(ms)
        self.pipeline.tick()
        self.take()

    def client(self, **hello: Any) -> "Client":
        client = Client(self, self.pipeline.opened(next(self.keys), "127.0.0.1"))
        client.connect(**hello)
        return client

    def restart(self) -> "Machine":
        """What a server has after kill -9 that finds this log."""
        successor = Machine(self.settings, now_ms=self.now_ms)
        for payload in self.log:
            successor.pipeline.replay(payload)
        successor.pipeline.recovered()
        successor.log = list(self.log)
        return successor


class Answer(NamedTuple):
    header: ReplyHeader
    body: bytes


class Client:
    def __init__(self, machine: Machine, connection: Connection) -> None:
        self.machine = machine
        self.connection = connection
        self.session_id = 0
        self.xid = 0

    def connect(
        self, *, session_id: int = 0, password: bytes = bytes(16), timeout_ms: int = 1000, zxid: int = 0
    ) -> None:
        hello = ConnectRequest(0, zxid, timeout_ms, session_id, password, False)
        self.machine.pipeline.receive(self.connection, frame(hello.encode()))
        self.machine.persist()
        self.welcome: ConnectResponse | None = None
        raw = b"".join(self.connection.out)
        self.connection.out.clear()
        if raw:
            self.welcome = decode_connect_response(raw, 4, len(raw))
            self.session_id = self.welcome.session_id

    def send(self, *wanted: requests.Request) -> None:
        self.machine.pipeline.receive(self.connection, b"".join(encode(each) for each in wanted))

    def answers(self) -> list[Answer]:
        """What would have been sent by now; there must be no event in it."""
        received = self.received()
        found = [each for each in received if isinstance(each, Answer)]
        assert found == received
        return found

    def received(self) -> list[Answer | WatcherEvent]:
        """Everything that would have been sent by now."""
        raw = b"".join(self.connection.out)
        self.connection.out.clear()
        return list(self._frames(raw))

    def _frames(self, raw: bytes) -> Iterator[Answer | WatcherEvent]:
        pos = 0
        while pos < len(raw):
            end = pos + 4 + unpack_int(raw, pos)[0]
            header, after = decode_header(raw, pos + 4, end)
            yield decode_event(raw, after, end) if header.xid == -1 else Answer(header, raw[after:end])
            pos = end

    def call(self, request: requests.Request) -> Answer:
        """Send, persist, and the one answer."""
        self.send(request)
        self.machine.persist()
        answers = [each for each in self.received() if not isinstance(each, WatcherEvent)]
        assert len(answers) == 1
        return answers[0]


@pytest.fixture
def machine() -> Machine:
    return Machine()


def create(path: str, flags: int = 0, xid: int = 1, acl: tuple[Acl, ...] = OPEN_ACL) -> requests.Create:
    return requests.Create(xid, opcodes.CREATE, path, b"v", acl, flags)


def xids(received: Sequence[Answer | WatcherEvent]) -> list[int | str]:
    return [each.path if isinstance(each, WatcherEvent) else each.header.xid for each in received]
