"""The schemes of ZooKeeper's ACLs: how an identity is proven, which ids an ACL may hold, and when the two match.

In: a connection's peer and the bytes of an auth request; ids.  Out: identities, bools.
Knows no tree, no request and no connection's state.  Answers to ZooKeeper's AuthenticationProvider and its five kinds
(DigestAuthenticationProvider, IPAuthenticationProvider, X509AuthenticationProvider, SASLAuthenticationProvider;
`world` and `auth` live in permissions).

(1) `prove` gives the empty tuple when it proves nothing: that is a failed authentication, and the connection ends.
(2) `matches` is only asked about ids of its own scheme.
(3) `literal` True: an id in an ACL means this very id and nothing else.
(4) `proves_someone` False: `auth` in an ACL does not stand for such an identity (an address is nobody).
(5) A password is never kept: only its digest becomes part of an identity.
"""

import hashlib
import hmac
from base64 import b64encode
from dataclasses import dataclass
from typing import ClassVar, Protocol

from coordination.auth import ip_address
from coordination.auth.identity import SUPER_SCHEME, Identity, Peer
from coordination.secret import Secret

# Java's names of digests, as `zookeeper.DigestAuthenticationProvider.digestAlg` gives them, and Python's.
DIGEST_ALGORITHMS = {
    "MD5": "md5",
    "SHA": "sha1",
    "SHA1": "sha1",
    "SHA-1": "sha1",
    "SHA-224": "sha224",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
    "SHA3-224": "sha3_224",
    "SHA3-256": "sha3_256",
    "SHA3-384": "sha3_384",
    "SHA3-512": "sha3_512",
}


class Scheme(Protocol):
    name: ClassVar[str]
    literal: ClassVar[bool]
    proves_someone: ClassVar[bool]

    def prove(self, peer: Peer, credential: bytes) -> tuple[Identity, ...]: ...
    def is_valid(self, id_: str) -> bool: ...
    def matches(self, id_: str, expression: str) -> bool: ...
    def user_name(self, id_: str) -> str: ...


def generate_digest(user_and_password: str, algorithm: str = "SHA1") -> str:
    """`user:password` as the id of a digest ACL and as superDigest's value: `user:base64(hash(user:password))`.

    Source: DigestAuthenticationProvider.generateDigest.
    """
    hashed = hashlib.new(DIGEST_ALGORITHMS[algorithm.upper()], user_and_password.encode("utf-8", "replace"))
    return f"{user_and_password.partition(':')[0]}:{b64encode(hashed.digest()).decode()}"


def _java_split(text: str) -> list[str]:
    """Java's `split(":")`: empty strings at the end do not count (but a text that splits nowhere is one part)."""
    parts = text.split(":")
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return parts


@dataclass(frozen=True, slots=True)
class DigestScheme:
    super_digest: Secret | None = None
    algorithm: str = "SHA1"
    name: ClassVar[str] = "digest"
    literal: ClassVar[bool] = True
    proves_someone: ClassVar[bool] = True

    def prove(self, peer: Peer, credential: bytes) -> tuple[Identity, ...]:
        digest = generate_digest(credential.decode("utf-8", "replace"), self.algorithm)
        identity = Identity(self.name, digest)
        if self.super_digest is not None and hmac.compare_digest(digest.encode(), self.super_digest.reveal()):
            return Identity(SUPER_SCHEME, ""), identity
        return (identity,)

    def is_valid(self, id_: str) -> bool:
        return len(_java_split(id_)) == 2

    def matches(self, id_: str, expression: str) -> bool:
        return id_ == expression

    def user_name(self, id_: str) -> str:
        return id_.partition(":")[0]


@dataclass(frozen=True, slots=True)
class IpScheme:
    name: ClassVar[str] = "ip"
    literal: ClassVar[bool] = False
    proves_someone: ClassVar[bool] = False

    def prove(self, peer: Peer, credential: bytes) -> tuple[Identity, ...]:
        return (Identity(self.name, ip_address.java_text(peer.address)),)

    def is_valid(self, id_: str) -> bool:
        return ip_address.parse_network(id_) is not None

    def matches(self, id_: str, expression: str) -> bool:
        return ip_address.in_network(id_, expression)

    def user_name(self, id_: str) -> str:
        return id_


@dataclass(frozen=True, slots=True)
class X509Scheme:
    """Identity = the subject of the certificate that TLS has verified against the trust store."""

    super_user: str | None = None
    name: ClassVar[str] = "x509"
    literal: ClassVar[bool] = False
    proves_someone: ClassVar[bool] = True

    def prove(self, peer: Peer, credential: bytes) -> tuple[Identity, ...]:
        if peer.certificate is None:
            return ()
        from coordination.auth import distinguished_name  # only a server with a secure port pays for it

        try:
            subject = distinguished_name.subject(peer.certificate)
        except ValueError:
            return ()  # fail closed: an unreadable subject is nobody's
        identity = Identity(self.name, subject)
        if self.super_user is not None and subject == self.super_user:
            return Identity(SUPER_SCHEME, subject), identity
        return (identity,)

    def is_valid(self, id_: str) -> bool:
        from coordination.auth import distinguished_name

        return distinguished_name.is_name(id_)

    def matches(self, id_: str, expression: str) -> bool:
        return id_ == expression or (self.super_user is not None and id_ == self.super_user)

    def user_name(self, id_: str) -> str:
        return id_


@dataclass(frozen=True, slots=True)
class SaslScheme:
    """Identity = the name SASL authenticated.  An auth request cannot prove it: only the sasl exchange does."""

    any_user: str | None = None  # zookeeper.letAnySaslUserDoX: an ACL id that every SASL identity matches
    name: ClassVar[str] = "sasl"
    literal: ClassVar[bool] = False
    proves_someone: ClassVar[bool] = True

    def prove(self, peer: Peer, credential: bytes) -> tuple[Identity, ...]:
        return ()

    def is_valid(self, id_: str) -> bool:
        """A Kerberos name: `service[/host]@realm`, or any text without an @ (source: KerberosName)."""
        service, at, realm = id_.partition("@")
        return not at or ("@" not in realm and "/" not in realm and service.count("/") <= 1)

    def matches(self, id_: str, expression: str) -> bool:
        return id_ == expression or id_ == "super" or (self.any_user is not None and expression == self.any_user)

    def user_name(self, id_: str) -> str:
        return id_
