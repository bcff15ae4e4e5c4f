"""DIGEST-MD5: the vectors of RFC 2831, the server's refusals, and a parser that no bytes upset."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.auth.sasl_digest_md5 import (
    CHALLENGED,
    DONE,
    FAILED,
    START,
    TOKEN_BYTES_MAX,
    DigestMd5Server,
    SaslError,
    client_response,
    digest,
    parse_directives,
)
from coordination.secret import Secret

USERS = {"jaasuser": Secret(b"jaas_password"), "müller": Secret("grüße".encode()), "wide": Secret("пароль".encode())}
NONCE = "0123456789abcdefghijklmn"


@pytest.mark.parametrize(
    ("nonce", "cnonce", "uri", "response", "rspauth"),
    [
        (
            b"OA6MG9tEQGm2hh",
            b"OA6MHXh6VqTrRk",
            b"imap/elwood.innosoft.com",
            b"d388dad90d4bbd760a152321f2143af7",
            b"ea40f60335c427b5527b84dbabcdfffd",
        ),
        (
            b"OA9BSXrbuRhWay",
            b"OA9BSuZWMSpW8m",
            b"acap/elwood.innosoft.com",
            b"6084c6db3fede7352c551284490fd0fc",
            b"2f0b3d7c3c2e486600ef710726aa2eae",
        ),
    ],
)
def test_the_examples_of_rfc_2831(nonce: bytes, cnonce: bytes, uri: bytes, response: bytes, rspauth: bytes) -> None:
    """RFC 2831 section 4: user chris, realm elwood.innosoft.com, password secret."""

    def hashed(prefix: bytes) -> bytes:
        return digest(
            user="chris",
            realm="elwood.innosoft.com",
            password=b"secret",
            nonce=nonce,
            cnonce=cnonce,
            uri=uri,
            authzid=None,
            prefix=prefix,
        )

    assert hashed(b"AUTHENTICATE") == response
    assert hashed(b"") == rspauth


def test_the_rfcs_imap_exchange_word_for_word() -> None:
    server = DigestMd5Server(
        {"chris": Secret(b"secret")}, "OA6MG9tEQGm2hh", service="imap", realm="elwood.innosoft.com"
    )
    server.step(b"")
    answer = server.step(
        b'charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",nc=00000001,'
        b'cnonce="OA6MHXh6VqTrRk",digest-uri="imap/elwood.innosoft.com",'
        b"response=d388dad90d4bbd760a152321f2143af7,qop=auth"
    )
    assert answer == b"rspauth=ea40f60335c427b5527b84dbabcdfffd"
    assert server.user == "chris"


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("authzid", [None, "somebody-else"])
def test_an_exchange(user: str, authzid: str | None) -> None:
    server = DigestMd5Server(USERS, NONCE)
    assert server.state is START
    challenge = server.step(b"")
    assert challenge == b'realm="zk-sasl-md5",nonce="%s",charset=utf-8,algorithm=md5-sess' % NONCE.encode()
    assert server.state is CHALLENGED
    assert not server.user
    response, proof = client_response(challenge, user=user, password=USERS[user], cnonce="c" * 16, authzid=authzid)
    assert server.step(response) == proof
    assert server.state is DONE
    assert server.user == user  # never the authorization id
    with pytest.raises(SaslError):
        server.step(b"")
    assert server.state is FAILED


def answer_to(challenge: bytes, user: str = "jaasuser", password: bytes = b"jaas_password") -> bytes:
    return client_response(challenge, user=user, password=Secret(password), cnonce="c" * 16)[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"nc=00000001", b"nc=00000002"),
        (NONCE.encode(), b"x" * len(NONCE)),
        (b'realm="zk-sasl-md5"', b'realm="elsewhere"'),
        (b"zookeeper/zk-sasl-md5", b"kafka/zk-sasl-md5"),
        (b"qop=auth", b"qop=auth-conf"),
        (b"charset=utf-8", b"charset=koi8-r"),
        (b'username="jaasuser"', b'username="\xff\xfe"'),
        (b'username="jaasuser"', b'username=""'),
        (b'username="jaasuser",', b""),
        (b"nc=00000001,", b""),
        (b"qop=auth", b"qop=auth,qop=auth"),
        (b"qop=auth", b'qop=auth,username="super"'),
        (b"qop=auth", b"qop=auth,authzid=super"),
        (b"qop=auth", b"qop=auth,="),
        (b"response=", b"response=0"),
    ],
)
def test_one_thing_wrong_ends_it(old: bytes, new: bytes) -> None:
    server = DigestMd5Server(USERS, NONCE)
    token = answer_to(server.step(b""))
    assert old in token
    with pytest.raises(SaslError) as refused:
        server.step(token.replace(old, new))
    assert server.state is FAILED
    assert server.user is None
    assert NONCE not in str(refused.value)
    with pytest.raises(SaslError):
        server.step(token)  # the right answer comes too late


def test_unknown_users_and_wrong_passwords_look_alike() -> None:
    errors = []
    for user, password in (("nobody", b"x"), ("jaasuser", b"x"), ("nobody", b"")):
        server = DigestMd5Server(USERS, NONCE)
        with pytest.raises(SaslError) as refused:
            server.step(answer_to(server.step(b""), user, password))
        errors.append(str(refused.value))
    assert len(set(errors)) == 1


def test_a_recorded_exchange_is_worth_nothing() -> None:
    first, second = DigestMd5Server(USERS, NONCE), DigestMd5Server(USERS, NONCE[::-1])
    recorded = answer_to(first.step(b""))
    first.step(recorded)
    second.step(b"")
    with pytest.raises(SaslError, match="replay"):
        second.step(recorded)


def test_the_client_may_not_begin_with_a_response() -> None:
    with pytest.raises(SaslError):
        DigestMd5Server(USERS, NONCE).step(b"x=y")


def test_a_server_shows_no_secret() -> None:
    assert repr(DigestMd5Server(USERS, NONCE)) == "DigestMd5Server(start)"
    assert "jaas_password" not in repr(USERS)


@pytest.mark.parametrize(
    ("token", "found"),
    [
        (b"", {}),
        (b" , ,", {}),
        (b"a=b", {b"a": [b"b"]}),
        (b'A="b c"', {b"a": [b"b c"]}),
        (b'a = "x\\"y\\\\" , b=1', {b"a": [b'x"y\\'], b"b": [b"1"]}),
        (b'realm="one",realm="two"', {b"realm": [b"one", b"two"]}),
        (b'a=""', {b"a": [b""]}),
    ],
)
def test_directives(token: bytes, found: dict[bytes, list[bytes]]) -> None:
    assert parse_directives(token) == found


@pytest.mark.parametrize("token", [b"a", b"=b", b"a=", b'a="b', b'a="b"c', b"a=b c", b"nc=1,nc=1", b'a="\\', b"\x00=1"])
def test_what_is_no_list_of_directives(token: bytes) -> None:
    with pytest.raises(SaslError):
        parse_directives(token)


def test_a_token_has_a_limit() -> None:
    with pytest.raises(SaslError):
        parse_directives(b"a" * (TOKEN_BYTES_MAX + 1))


@given(st.binary(max_size=300) | st.text(alphabet='a=",\\ \t', max_size=40).map(str.encode))
def test_no_token_upsets_the_server(token: bytes) -> None:
    server = DigestMd5Server(USERS, NONCE)
    server.step(b"")
    with pytest.raises(SaslError):
        server.step(token)


@given(st.dictionaries(st.sampled_from([b"realm", b"x", b"y"]), st.binary(max_size=20), min_size=1))
def test_quoted_values_come_back(values: dict[bytes, bytes]) -> None:
    token = b",".join(
        name + b'="' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"' for name, value in values.items()
    )
    assert parse_directives(token) == {name: [value] for name, value in values.items()}
