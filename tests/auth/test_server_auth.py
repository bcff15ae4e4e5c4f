"""Authentication in the server's machine: when it counts, how it fails, SASL exchanges, schemes that are required."""

import pytest

from coordination.auth.sasl_digest_md5 import client_response
from coordination.secret import Secret
from coordination.wire import opcodes, requests
from coordination.wire.jute import get_buffer
from coordination.wire.opcodes import PERM_ALL
from coordination.wire.records import OPEN_ACL, Acl

from .conftest import ALICE, AUTH_FAILED, INVALID_ACL, NO_AUTH, OK, REQUIRE_SASL, Answer, Client, Machine

SASL = {"zookeeper.authProvider.1": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"}
JAAS = 'Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_bob="b"; };'
ENSEMBLE = {"zookeeper.authProvider.7": "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider"}


# --- auth


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


# --- ensemble


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
