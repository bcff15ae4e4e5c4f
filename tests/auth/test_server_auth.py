"""The auth room inside the server's machine: every opcode's need enforced, events filtered, refusals in order."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from coordination.auth.permissions import NEEDS, NODE, PARENT
from coordination.auth.sasl_digest_md5 import client_response
from coordination.auth.schemes import generate_digest
from coordination.auth.settings import read
from coordination.secret import Secret
from coordination.state.connection import Connection
from coordination.state.pipeline import Pipeline
from coordination.state.ready import Settings
from coordination.wire import opcodes, requests
from coordination.wire.jute import get_buffer, unpack_int
from coordination.wire.opcodes import PERM_ADMIN, PERM_ALL, PERM_READ
from coordination.wire.records import OPEN_ACL, Acl, ConnectRequest, get_acls
from coordination.wire.replies import WatcherEvent, decode_event, decode_header, frame

OK, NO_AUTH, INVALID_ACL, AUTH_FAILED, REQUIRE_SASL = 0, -102, -114, -115, -124
SUPER = {"zookeeper.DigestAuthenticationProvider.superDigest": generate_digest("super:secret")}
SASL = {"zookeeper.authProvider.1": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"}
JAAS = 'Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_bob="b"; };'
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


def granting(perms: int) -> tuple[Acl, ...]:
    return (ALICE, Acl(perms, "world", "anyone"))


# One request per opcode that asks for a znode's or its parent's ACL; /p/node is the znode, /p its parent.
REQUESTS: dict[int, Callable[[], requests.Request]] = {
    opcodes.CREATE: lambda: requests.Create(9, opcodes.CREATE, "/p/new", b"", OPEN_ACL, 0),
    opcodes.CREATE2: lambda: requests.Create(9, opcodes.CREATE2, "/p/new", b"", OPEN_ACL, 0),
    opcodes.CREATE_CONTAINER: lambda: requests.Create(
        9, opcodes.CREATE_CONTAINER, "/p/new", b"", OPEN_ACL, opcodes.CONTAINER
    ),
    opcodes.CREATE_TTL: lambda: requests.CreateTtl(9, "/p/new", b"", OPEN_ACL, opcodes.PERSISTENT_WITH_TTL, 1000),
    opcodes.DELETE: lambda: requests.Delete(9, "/p/node", -1),
    opcodes.EXISTS: lambda: requests.Exists(9, "/p/node", True),
    opcodes.GET_DATA: lambda: requests.GetData(9, "/p/node", True),
    opcodes.SET_DATA: lambda: requests.SetData(9, "/p/node", b"new", -1),
    opcodes.GET_ACL: lambda: requests.GetAcl(9, "/p/node"),
    opcodes.SET_ACL: lambda: requests.SetAcl(9, "/p/node", OPEN_ACL, -1),
    opcodes.GET_CHILDREN: lambda: requests.GetChildren(9, "/p/node", True),
    opcodes.GET_CHILDREN2: lambda: requests.GetChildren2(9, "/p/node", True),
    opcodes.GET_ALL_CHILDREN_NUMBER: lambda: requests.GetAllChildrenNumber(9, "/p/node"),
}


def test_every_need_of_a_znode_has_a_request_here() -> None:
    assert set(REQUESTS) == {opcode for opcode, need in NEEDS.items() if need.whose in (NODE, PARENT)}


@pytest.mark.parametrize("opcode", REQUESTS)
@pytest.mark.parametrize("perm", [1, 2, 4, 8, 16])
def test_each_permission_opens_what_the_table_says_and_nothing_else(opcode: int, perm: int) -> None:
    machine = Machine()
    owner, stranger = machine.client(), machine.client()
    owner.authenticate(b"alice:a")
    need = NEEDS[opcode]
    assert owner.create("/p", granting(perm) if need.whose == PARENT else (ALICE,)) == OK
    assert owner.create("/p/node", granting(perm) if need.whose == NODE else (ALICE,)) == OK
    assert stranger.ask(REQUESTS[opcode]()).code == (OK if perm & need.perms else NO_AUTH)
    assert owner.ask(REQUESTS[opcode]()).code in (OK, -101, -110)  # the owner may: at most the stranger did it already


PARTS = (
    *(opcodes.CREATE, opcodes.CREATE2, opcodes.CREATE_CONTAINER, opcodes.CREATE_TTL, opcodes.DELETE, opcodes.SET_DATA),
    *(opcodes.CHECK, opcodes.GET_DATA, opcodes.GET_CHILDREN),
)


@pytest.mark.parametrize("opcode", PARTS)
def test_a_multi_asks_for_each_part(opcode: int) -> None:
    machine = Machine()
    owner, stranger = machine.client(), machine.client()
    owner.authenticate(b"alice:a")
    owner.create("/p", (ALICE,))
    owner.create("/p/node", (ALICE,))
    part = requests.CheckVersion(9, "/p/node", -1) if opcode == opcodes.CHECK else REQUESTS[opcode]()
    if isinstance(part, (requests.GetData, requests.GetChildren)):
        answer = stranger.ask(requests.MultiRead(9, [part]))
    else:
        assert isinstance(
            part, (requests.Create, requests.CreateTtl, requests.Delete, requests.SetData, requests.CheckVersion)
        )
        answer = stranger.ask(requests.Multi(9, [requests.Create(0, opcodes.CREATE, "/free", b"", OPEN_ACL, 0), part]))
        assert "/free" not in machine.pipeline.tree.nodes
    assert answer.code == OK
    assert NO_AUTH.to_bytes(4, "big", signed=True) in answer.body


ENSEMBLE = {"zookeeper.authProvider.7": "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider"}


@pytest.mark.parametrize(
    ("names", "said", "welcome"),
    [
        ("", b"foo", True),
        ("foo", b"", True),
        ("foo, bar", b"bar", True),
        ("foo", b"bar", False),
        ("foo", b"\xff", False),
    ],
)
def test_a_client_of_another_ensemble_is_sent_away_without_a_word(names: str, said: bytes, welcome: bool) -> None:
    """An answer would tell it that its authentication failed, for good."""
    client = Machine({**ENSEMBLE, "zookeeper.ensembleAuthName": names}).client()
    client.send(requests.encode(requests.Auth(opcodes.XID_AUTH, "ensemble", said)))
    assert client.heard() == ([Answer(opcodes.XID_AUTH, 0, OK, b"")] if welcome else [])
    assert client.connection.closing != welcome
    if welcome:
        assert client.create("/ensemble", (Acl(PERM_ALL, "ensemble", "foo"),)) == INVALID_ACL


def test_ensemble_is_unknown_where_it_is_not_provided() -> None:
    assert Machine({"zookeeper.ensembleAuthName": "foo"}).client().authenticate(b"foo", "ensemble").code == AUTH_FAILED


def test_auth_is_answered_with_zxid_0_and_counts_from_the_next_request_on() -> None:
    machine = Machine()
    client = machine.client()
    assert client.create("/mine", (Acl(PERM_ALL, "auth", ""),)) == INVALID_ACL
    assert client.authenticate(b"alice:a") == Answer(opcodes.XID_AUTH, 0, OK, b"")
    assert client.create("/mine", (Acl(PERM_ALL, "auth", ""),)) == OK
    assert machine.pipeline.tree.nodes["/mine"].acl == (ALICE,)
    assert machine.client().ask(requests.GetData(1, "/mine", False)).code == NO_AUTH


def test_identities_belong_to_the_connection() -> None:
    machine = Machine()
    first, second = machine.client(), machine.client()
    first.authenticate(b"alice:a")
    assert second.create("/x", (Acl(PERM_ALL, "auth", ""),)) == INVALID_ACL


@pytest.mark.parametrize("scheme", ["nonsense", "world", "sasl", "super"])
def test_a_failed_auth_is_answered_and_ends_the_connection(scheme: str) -> None:
    client = Machine(SASL).client()
    assert client.authenticate(b"x:y", scheme) == Answer(opcodes.XID_AUTH, 0, AUTH_FAILED, b"")
    assert client.connection.closing


def test_a_failed_auth_behind_a_write_waits_its_turn_and_nothing_behind_it_is_done() -> None:
    machine = Machine()
    client = machine.client()
    machine.held = True
    client.send(
        requests.encode(requests.Create(1, opcodes.CREATE, "/before", b"", OPEN_ACL, 0))
        + requests.encode(requests.Auth(opcodes.XID_AUTH, "nonsense", b""))
        + requests.encode(requests.Create(2, opcodes.CREATE, "/after", b"", OPEN_ACL, 0))
    )
    assert client.received() == []
    machine.held = False
    machine.settle()
    heard = client.heard()
    assert [(each.xid, each.code) for each in heard if isinstance(each, Answer)] == [
        (1, OK),
        (opcodes.XID_AUTH, AUTH_FAILED),
    ]
    assert client.connection.closing
    assert "/after" not in machine.pipeline.tree.nodes


def test_the_super_user_may_everything() -> None:
    machine = Machine(SUPER)
    owner, root = machine.client(), machine.client()
    owner.authenticate(b"alice:a")
    owner.create("/p", (ALICE,))
    assert root.ask(requests.GetData(1, "/p", False)).code == NO_AUTH
    assert root.authenticate(b"super:secret").code == OK
    assert root.ask(requests.GetData(1, "/p", False)).code == OK
    assert root.ask(requests.SetAcl(1, "/p", OPEN_ACL, -1)).code == OK


def test_skip_acl_lets_everybody_in() -> None:
    machine = Machine({"zookeeper.skipACL": "yes"})
    client = machine.client()
    assert client.create("/p", (ALICE,)) == OK
    assert client.ask(requests.GetData(1, "/p", False)).code == OK


def test_an_address_may_be_the_key() -> None:
    machine = Machine()
    inside, outside = machine.client("10.9.9.9"), machine.client("192.168.0.1")
    assert inside.create("/net", (Acl(PERM_ALL, "ip", "10.0.0.0/8"),)) == OK
    assert inside.ask(requests.GetData(1, "/net", False)).code == OK
    assert outside.ask(requests.GetData(1, "/net", False)).code == NO_AUTH


def test_get_acl_hides_digests_from_those_who_may_only_read() -> None:
    machine = Machine()
    owner, reader = machine.client(), machine.client()
    owner.authenticate(b"alice:a")
    owner.create("/p", granting(PERM_READ))
    body = reader.ask(requests.GetAcl(1, "/p")).body
    assert get_acls(body, 0, len(body))[0] == (Acl(PERM_ALL, "digest", "alice:x"), Acl(PERM_READ, "world", "anyone"))
    body = owner.ask(requests.GetAcl(1, "/p")).body
    assert get_acls(body, 0, len(body))[0] == granting(PERM_READ)
    owner.create("/q", granting(PERM_ADMIN))
    body = reader.ask(requests.GetAcl(1, "/q")).body
    assert get_acls(body, 0, len(body))[0] == granting(PERM_ADMIN)


# --- watches


def events(client: Client) -> list[tuple[int, str]]:
    return [(each.type, each.path) for each in client.heard() if isinstance(each, WatcherEvent)]


def test_a_recursive_watch_tells_nothing_about_what_may_not_be_read() -> None:
    """CVE-2024-23944."""
    machine = Machine()
    owner, watcher = machine.client(), machine.client()
    owner.authenticate(b"alice:a")
    owner.create("/p")
    watcher.ask(requests.AddWatch(1, "/p", opcodes.MODE_PERSISTENT_RECURSIVE))
    owner.create("/p/open")
    owner.create("/p/secret", (ALICE,))
    owner.ask(requests.SetData(1, "/p/secret", b"x", -1))
    owner.ask(requests.Delete(1, "/p/secret", -1))
    owner.ask(requests.Delete(1, "/p/open", -1))
    assert events(watcher) == [(opcodes.EVENT_CREATED, "/p/open"), (opcodes.EVENT_DELETED, "/p/open")]


def test_a_watch_tells_nothing_once_the_znode_is_closed_to_the_watcher() -> None:
    machine = Machine()
    owner, watcher = machine.client(), machine.client()
    owner.authenticate(b"alice:a")
    owner.create("/p")
    owner.create("/p/c")
    watcher.ask(requests.GetData(1, "/p", True), requests.GetChildren(2, "/p", True), requests.Exists(3, "/p/c", True))
    owner.ask(requests.SetAcl(1, "/p", (ALICE,), -1))
    owner.ask(requests.SetData(1, "/p", b"x", -1))
    owner.ask(requests.Delete(1, "/p/c", -1))
    assert events(watcher) == [
        (opcodes.EVENT_DELETED, "/p/c")
    ]  # its own ACL is open; /p's children are not news for it


def test_set_watches_replays_nothing_about_what_may_not_be_read_and_keeps_the_watches() -> None:
    """CVE-2026-59739."""
    machine = Machine()
    owner, watcher = machine.client(), machine.client()
    owner.authenticate(b"alice:a")
    for name in ("/open", "/secret"):
        owner.create(name, OPEN_ACL if name == "/open" else (ALICE,))
        owner.create(f"{name}/child")
        owner.ask(requests.SetData(1, name, b"x", -1))
    both = ["/open", "/secret"]
    asked = requests.SetWatches(opcodes.XID_SET_WATCHES, opcodes.SET_WATCHES2, 0, [*both, "/gone"], both, both, [], [])
    watcher.send(requests.encode(asked))
    assert events(watcher) == [
        (opcodes.EVENT_DATA_CHANGED, "/open"),
        (opcodes.EVENT_DELETED, "/gone"),
        (opcodes.EVENT_CREATED, "/open"),
        (opcodes.EVENT_CHILDREN_CHANGED, "/open"),
    ]
    owner.ask(requests.SetAcl(1, "/secret", OPEN_ACL, -1))
    owner.ask(requests.SetData(1, "/secret", b"y", -1))
    assert events(watcher) == [(opcodes.EVENT_DATA_CHANGED, "/secret")]


# --- SASL and enforced schemes


def token_of(answer: Answer) -> bytes | None:
    return get_buffer(answer.body, 0, len(answer.body))[0]


def exchange(client: Client, password: bytes) -> Answer:
    first = client.ask(requests.Sasl(1, b""))
    assert (first.code, first.zxid) == (OK, 0)
    challenge = token_of(first)
    assert challenge is not None
    response, proof = client_response(challenge, user="bob", password=Secret(password), cnonce="c" * 16)
    answer = client.ask(requests.Sasl(2, response))
    if answer.code == OK:
        assert token_of(answer) == proof
    return answer


def test_sasl_proves_a_user() -> None:
    machine = Machine(SASL, JAAS)
    client, other = machine.client(), machine.client()
    assert exchange(client, b"b").code == OK
    assert client.create("/s", (Acl(PERM_ALL, "sasl", "bob"),)) == OK
    assert client.ask(requests.GetData(1, "/s", False)).code == OK
    assert other.ask(requests.GetData(1, "/s", False)).code == NO_AUTH


def test_failed_sasl_ends_the_connection_with_an_empty_token() -> None:
    client = Machine(SASL, JAAS).client()
    answer = exchange(client, b"guessed")
    assert (answer.code, token_of(answer)) == (AUTH_FAILED, None)
    assert client.connection.closing


def test_without_a_jaas_file_sasl_is_answered_with_no_token() -> None:
    client = Machine(SASL).client()
    answer = client.ask(requests.Sasl(1, b""))
    assert (answer.code, token_of(answer)) == (OK, None)


@pytest.mark.parametrize("request_", [requests.Ping(-2), requests.GetData(5, "/", False), requests.WhoAmI(5)])
def test_where_sasl_is_required_nothing_else_is_served_before_it(request_: requests.Request) -> None:
    machine = Machine({**SASL, "zookeeper.sessionRequireClientSASLAuth": "true"}, JAAS)
    stranger, bob = machine.client(), machine.client()
    answer = stranger.ask(request_)
    assert (answer.xid, answer.zxid, answer.code) == (request_.xid, 0, REQUIRE_SASL)
    assert stranger.connection.closing
    assert exchange(bob, b"b").code == OK
    assert bob.ask(request_).code == OK


def test_where_a_scheme_is_required_a_write_does_nothing_before_it() -> None:
    machine = Machine({"zookeeper.enforce.auth.enabled": "true", "zookeeper.enforce.auth.schemes": "digest"})
    stranger, alice = machine.client(), machine.client()
    alice.authenticate(b"alice:a")
    assert alice.create("/hers") == OK
    zxid = machine.pipeline.tree.last_zxid
    assert stranger.create("/x") == REQUIRE_SASL
    assert machine.pipeline.tree.last_zxid == zxid
    assert "/x" not in machine.pipeline.tree.nodes
