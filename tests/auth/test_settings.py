"""Properties -> settings of authentication; what cannot be served is refused with the property's name."""

import pytest

from coordination.auth.schemes import DigestScheme, generate_digest
from coordination.auth.settings import AuthSettingsError, read

SASL = {"zookeeper.authProvider.1": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"}
JAAS = """Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_super="a" user_bob="b"; };"""


def test_the_default_is_digest_and_ip() -> None:
    settings = read({})
    assert sorted(settings.schemes) == ["digest", "ip"]
    assert settings.sasl_users is None
    assert not settings.skip_acl
    assert not settings.enforced_schemes


def test_providers() -> None:
    assert sorted(read(SASL).schemes) == ["digest", "ip", "sasl"]
    assert sorted(read({}, secure=True).schemes) == ["digest", "ip", "x509"]
    assert sorted(read({"zookeeper.DigestAuthenticationProvider.enabled": "false"}).schemes) == ["ip"]


def test_an_ensemble_has_names_and_is_no_scheme() -> None:
    provider = {"zookeeper.authProvider.1": "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider"}
    assert read({"zookeeper.ensembleAuthName": "a"}).ensemble_names is None
    assert read(provider).ensemble_names == frozenset()
    named = read({**provider, "zookeeper.ensembleAuthName": " foo,bar, baz "})
    assert named.ensemble_names == {"foo", "bar", "baz"}
    assert set(named.schemes) == {"ip", "digest"}


def test_super_digest_and_algorithm() -> None:
    value = generate_digest("super:x", "SHA-256")
    settings = read(
        {
            "zookeeper.DigestAuthenticationProvider.superDigest": value,
            "zookeeper.DigestAuthenticationProvider.digestAlg": "SHA-256",
        }
    )
    digest = settings.schemes["digest"]
    assert isinstance(digest, DigestScheme)
    assert digest.algorithm == "SHA-256"
    assert digest.super_digest is not None
    assert value not in repr(settings)


@pytest.mark.parametrize(("value", "skips"), [("yes", True), ("no", False), ("true", False)])
def test_skip_acl_wants_the_word_yes(value: str, skips: bool) -> None:
    assert read({"zookeeper.skipACL": value}).skip_acl is skips


def test_sasl_users_and_super_users() -> None:
    settings = read(
        {**SASL, "zookeeper.superUser": "bob", "zookeeper.superUser.2": "eve", "zookeeper.superUserX": "no"},
        jaas_text=JAAS,
    )
    assert settings.sasl_users is not None
    assert {user: each.reveal() for user, each in settings.sasl_users.items()} == {"super": b"a", "bob": b"b"}
    assert settings.sasl_super_users == {"bob", "eve"}


def test_the_super_password_may_come_from_a_property() -> None:
    settings = read({"zookeeper.SASLAuthenticationProvider.superPassword": "new"}, jaas_text=JAAS)
    assert settings.sasl_users is not None
    assert settings.sasl_users["super"].reveal() == b"new"


@pytest.mark.parametrize(
    ("properties", "enforced"),
    [
        ({**SASL, "zookeeper.sessionRequireClientSASLAuth": "true"}, {"sasl"}),
        ({"zookeeper.enforce.auth.enabled": "true", "zookeeper.enforce.auth.schemes": "digest, ip"}, {"digest", "ip"}),
        ({"zookeeper.enforce.auth.schemes": "digest"}, set()),
    ],
)
def test_enforcement(properties: dict[str, str], enforced: set[str]) -> None:
    assert read(properties).enforced_schemes == enforced


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"zookeeper.authProvider.1": "com.example.Mine"}, "loads no classes"),
        ({"zookeeper.DigestAuthenticationProvider.digestAlg": "ROT13"}, "not a digest"),
        ({"zookeeper.enforce.auth.enabled": "true"}, "nobody could come in"),
        ({"zookeeper.enforce.auth.enabled": "yes"}, "neither true nor false"),
        ({"zookeeper.enforce.auth.enabled": "true", "zookeeper.enforce.auth.schemes": "x"}, "scheme x is enforced"),
        ({"zookeeper.sessionRequireClientSASLAuth": "true"}, "scheme sasl is enforced"),
    ],
)
def test_what_cannot_be_served_is_refused(properties: dict[str, str], said: str) -> None:
    with pytest.raises(AuthSettingsError) as error:
        read(properties)
    assert said in str(error.value)


def test_a_broken_jaas_file_is_refused() -> None:
    with pytest.raises(AuthSettingsError, match=r"java\.security\.auth\.login\.config"):
        read({}, jaas_text="Client { };")
