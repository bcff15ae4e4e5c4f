"""What one connection has proven so far, and the requests that prove more: auth (100) and sasl (102).

In: an address, a nonce, schemes with credentials, SASL tokens.  Out: verdicts; `identities`, a tuple that only
grows.
Knows no session, tree or socket: identities belong to a connection and die with it.
Answers to ZooKeeper's ServerCnxn (authInfo, zooKeeperSaslServer), AuthenticationHelper and the two requests in
ZooKeeperServer.processPacket.

(1) `identities` is replaced, never changed: a request that was accepted keeps the identities it came with.
(2) A failed proof ends the connection (the verdict says so) unless the settings allow a failed SASL client to stay,
    as nobody.
(3) While a scheme is enforced, every request but auth and sasl of a connection without it is refused.
"""

from typing import TYPE_CHECKING, NamedTuple

from coordination.auth.identity import ENSEMBLE, SUPER_SCHEME, Identity, Peer
from coordination.auth.schemes import DigestScheme
from coordination.auth.settings import AuthSettings
from coordination.errors import AuthFailedError, SessionClosedRequireSaslAuthError

if TYPE_CHECKING:
    from coordination.auth.sasl_digest_md5 import DigestMd5Server


class Verdict(NamedTuple):
    """`code` for the reply's header; `token` its body (sasl only); `close` the connection behind it; `why` for the
    log; not `answered`: the connection ends without a word.
    """

    code: int = 0
    token: bytes | None = None
    close: bool = False
    why: str = ""
    answered: bool = True


IDENTITIES_MAX = 1000
"""Every check of an ACL looks through them, and the scheme `auth` writes them all into one."""
IDENTITY_LENGTH_MAX = 1024
"""It stands in every ACL that `auth` was written into. (A password may be longer: only its digest is part of it.)"""
_SHOWN_MAX = 80  # of what a client says, in a line of the log


class ConnectionAuth:
    """One connection's identities.  `identities[0]` is its address; a verified certificate comes next."""

    __slots__ = ("_nonce", "_peer", "_sasl", "_settings", "identities")

    def __init__(self, settings: AuthSettings, address: str, nonce: str = "") -> None:
        """`nonce`: fresh randomness for this connection's SASL exchange; may only be left out where nobody can
        authenticate by it.
        """
        self._settings = settings
        self._peer = Peer(address)
        self._nonce = nonce
        self._sasl: DigestMd5Server | None = None
        self.identities: tuple[Identity, ...] = settings.schemes["ip"].prove(self._peer, b"")

    def certified(self, certificate: bytes) -> Verdict:
        """The peer's certificate, once TLS has verified it; a connection whose subject cannot be read must end."""
        self._peer = self._peer._replace(certificate=certificate)
        scheme = self._settings.schemes.get("x509")
        proven = () if scheme is None else scheme.prove(self._peer, b"")
        self._add(proven)
        if scheme is not None and not proven:
            return Verdict(
                AuthFailedError.code, close=True, why="the subject of the client's certificate cannot be read"
            )
        return Verdict()

    def auth(self, scheme_name: str, credential: bytes | None) -> Verdict:
        """An auth request; without a credential it cannot prove a digest, not even that of an empty one."""
        if scheme_name == ENSEMBLE and self._settings.ensemble_names is not None:
            return self._named(credential or b"", self._settings.ensemble_names)
        scheme = self._settings.schemes.get(scheme_name)
        if scheme is None:
            known = ", ".join(self._settings.schemes)
            why = f"no authentication scheme {scheme_name[:_SHOWN_MAX]!r}; there are {known}"
            return Verdict(AuthFailedError.code, close=True, why=why)
        missing = credential is None and scheme_name == DigestScheme.name
        proven = () if missing else scheme.prove(self._peer, credential or b"")
        if not proven:
            return Verdict(AuthFailedError.code, close=True, why=f"authentication failed for scheme {scheme_name}")
        if (length := max(len(identity.id) for identity in proven)) > IDENTITY_LENGTH_MAX:
            why = f"an identity of {length} characters; allowed are {IDENTITY_LENGTH_MAX}"
            return Verdict(AuthFailedError.code, close=True, why=why)
        if len(self.identities) >= IDENTITIES_MAX:
            why = f"the connection has {len(self.identities)} identities, and no more are taken"
            return Verdict(AuthFailedError.code, close=True, why=why)
        self._add(proven)
        return Verdict()

    def sasl(self, token: bytes) -> Verdict:
        """A sasl request.  A connection has one exchange: after it failed or succeeded, further tokens fail."""
        users = self._settings.sasl_users
        if users is None:
            return Verdict()  # as ZooKeeper without a JAAS file: an empty answer, and nobody is proven
        from coordination.auth.sasl_digest_md5 import DONE, DigestMd5Server, SaslError  # not before it is needed

        if self._sasl is None:
            self._sasl = DigestMd5Server(users, self._nonce)
        try:
            answer = self._sasl.step(token)
        except SaslError as error:
            return self._sasl_failed(str(error))
        if self._sasl.state is DONE:
            assert self._sasl.user is not None
            self._add((Identity("sasl", self._sasl.user),))
            if self._sasl.user in self._settings.sasl_super_users:
                self._add((Identity(SUPER_SCHEME, ""),))
        return Verdict(token=answer)

    def refusal(self) -> Verdict | None:
        """Why an ordinary request of this connection is refused, if it is (source:
        AuthenticationHelper.enforceAuthentication).
        """
        enforced = self._settings.enforced_schemes
        if not enforced or any(identity.scheme in enforced for identity in self.identities):
            return None
        why = f"the connection has authenticated with none of {', '.join(sorted(enforced))}"
        return Verdict(SessionClosedRequireSaslAuthError.code, close=True, why=why)

    def _named(self, credential: bytes, names: frozenset[str]) -> Verdict:
        """A client says which ensemble it means.  In the wrong one it hears nothing: an answer would be final for it,
        a connection that ends sends it to its next server (source: EnsembleAuthenticationProvider).
        """
        name = credential.decode(errors="replace")
        if not name or not names or name in names:
            return Verdict()
        return Verdict(close=True, why=f"the client looks for the ensemble {name[:_SHOWN_MAX]!r}", answered=False)

    def _sasl_failed(self, why: str) -> Verdict:
        if self._settings.sasl_required:
            return Verdict(SessionClosedRequireSaslAuthError.code, close=True, why=why)
        if self._settings.allow_failed_sasl:
            return Verdict(why=f"{why}; the connection stays, as nobody")
        return Verdict(AuthFailedError.code, close=True, why=why)

    def _add(self, proven: tuple[Identity, ...]) -> None:
        self.identities = (*self.identities, *(each for each in proven if each not in self.identities))
