"""The auth room inside the server's machine: a pipeline with its settings of authentication, and clients that ask it.

The codes they are answered with, and alice, who is somebody.
"""

from typing import NamedTuple

from coordination.auth.schemes import generate_digest
from coordination.auth.settings import read
from coordination.state.connection import Connection
from coordination.state.pipeline import Pipeline
from coordination.state.ready import Settings
from coordination.wire import opcodes, requests
from coordination.wire.jute import unpack_int
from coordination.wire.opcodes import PERM_ALL
from coordination.wire.records import OPEN_ACL, Acl, ConnectRequest
from coordination.wire.replies import WatcherEvent, decode_event, decode_header, frame

OK, NO_AUTH, INVALID_ACL, AUTH_FAILED, REQUIRE_SASL = 0, -102, -114, -115, -124
ALICE = Acl(PERM_ALL, "digest", generate_digest("alice:a"))


class Answer(NamedTuple):
    xid: int
    zxid: int
    code: int
    body: bytes


class Machine:
    """A pipeline whose log is always at once on disk, unless the test holds it back."""

    def __init__(self, properties: dict[str, str] | None = None, jaas: str | None = None) -> None:
        auth = read(properties or {}, jaas_text=jaas)
        self.pipeline = Pipeline(Settings(auth=auth, extended_types=True), 1_700_000_000_000)
        self.pipeline.at(0, 1_700_000_000_000)
        self.keys = 0
        self.held = False

    def settle(self) -> None:
        while not self.held and (ready := self.pipeline.take()).persist:
            self.pipeline.persisted(ready.last_zxid)

    def client(self, host: str = "10.0.0.1") -> "Client":
        self.keys += 1
        client = Client(self, self.pipeline.opened(self.keys, host, f"{self.keys:024d}"))
        client.send(frame(ConnectRequest(0, 0, 10_000, 0, bytes(16)).encode()))
        client.received()
        return client


class Client:
    def __init__(self, machine: Machine, connection: Connection) -> None:
        self.machine = machine
        self.connection = connection

    def send(self, data: bytes) -> None:
        self.machine.pipeline.receive(self.connection, data)
        self.machine.settle()

    def received(self) -> list[bytes]:
        data = b"".join(self.connection.out)
        self.connection.out.clear()
        frames = []
        while data:
            length = unpack_int(data, 0)[0]
            frames.append(data[4 : 4 + length])
            data = data[4 + length :]
        return frames

    def heard(self) -> list[Answer | WatcherEvent]:
        """Everything that came, answers and events."""
        out: list[Answer | WatcherEvent] = []
        for each in self.received():
            header, pos = decode_header(each, 0, len(each))
            if header.xid == opcodes.XID_NOTIFICATION:
                out.append(decode_event(each, pos, len(each)))
            else:
                out.append(Answer(header.xid, header.zxid, header.err, each[pos:]))
        return out

    def ask(self, *asked: requests.Request) -> Answer:
        """The answer to the last request."""
        self.send(b"".join(map(requests.encode, asked)))
        last = self.heard()[-1]
        assert isinstance(last, Answer)
        return last

    def authenticate(self, credential: bytes, scheme: str = "digest") -> Answer:
        return self.ask(requests.Auth(opcodes.XID_AUTH, scheme, credential))

    def create(self, path: str, acl: tuple[Acl, ...] = OPEN_ACL, data: bytes = b"") -> int:
        return self.ask(requests.Create(1, opcodes.CREATE, path, data, acl, 0)).code
