"""What the pipeline refuses: the forbidden, the unknown, and what cannot be decoded; nobody else is harmed by it."""

import pytest

from coordination.state import prep
from coordination.wire import opcodes, requests
from coordination.wire.records import Acl, ConnectRequest, decode_connect_response
from coordination.wire.replies import ReplyHeader, frame
from coordination.wire.requests import encode

from .conftest import Machine, create, xids


def test_acls_are_enforced_and_events_filtered(machine: Machine) -> None:
    owner, stranger = machine.client(), machine.client()
    assert owner.call(requests.Auth(-4, "digest", b"bob:pw"))[0].err == 0
    secret = (Acl(31, "auth", ""),)
    assert owner.call(create("/s", acl=secret))[0].err == 0
    assert stranger.call(requests.GetData(1, "/s", False)).header.err == -102
    assert stranger.call(requests.SetData(2, "/s", b"x", -1))[0].err == -102
    assert stranger.call(create("/s/x"))[0].err == -102
    assert stranger.call(requests.GetAcl(4, "/s"))[0].err == -102
    assert stranger.call(requests.AddWatch(5, "/", opcodes.MODE_PERSISTENT_RECURSIVE)).header.err == 0
    owner.call(requests.SetData(3, "/s", b"y", -1))
    owner.call(create("/open"))
    assert xids(stranger.received()) == ["/open"]


def test_what_auth_stands_for_has_a_limit_in_a_multi_as_a_whole(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prep, "ENTRIES_PER_REQUEST_MAX", 10)
    client = machine.client()
    for number in range(3):
        client.call(requests.Auth(-4, "digest", b"user%d:pw" % number))
    parts = [requests.Create(0, opcodes.CREATE, f"/m{number}", b"", (Acl(31, "auth", ""),), 0) for number in range(4)]
    assert client.call(requests.Multi(1, parts[:3])).header.err == 0
    refused = client.call(requests.Multi(2, [requests.Delete(0, f"/m{n}", -1) for n in range(3)] + parts))
    assert (-114).to_bytes(4, "big", signed=True) in refused.body
    assert set(machine.pipeline.tree.nodes) >= {"/m0", "/m1", "/m2"}
    assert client.call(create("/after", acl=(Acl(31, "auth", ""),))).header.err == 0


@pytest.mark.parametrize("opcode", [opcodes.DELETE_CONTAINER, opcodes.CREATE_SESSION, opcodes.ERROR, 999])
def test_internal_and_unknown_operations_are_refused_in_order(machine: Machine, opcode: int) -> None:
    client = machine.client()
    client.send(create("/a", xid=1))
    raw = frame((5).to_bytes(4, "big") + opcode.to_bytes(4, "big", signed=True))
    machine.pipeline.receive(client.connection, raw)
    machine.persist()
    answers = client.answers()
    assert [(each.header.xid, each.header.err) for each in answers] == [(1, 0), (5, -6)]
    assert answers[1].header.zxid == -1
    assert client.connection.closing


def test_behind_an_unknown_operation_writes_are_carried_out_and_not_answered(machine: Machine) -> None:
    client = machine.client()
    unknown = frame((2).to_bytes(4, "big") + (999).to_bytes(4, "big"))
    behind = encode(requests.SetData(3, "/a", b"new", -1)) + encode(requests.GetData(4, "/a", False))
    machine.pipeline.receive(client.connection, encode(create("/a", xid=1)) + unknown + behind)
    machine.persist()
    assert xids(client.answers()) == [1, 2]
    assert machine.pipeline.tree.nodes["/a"].data == b"new"


def test_kinds_of_watch_and_modes_that_do_not_exist_are_marshalling_errors(machine: Machine) -> None:
    client = machine.client()
    client.send(requests.CheckWatches(1, "/", 0), requests.RemoveWatches(2, "/", 6), requests.AddWatch(3, "/", 2))
    assert [each.header.err for each in client.answers()] == [-5, -5, -5]


def test_a_record_that_cannot_be_read_is_answered_and_harms_nobody(machine: Machine) -> None:
    client = machine.client()
    machine.pipeline.receive(client.connection, frame(bytes.fromhex("00000007000000047fffffff")))
    assert client.answers()[0].header == ReplyHeader(7, machine.pipeline.tree.last_zxid, -5)
    assert client.call(create("/a"))[0].err == 0


# --- frames that cannot be


NONSENSE = (-5).to_bytes(4, "big", signed=True)


def test_a_frame_that_cannot_be_ends_a_connection_behind_its_welcome(machine: Machine) -> None:
    connection = machine.pipeline.opened(1, "127.0.0.1")
    hello = ConnectRequest(0, 0, 1000, 0, bytes(16), False)
    machine.pipeline.receive(connection, frame(hello.encode()) + NONSENSE)
    machine.take()
    assert not connection.out
    assert not connection.closing  # or the socket would be closed before the log has the session
    machine.pipeline.receive(connection, encode(requests.Exists(1, "/", False)))
    machine.persist()
    raw = b"".join(connection.out)
    welcome = decode_connect_response(raw, 4, len(raw))
    assert len(raw) == 4 + int.from_bytes(raw[:4])  # and nothing behind it
    assert list(machine.pipeline.sessions.by_id) == [welcome.session_id]
    assert connection.closing
    assert "protocol_violation" in machine.facts
    assert [each.connection for each in machine.pipeline.sessions.by_id.values()] == [None]


def test_a_frame_that_cannot_be_ends_a_connection_behind_its_write(machine: Machine) -> None:
    client = machine.client()
    raw = b"".join(encode(each) for each in (requests.Exists(1, "/", False), create("/a", xid=2), requests.Ping(-2)))
    machine.pipeline.receive(client.connection, raw + NONSENSE)
    machine.take()
    assert not client.connection.closing
    machine.persist()
    assert client.connection.closing
    assert [answer.header.xid for answer in client.answers()] == [1, 2, -2]
    assert "protocol_violation" in machine.facts
    assert "/a" in machine.pipeline.tree.nodes


def test_a_frame_that_cannot_be_ends_a_connection_that_waits_for_nothing_at_once(machine: Machine) -> None:
    client = machine.client()
    machine.pipeline.receive(client.connection, encode(requests.Exists(1, "/", False)) + NONSENSE)
    assert client.connection.closing
    assert [answer.header.xid for answer in client.answers()] == [1]


# --- authentication that says nothing


@pytest.mark.parametrize(("opcode", "body"), [(opcodes.AUTH, b""), (opcodes.SASL, b""), (opcodes.SASL, b"\xff" * 4)])
def test_an_authentication_that_cannot_be_decoded_ends_the_connection_unanswered(
    machine: Machine, opcode: int, body: bytes
) -> None:
    client = machine.client()
    machine.pipeline.receive(client.connection, frame(b"\0\0\0\1" + opcode.to_bytes(4) + body))
    assert client.answers() == []
    assert client.connection.closing


@pytest.mark.parametrize("scheme", ["digest", ""])
def test_an_authentication_without_a_credential_fails(machine: Machine, scheme: str) -> None:
    client = machine.client()
    client.send(requests.Auth(-4, scheme, None))
    assert [each.header.err for each in client.answers()] == [-115]
    assert client.connection.closing
