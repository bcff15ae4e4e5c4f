"""zoo.cfg with a secure port and authentication: what is read, what is told of, what is never shown."""

import pytest

from coordination.auth.schemes import generate_digest
from coordination.server import tls
from coordination.server.config import Config, ConfigError, build

SASL = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"


def config(zoo_cfg: dict[str, str], properties: dict[str, str] | None = None, **options: object) -> Config:
    return build(zoo_cfg, properties or {}, {"in_memory": True, **options})


def test_a_secure_port_alone_opens_no_plain_one() -> None:
    only = config({"secureClientPort": "2281"})
    assert (only.port, only.secure_port) == (None, 2281)
    assert config({"secureClientPort": "2281", "clientPort": "2182"}).port == 2182
    assert config({"secureClientPort": "2281"}, port=2183).port == 2183
    assert config({}).secure_port is None


def test_a_secure_port_brings_x509() -> None:
    assert "x509" in config({"secureClientPort": "2281"}).pipeline.auth.schemes
    assert "x509" not in config({}).pipeline.auth.schemes


def test_zoo_cfg_wins_over_properties_which_may_keep_their_prefix() -> None:
    both = config({"skipACL": "no"}, {"zookeeper.skipACL": "yes", "zookeeper.authProvider.1": SASL})
    assert not both.pipeline.auth.skip_acl
    assert "sasl" in both.pipeline.auth.schemes
    assert both.ignored == ()


def test_a_mistyped_key_is_told_of() -> None:
    told = config({"ssl.clientHostnameVerificaton": "true", "ssl.keyStore.location": "x", "enforce.auth.schemas": "x"})
    assert told.ignored == ("enforce.auth.schemas", "ssl.clientHostnameVerificaton")


def test_every_key_tls_reads_is_known() -> None:
    """Asked of a mapping that remembers what it was asked."""
    asked = set()

    class Values(dict[str, str]):
        def get(self, key: str, default: str = "") -> str:  # type: ignore[override]
            asked.add(key)
            return "true" if key == "ssl.clientHostnameVerification" else default

    tls.settings_from(Values())
    assert asked <= tls.KEYS
    assert {key for key in tls.KEYS if not key.startswith("ssl.context")} <= asked


@pytest.mark.parametrize(
    ("host", "client", "verifies"),
    [
        (None, None, False),
        (None, "true", True),
        ("true", "true", True),
        ("false", "true", False),
        ("true", None, False),
    ],
)
def test_client_hostname_checks(host: str | None, client: str | None, verifies: bool) -> None:
    """Off unless asked for; ssl.hostnameVerification=false switches them off too (X509Util)."""
    values = {"ssl.hostnameVerification": host, "ssl.clientHostnameVerification": client}
    settings = tls.settings_from({key: value for key, value in values.items() if value is not None})
    assert settings.verify_client_host is verifies


def test_no_secret_in_a_config() -> None:
    digest = generate_digest("super:planted")
    shown = repr(
        config(
            {"secureClientPort": "1", "ssl.keyStore.password": "planted-store"},
            {
                "zookeeper.DigestAuthenticationProvider.superDigest": digest,
                "zookeeper.SASLAuthenticationProvider.superPassword": "planted-sasl",
            },
        )
    )
    assert "planted" not in shown
    assert digest not in shown


def test_what_auth_refuses_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="loads no classes"):
        config({"authProvider.1": "com.example.Mine"})
