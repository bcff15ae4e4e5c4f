"""One connection's identities: what adds one, what ends the connection, what is refused without one."""

import pytest

from coordination.auth.connection_auth import ConnectionAuth, Verdict
from coordination.auth.identity import Identity
from coordination.auth.sasl_digest_md5 import client_response
from coordination.auth.schemes import generate_digest
from coordination.auth.settings import AuthSettings, read
from coordination.secret import Secret

NONCE = "0123456789abcdefghijklmn"
SASL = {"zookeeper.authProvider.1": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"}
JAAS = 'Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_bob="b" user_root="r"; };'
AUTH_FAILED, REQUIRE_SASL = -115, -124


def connection(properties: dict[str, str] | None = None, jaas: str | None = None) -> ConnectionAuth:
    return ConnectionAuth(read(properties or {}, jaas_text=jaas, secure=True), "::1", NONCE)


def exchange(auth: ConnectionAuth, user: str, password: bytes) -> Verdict:
    first = auth.sasl(b"")
    assert first.token is not None
    return auth.sasl(client_response(first.token, user=user, password=Secret(password), cnonce="c" * 16)[0])


def test_the_address_comes_first_and_digests_after_it_once_each() -> None:
    auth = connection()
    before = auth.identities
    assert auth.auth("digest", b"a:b") == Verdict()
    assert auth.auth("digest", b"a:b") == Verdict()
    assert auth.auth("ip", b"") == Verdict()
    assert auth.identities == (Identity("ip", "0:0:0:0:0:0:0:1"), Identity("digest", generate_digest("a:b")))
    assert before == (Identity("ip", "0:0:0:0:0:0:0:1"),)  # what a request under way holds did not change


@pytest.mark.parametrize("scheme", ["", "nonsense", "world", "auth", "super", "sasl", "x509"])
def test_a_failed_proof_ends_the_connection(scheme: str) -> None:
    auth = connection(SASL)
    verdict = auth.auth(scheme, b"super:x")
    assert (verdict.code, verdict.close) == (AUTH_FAILED, True)
    assert len(auth.identities) == 1


@pytest.mark.parametrize(("scheme", "credential"), [("x" * 100_000, b""), ("digest", b"a" * 100_000 + b":b")])
def test_what_is_too_long_is_refused_and_not_written_to_the_log(scheme: str, credential: bytes) -> None:
    verdict = connection().auth(scheme, credential)
    assert (verdict.code, verdict.close) == (AUTH_FAILED, True)
    assert len(verdict.why) < 200


def test_a_password_may_be_long() -> None:
    auth = connection()
    assert auth.auth("digest", b"a:" + b"b" * 100_000).code == 0
    assert auth.identities[1].id.startswith("a:")


def test_sasl() -> None:
    auth = connection(SASL, JAAS)
    verdict = exchange(auth, "bob", b"b")
    assert verdict.code == 0
    assert verdict.token is not None
    assert verdict.token.startswith(b"rspauth=")
    assert auth.identities[1:] == (Identity("sasl", "bob"),)
    assert auth.sasl(b"").code == AUTH_FAILED  # one exchange per connection


def test_a_sasl_super_user() -> None:
    auth = connection({**SASL, "zookeeper.superUser.1": "root"}, JAAS)
    exchange(auth, "root", b"r")
    assert auth.identities[1:] == (Identity("sasl", "root"), Identity("super", ""))


@pytest.mark.parametrize(
    ("properties", "code", "closes"),
    [
        ({}, AUTH_FAILED, True),
        ({"zookeeper.allowSaslFailedClients": "true"}, 0, False),
        ({"zookeeper.sessionRequireClientSASLAuth": "true"}, REQUIRE_SASL, True),
        (
            {"zookeeper.sessionRequireClientSASLAuth": "true", "zookeeper.allowSaslFailedClients": "true"},
            REQUIRE_SASL,
            True,
        ),
    ],
)
def test_failed_sasl(properties: dict[str, str], code: int, closes: bool) -> None:
    auth = connection({**SASL, **properties}, JAAS)
    verdict = exchange(auth, "bob", b"guessed")
    assert (verdict.code, verdict.close, verdict.token) == (code, closes, None)
    assert len(auth.identities) == 1
    assert "guessed" not in verdict.why


def test_without_a_jaas_file_sasl_answers_nothing_and_proves_nobody() -> None:
    auth = connection(SASL)
    assert auth.sasl(b"") == Verdict()
    assert len(auth.identities) == 1


def test_enforcement() -> None:
    auth = connection({**SASL, "zookeeper.sessionRequireClientSASLAuth": "true"}, JAAS)
    refusal = auth.refusal()
    assert refusal is not None
    assert (refusal.code, refusal.close) == (REQUIRE_SASL, True)
    assert auth.auth("digest", b"a:b").code == 0
    assert auth.refusal() is not None
    exchange(auth, "bob", b"b")
    assert auth.refusal() is None
    assert ConnectionAuth(AuthSettings(), "127.0.0.1").refusal() is None


def test_a_certificate_whose_subject_cannot_be_read_ends_the_connection() -> None:
    auth = connection()
    assert auth.certified(b"no DER").close
    assert len(auth.identities) == 1
