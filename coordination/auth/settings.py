"""The settings of authentication: what the properties and zoo.cfg say, judged once, before the server serves.

In: a mapping of full property names (`zookeeper.skipACL`, `zookeeper.authProvider.1`, ...) and the text of the JAAS
file.
Out: `AuthSettings`, frozen; `AuthSettingsError` with the property, why, and what to do.
Reads no file and no environment.  Answers to ZooKeeper's ProviderRegistry, AuthenticationHelper and the statics of
ZooKeeperServer.

(1) A key `x.y` of zoo.cfg that is not one of the server's own is the property `zookeeper.x.y` (source:
    QuorumPeerConfig.parseProperties).
(2) No setting names code to load: a provider class is looked up in a table, and one that is not in it is refused.
(3) digest and ip are always there (digest unless switched off); sasl and x509 only when asked for.  A secure port
    asks for x509.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from coordination.auth.identity import ENSEMBLE
from coordination.auth.permissions import AccessControl
from coordination.auth.schemes import DIGEST_ALGORITHMS, DigestScheme, IpScheme, SaslScheme, Scheme, X509Scheme
from coordination.secret import Secret

PREFIX = "zookeeper."
SUPER_DIGEST = "zookeeper.DigestAuthenticationProvider.superDigest"
DIGEST_ALGORITHM = "zookeeper.DigestAuthenticationProvider.digestAlg"
DIGEST_ENABLED = "zookeeper.DigestAuthenticationProvider.enabled"
X509_SUPER_USER = "zookeeper.X509AuthenticationProvider.superUser"
SASL_SUPER_PASSWORD = "zookeeper.SASLAuthenticationProvider.superPassword"
SASL_SUPER_USER = "zookeeper.superUser"
ENSEMBLE_NAMES = "zookeeper.ensembleAuthName"
ANY_SASL_USER = "zookeeper.letAnySaslUserDoX"
SKIP_ACL = "zookeeper.skipACL"
PROVIDERS = "zookeeper.authProvider."
ENFORCE = "zookeeper.enforce.auth.enabled"
ENFORCED_SCHEMES = "zookeeper.enforce.auth.schemes"
REQUIRE_SASL = "zookeeper.sessionRequireClientSASLAuth"
ALLOW_FAILED_SASL = "zookeeper.allowSaslFailedClients"
JAAS_FILE = "java.security.auth.login.config"
JAAS_SECTION = "zookeeper.sasl.serverconfig"

_PACKAGE = "org.apache.zookeeper.server.auth."
_CLASSES = {
    _PACKAGE + "DigestAuthenticationProvider": "digest",
    _PACKAGE + "IPAuthenticationProvider": "ip",
    _PACKAGE + "X509AuthenticationProvider": "x509",
    _PACKAGE + "SASLAuthenticationProvider": "sasl",
    _PACKAGE + "EnsembleAuthenticationProvider": ENSEMBLE,
}

_KEYS = frozenset(
    (SUPER_DIGEST, DIGEST_ALGORITHM, DIGEST_ENABLED, X509_SUPER_USER, SASL_SUPER_PASSWORD, ANY_SASL_USER, SKIP_ACL)
) | {
    ENSEMBLE_NAMES,
    ENFORCE,
    ENFORCED_SCHEMES,
    REQUIRE_SASL,
    ALLOW_FAILED_SASL,
    JAAS_FILE,
    JAAS_SECTION,
    SASL_SUPER_USER,
}


KEYS = frozenset(key.removeprefix(PREFIX) for key in _KEYS)
"""What is read here, as zoo.cfg names it."""


class AuthSettingsError(ValueError):
    """A setting that cannot be served: what, why, what to do."""


@dataclass(frozen=True)
class AuthSettings:
    schemes: Mapping[str, Scheme] = field(default_factory=lambda: {"ip": IpScheme(), "digest": DigestScheme()})
    skip_acl: bool = False
    sasl_users: Mapping[str, Secret] | None = None  # None: no JAAS file, sasl proves nobody
    sasl_super_users: frozenset[str] = frozenset()
    enforced_schemes: frozenset[str] = frozenset()  # empty: anyone may come in
    allow_failed_sasl: bool = False
    ensemble_names: frozenset[str] | None = None
    """What a client may take this server for (the scheme `ensemble`, which proves nobody); empty: for anything; None:
    it cannot ask."""

    @property
    def sasl_required(self) -> bool:
        return "sasl" in self.enforced_schemes

    def access_control(self) -> AccessControl:
        return AccessControl(self.schemes, skip=self.skip_acl)


def knows(key: str) -> bool:
    """Whether a key of zoo.cfg or a property (with or without its prefix) is read here."""
    name = key if key == JAAS_FILE or key.startswith(PREFIX) else PREFIX + key
    return name in _KEYS or name.startswith((PROVIDERS, SASL_SUPER_USER + "."))


def read(properties: Mapping[str, str], *, jaas_text: str | None = None, secure: bool = False) -> AuthSettings:
    """`properties` -> settings.  `jaas_text`: content of the file that `java.security.auth.login.config` names."""
    schemes = _schemes(properties, secure=secure)
    return AuthSettings(
        schemes=schemes,
        skip_acl=properties.get(SKIP_ACL, "no") == "yes",
        sasl_users=None if jaas_text is None else _sasl_users(properties, jaas_text),
        sasl_super_users=frozenset(
            value
            for key, value in properties.items()
            if key == SASL_SUPER_USER or key.startswith(SASL_SUPER_USER + ".")
        ),
        enforced_schemes=_enforced(properties, schemes),
        allow_failed_sasl=_true(properties, ALLOW_FAILED_SASL),
        ensemble_names=_ensemble_names(properties),
    )


def _true(properties: Mapping[str, str], key: str, default: str = "false") -> bool:
    """A switch that was mistyped must not be off without a word."""
    text = properties.get(key, default).strip().lower()
    if text not in ("true", "false"):
        raise AuthSettingsError(f"{key} = {properties[key]} is neither true nor false. Correct it")
    return text == "true"


def _ensemble_names(properties: Mapping[str, str]) -> frozenset[str] | None:
    providers = (value.strip() for key, value in properties.items() if key.startswith(PROVIDERS))
    if ENSEMBLE not in map(_CLASSES.get, providers):
        return None
    return frozenset(name.strip() for name in properties.get(ENSEMBLE_NAMES, "").split(",") if name.strip())


def _schemes(properties: Mapping[str, str], *, secure: bool) -> dict[str, Scheme]:
    wanted = ["ip"]
    if _true(properties, DIGEST_ENABLED, "true"):
        wanted.append("digest")
    if secure:
        wanted.append("x509")
    for key in sorted(properties):
        if key.startswith(PROVIDERS):
            class_name = properties[key].strip()
            if class_name not in _CLASSES:
                known = ", ".join(sorted(_CLASSES))
                raise AuthSettingsError(
                    f"{key} = {class_name}: this server loads no classes. "
                    f"It has {known}; take one of them, or remove the line"
                )
            if _CLASSES[class_name] != ENSEMBLE:
                wanted.append(_CLASSES[class_name])
    return {name: _scheme(name, properties) for name in dict.fromkeys(wanted)}


def _scheme(name: str, properties: Mapping[str, str]) -> Scheme:
    if name == "digest":
        algorithm = properties.get(DIGEST_ALGORITHM, "SHA1").strip()
        if algorithm.upper() not in DIGEST_ALGORITHMS:
            known = ", ".join(DIGEST_ALGORITHMS)
            raise AuthSettingsError(
                f"{DIGEST_ALGORITHM} = {algorithm}: not a digest this server has. Take one of {known}"
            )
        super_digest = properties.get(SUPER_DIGEST, "").strip()
        return DigestScheme(Secret(super_digest.encode()) if super_digest else None, algorithm)
    if name == "x509":
        return X509Scheme(properties.get(X509_SUPER_USER))
    if name == "sasl":
        return SaslScheme(properties.get(ANY_SASL_USER))
    return IpScheme()


def _sasl_users(properties: Mapping[str, str], jaas_text: str) -> dict[str, Secret]:
    from coordination.auth import jaas  # only a server with a JAAS file pays for its parser

    section = properties.get(JAAS_SECTION, "Server")
    try:
        users = jaas.digest_users(jaas_text, section)
    except jaas.JaasError as error:
        raise AuthSettingsError(
            f"the JAAS file ({JAAS_FILE}) cannot be used: {error}. Correct it, or remove the property"
        ) from None
    if SASL_SUPER_PASSWORD in properties and "super" in users:
        users["super"] = Secret(properties[SASL_SUPER_PASSWORD].encode())
    return users


def _enforced(properties: Mapping[str, str], schemes: Mapping[str, Scheme]) -> frozenset[str]:
    if _true(properties, REQUIRE_SASL):
        wanted = ["sasl"]
    elif _true(properties, ENFORCE):
        wanted = [each.strip() for each in properties.get(ENFORCED_SCHEMES, "").split(",") if each.strip()]
        if not wanted:
            raise AuthSettingsError(
                f"{ENFORCE} is true and {ENFORCED_SCHEMES} is empty: nobody could come in. "
                "Name schemes, or set it to false"
            )
    else:
        return frozenset()
    for scheme in wanted:
        if scheme not in schemes:
            raise AuthSettingsError(
                f"scheme {scheme} is enforced and not there. Add its provider ({PROVIDERS}N=...), or enforce one of "
                f"{', '.join(sorted(schemes))}"
            )
    return frozenset(wanted)
