"""What the audit log tells of a change, done or refused, beside what ZooKeeper's AuditHelper writes."""

from typing import Any

import pytest

from coordination.auth.settings import AuthSettings
from coordination.state.connection import Connection
from coordination.state.pipeline import Pipeline
from coordination.state.ready import Settings
from coordination.wire import opcodes, requests
from coordination.wire.records import OPEN_ACL, Acl, ConnectRequest
from coordination.wire.replies import frame
from coordination.wire.requests import encode

USER = {"user": "10.0.0.7,ann", "ip": "10.0.0.7"}
MINE = (Acl(31, "digest", "ann:6DNjxbmXY/TjDjKO7rZWTzLvAJY="),)


class Server:
    """A pipeline whose log is always safe."""

    def __init__(self, audit_as: str | None) -> None:
        self.pipeline = Pipeline(Settings(auth=AuthSettings(), audit_as=audit_as), 1_700_000_000_000)
        self.connection: Connection = self.pipeline.opened(1, "10.0.0.7")
        self.pipeline.receive(self.connection, frame(ConnectRequest(0, 0, 9000, 0, bytes(16), False).encode()))
        self.told()

    def told(self) -> list[dict[str, Any]]:
        self.pipeline.persisted(self.pipeline.take().last_zxid)
        return [fact.details for fact in self.pipeline.take().facts if fact.name == "audit"]

    def ask(self, *wanted: requests.Request) -> list[dict[str, Any]]:
        """What is told of these requests, but for the session."""
        self.pipeline.receive(self.connection, b"".join(encode(each) for each in wanted))
        lines = self.told()
        assert all(line.pop("session") == f"0x{self.connection.session_id:x}" for line in lines)
        return lines


@pytest.fixture
def server() -> Server:
    server = Server("keeper")
    server.ask(requests.Auth(-4, "digest", b"ann:secret"))
    return server


def create(path: str, flags: int = 0, opcode: int = opcodes.CREATE) -> requests.Create:
    return requests.Create(1, opcode, path, b"", OPEN_ACL, flags)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (create("/a"), {"operation": "create", "znode": "/a", "znode_type": "persistent", "result": "success"}),
        (
            create("/a-", 3),
            {
                "operation": "create",
                "znode": "/a-0000000000",
                "znode_type": "ephemeral_sequential",
                "result": "success",
            },
        ),
        (
            create("/c", 4, opcodes.CREATE_CONTAINER),
            {"operation": "create", "znode": "/c", "znode_type": "container", "result": "success"},
        ),
        (create("/no/a"), {"operation": "create", "znode": "/no/a", "znode_type": "persistent", "result": "failure"}),
        (requests.SetData(1, "/", b"", 7), {"operation": "setData", "znode": "/", "result": "failure"}),
        (requests.SetData(1, "/", b"", -1), {"operation": "setData", "znode": "/", "result": "success"}),
        (requests.Delete(1, "/no", -1), {"operation": "delete", "znode": "/no", "result": "failure"}),
        (
            requests.SetAcl(1, "/", MINE, -1),
            {"operation": "setAcl", "znode": "/", "acl": "digest:ann:x:cdrwa", "result": "success"},
        ),
    ],
)
def test_a_change_is_told_of_once_it_is_done(server: Server, request_: Any, told: dict[str, Any]) -> None:
    (line,) = server.ask(request_)
    assert line == {**USER, **told}
    assert list(line)[-1] == "result"


def test_a_multi_is_told_of_by_its_parts_or_as_one_that_failed(server: Server) -> None:
    done = server.ask(
        requests.Multi(1, [create("/m"), requests.CheckVersion(0, "/m", -1), requests.Delete(0, "/m", 0)])
    )
    assert [(each["operation"], each["znode"], each["result"]) for each in done] == [
        ("create", "/m", "success"),
        ("delete", "/m", "success"),
    ]
    (failed,) = server.ask(requests.Multi(2, [create("/m"), requests.Delete(0, "/no", 0)]))
    assert failed == {**USER, "operation": "multiOperation", "result": "failure"}


def test_reads_and_sessions_are_not_told_of(server: Server) -> None:
    assert server.ask(requests.GetData(1, "/", False), requests.Ping(-2), requests.CheckVersion(2, "/", 0)) == []


def test_ephemerals_go_as_the_servers_doing(server: Server) -> None:
    server.ask(create("/e", 1))
    assert server.ask(requests.CloseSession(9)) == [
        {
            "user": "keeper",
            "operation": "ephemeralZNodeDeletionOnSessionCloseOrExpire",
            "znode": "/e",
            "result": "success",
        }
    ]


def test_nothing_is_told_unless_it_is_wanted() -> None:
    assert Server(None).ask(create("/a")) == []
