"""ACLs in the server's machine: every opcode's need enforced, also in a multi, what is hidden, what no watch tells."""

from collections.abc import Callable

import pytest

from coordination.auth.permissions import NEEDS, NODE, PARENT
from coordination.auth.schemes import generate_digest
from coordination.wire import opcodes, requests
from coordination.wire.opcodes import PERM_ADMIN, PERM_ALL, PERM_READ
from coordination.wire.records import OPEN_ACL, Acl, get_acls
from coordination.wire.replies import WatcherEvent

from .conftest import ALICE, NO_AUTH, OK, Client, Machine

SUPER = {"zookeeper.DigestAuthenticationProvider.superDigest": generate_digest("super:secret")}


def granting(perms: int) -> tuple[Acl, ...]:
    return (ALICE, Acl(perms, "world", "anyone"))


# --- every need


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


# --- who else may, and what is hidden


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
