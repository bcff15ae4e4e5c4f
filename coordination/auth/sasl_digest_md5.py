"""SASL's DIGEST-MD5: the server's three steps, and a client's two for tests.

In: tokens as the sasl request carries them, user names -> passwords, a nonce.  Out: tokens; the user's name once it
is proven.
Knows no connection and draws no randomness.  Answers to RFC 2831 and to Java's DigestMD5Server as ZooKeeper
configures it:
service `zookeeper`, server and realm `zk-sasl-md5`, no protection of what follows (qop auth).

    START --empty token--> challenge --> CHALLENGED --right response--> rspauth --> DONE
                                          any other token --> `SaslError`, and FAILED for good

(1) The response must repeat our nonce, with count 1: a recorded exchange is worth nothing.
(2) An unknown user costs the same work and gives the same error as a wrong password.
(3) The proven name is the authentication id; an authorization id the client asks for is only mixed into the hash, as
    in ZooKeeper.
(4) `SaslError` and `repr` hold no password, response or nonce.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping

from coordination.secret import Secret

SERVICE = "zookeeper"
SERVER_NAME = "zk-sasl-md5"  # ZooKeeper's own name for every server (SecurityUtils.createSaslServer)
TOKEN_BYTES_MAX = 4096  # RFC 2831 2.1.2: a digest-response is smaller
NONCE_BYTES_MIN = 16

START, CHALLENGED, DONE, FAILED = "start", "challenged", "done", "failed"

_DIRECTIVE = re.compile(
    rb"""[ \t\r\n,]*(?P<name>[!#$%&'*+\-.0-9A-Z^_`a-z|~]+)[ \t\r\n]*=[ \t\r\n]*
    (?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\x00-\x20"(),/:;<=>?@\[\\\]{}\x7f]+))[ \t\r\n]*(?=,|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_BLANK = re.compile(rb"[ \t\r\n,]*")
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ONLY_ONCE = frozenset(
    b"username nonce cnonce nc qop digest-uri response maxbuf charset cipher authzid algorithm rspauth stale".split()
)


class SaslError(ValueError):
    """The exchange failed; the text is for the server's log."""


def parse_directives(token: bytes) -> dict[bytes, list[bytes]]:
    """`name=value, name="value"` as name -> values; `SaslError` on anything else (source: RFC 2831 7.1)."""
    if len(token) > TOKEN_BYTES_MAX:
        raise SaslError(f"the token has {len(token)} bytes; allowed are {TOKEN_BYTES_MAX}")
    found: dict[bytes, list[bytes]] = {}
    pos = 0
    while True:
        blank = _BLANK.match(token, pos)
        assert blank is not None
        pos = blank.end()
        if pos == len(token):
            return found
        match = _DIRECTIVE.match(token, pos)
        if match is None:
            raise SaslError(f"the token is not a list of name=value at byte {pos}")
        name, quoted = match["name"].lower(), match["quoted"]
        value = match["plain"] if quoted is None else _ESCAPE.sub(rb"\1", quoted)
        if name in found and name in _ONLY_ONCE:
            raise SaslError(f"the token says {name.decode()} twice")
        found.setdefault(name, []).append(value)
        pos = match.end()


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _hex_md5(data: bytes) -> bytes:
    return _md5(data).hex().encode()


def _hash_bytes(text: str) -> bytes:
    """RFC 2831 2.1.2.1: what fits into ISO 8859-1 is hashed as such, even where UTF-8 was agreed on."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8")


def digest(
    *,
    user: str,
    realm: str,
    password: bytes,
    nonce: bytes,
    cnonce: bytes,
    uri: bytes,
    authzid: bytes | None,
    prefix: bytes,
) -> bytes:
    """The `response` (prefix AUTHENTICATE) or `rspauth` (empty prefix) for count 1 and qop auth (source: RFC 2831
    2.1.2.1).
    """
    secret = _md5(b":".join((_hash_bytes(user), _hash_bytes(realm), password)))
    a1 = b":".join((secret, nonce, cnonce, *(() if authzid is None else (authzid,))))
    a2 = prefix + b":" + uri
    return _hex_md5(b":".join((_hex_md5(a1), nonce, b"00000001", cnonce, b"auth", _hex_md5(a2))))


class DigestMd5Server:
    """One exchange.  `nonce` is fresh randomness as text, at least 16 characters."""

    __slots__ = ("_nonce", "_realm", "_users", "service", "state", "user")

    def __init__(
        self, users: Mapping[str, Secret], nonce: str, *, service: str = SERVICE, realm: str = SERVER_NAME
    ) -> None:
        assert len(nonce) >= NONCE_BYTES_MIN or realm != SERVER_NAME, "a nonce must not be guessable"
        self._users = users
        self._nonce = nonce.encode()
        self._realm = realm
        self.service = service
        self.state = START
        self.user: str | None = None

    def __repr__(self) -> str:
        return f"DigestMd5Server({self.state})"

    def step(self, token: bytes) -> bytes:
        """The token to answer with; `SaslError` ends the exchange."""
        state, self.state = self.state, FAILED
        if state is START:
            if token:
                raise SaslError("DIGEST-MD5 begins with the server's challenge, the client sent something first")
            self.state = CHALLENGED
            return b'realm="%s",nonce="%s",charset=utf-8,algorithm=md5-sess' % (self._realm.encode(), self._nonce)
        if state is CHALLENGED:
            answer = self._judge(parse_directives(token))
            self.state = DONE
            return answer
        raise SaslError(f"a token after the exchange was {state}")

    def _judge(self, said: Mapping[bytes, list[bytes]]) -> bytes:
        utf8 = said.get(b"charset", [b""])[0].lower() == b"utf-8"
        if b"charset" in said and not utf8:
            raise SaslError("charset may only be utf-8")
        encoding = "utf-8" if utf8 else "latin-1"
        try:
            user = _one(said, b"username").decode(encoding)
            realm = said.get(b"realm", [b""])[0].decode(encoding)
        except UnicodeDecodeError:
            raise SaslError("username or realm is not in the charset agreed on") from None
        cnonce, uri, response = _one(said, b"cnonce"), _one(said, b"digest-uri"), _one(said, b"response")
        if realm != self._realm:
            raise SaslError("the realm is not the one offered")
        if not hmac.compare_digest(_one(said, b"nonce"), self._nonce):
            raise SaslError("the nonce is not ours: a replay, or an answer to another challenge")
        if _one(said, b"nc") != b"00000001":
            raise SaslError("the nonce count is not 1")
        if said.get(b"qop", [b"auth"])[0].lower() != b"auth":
            raise SaslError("the client asks for a protection (qop) that was not offered")
        if uri.lower() != f"{self.service}/{self._realm}".lower().encode():
            raise SaslError("digest-uri names another service")
        authzid = said[b"authzid"][0] if b"authzid" in said else None
        known = self._users.get(user)
        password = b"" if known is None else _hash_bytes(known.reveal().decode("utf-8", "surrogateescape"))
        expected, proof = (
            digest(
                user=user,
                realm=realm,
                password=password,
                nonce=self._nonce,
                cnonce=cnonce,
                uri=uri,
                authzid=authzid,
                prefix=prefix,
            )
            for prefix in (b"AUTHENTICATE", b"")
        )
        if not hmac.compare_digest(expected, response) or known is None or not user:
            raise SaslError("unknown user or wrong password")
        self.user = user
        return b"rspauth=" + proof


def _one(said: Mapping[bytes, list[bytes]], name: bytes) -> bytes:
    if name not in said:
        raise SaslError(f"the response has no {name.decode()}")
    return said[name][0]


def client_response(
    challenge: bytes,
    *,
    user: str,
    password: Secret,
    cnonce: str,
    service: str = SERVICE,
    host: str = SERVER_NAME,
    authzid: str | None = None,
) -> tuple[bytes, bytes]:
    """A client's answer to a challenge, and the proof (rspauth) the server must give for it.  For tests and tools."""
    said = parse_directives(challenge)
    realm = said.get(b"realm", [b""])[0]
    nonce = _one(said, b"nonce")
    uri = f"{service}/{host}".encode()
    response, proof = (
        digest(
            user=user,
            realm=realm.decode(),
            password=_hash_bytes(password.reveal().decode()),
            nonce=nonce,
            cnonce=cnonce.encode(),
            uri=uri,
            authzid=None if authzid is None else authzid.encode(),
            prefix=prefix,
        )
        for prefix in (b"AUTHENTICATE", b"")
    )
    parts = [
        b"charset=utf-8",
        b"username=" + _quoted(user.encode()),
        b"realm=" + _quoted(realm),
        b"nonce=" + _quoted(nonce),
        b"nc=00000001",
        b"cnonce=" + _quoted(cnonce.encode()),
        b"digest-uri=" + _quoted(uri),
        b"response=" + response,
        b"qop=auth",
    ]
    if authzid is not None:
        parts.append(b"authzid=" + _quoted(authzid.encode()))
    return b",".join(parts), b"rspauth=" + proof


def _quoted(value: bytes) -> bytes:
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
