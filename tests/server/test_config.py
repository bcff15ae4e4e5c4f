"""zoo.cfg, properties and options: which wins, what is refused, and how it is said."""

from pathlib import Path
from typing import Any

import pytest

from coordination.cli import build_parser
from coordination.server.config import ALL_WORDS, ConfigError, build, parse_properties
from coordination.server.listening import PortTakenError, listen

IN_MEMORY: dict[str, Any] = {"in_memory": True}


def test_a_zoo_cfg() -> None:
    text = "# comment\ntickTime=500\ndataDir=/d\nclientPort=2182\n4lw.commands.whitelist=stat, ruok\nforceSync=no\n"
    config = build(parse_properties(text), {}, {})
    assert config.pipeline.tick_time_ms == 500
    assert (config.pipeline.min_session_timeout_ms, config.pipeline.max_session_timeout_ms) == (1000, 10_000)
    assert config.data_dir == Path("/d")
    assert config.port == 2182
    assert config.words == {"srvr", "stat", "ruok"}
    assert config.force_sync is False
    assert config.ignored == ()


def test_a_zoo_cfg_without_a_tick_has_zookeepers() -> None:
    config = build({"clientPort": "2182"}, {}, IN_MEMORY)
    assert (config.pipeline.tick_time_ms, config.pipeline.max_session_timeout_ms) == (3000, 60_000)
    assert build({}, {}, IN_MEMORY).pipeline.tick_time_ms == 2000


def test_options_win_over_zoo_cfg_and_properties() -> None:
    config = build(
        {"clientPort": "1", "jute.maxbuffer": "1000", "4lw.commands.whitelist": "srvr", "dataDir": "/d"},
        {"jute.maxbuffer": "0x2000", "zookeeper.extendedTypesEnabled": "true"},
        {"port": 0, "words": "all", "data": Path("/e"), "min_session_timeout_ms": 100},
    )
    assert config.port == 0
    assert config.pipeline.frame_bytes_max == 0x2000
    assert config.pipeline.extended_types is True
    assert config.pipeline.min_session_timeout_ms == 100
    assert config.words == ALL_WORDS
    assert config.data_dir == Path("/e")


def test_zoo_cfg_wins_over_a_property_and_that_is_told() -> None:
    zoo_cfg = {"skipACL": "no", "snapCount": "500", "extendedTypesEnabled": "true", "jute.maxbuffer": "1000"}
    properties = {"-Dzookeeper.skipACL": "yes", "snapCount": "500", "digest.enabled": "true", "jute.maxbuffer": "2000"}
    config = build(zoo_cfg, properties, IN_MEMORY)
    assert config.pipeline.auth.skip_acl is False
    assert config.pipeline.frame_bytes_max == 2000
    (warning,) = config.warnings
    assert warning.startswith("skipACL of the properties has no effect")


def test_a_key_that_an_option_overrides_is_known_nevertheless() -> None:
    config = build({"tickTime": "3000"}, {}, {**IN_MEMORY, "tick_time_ms": 2000})
    assert (config.pipeline.tick_time_ms, config.ignored) == (2000, ())


@pytest.mark.parametrize(
    "words",
    [
        ("--port", "70000"),
        ("--port", "-1"),
        ("--tick-time", "inf"),
        ("--tick-time", "1e400s"),
        ("--max-session-timeout", "2147484s"),
    ],
)
def test_an_option_out_of_its_range_is_a_usage_error(
    words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        build_parser().parse_args(["serve", "--in-memory", *words])
    assert f"argument {words[0]}: " in capsys.readouterr().err


def test_a_host_that_can_be_none_is_refused() -> None:
    with pytest.raises(PortTakenError, match="no host name"):
        listen("a..b", 0)


def test_srvr_is_always_in_the_whitelist_and_isro_where_clients_look_for_a_writable_server() -> None:
    """zkServer.sh asks the one, Java's client the other."""
    assert build({"4lw.commands.whitelist": " stat,bogus ,,"}, {}, IN_MEMORY).words >= {"srvr", "stat"}
    assert build({"readonlymode.enabled": "true"}, {}, IN_MEMORY).words == {"srvr", "isro"}
    assert build({}, {}, IN_MEMORY).words == {"srvr"}
    assert build({"4lw.commands.whitelist": "*"}, {}, IN_MEMORY).words == ALL_WORDS


@pytest.mark.parametrize("number", ["-1", "0"])
def test_a_number_of_connections_below_1_is_no_limit(number: str) -> None:
    config = build({"maxClientCnxns": number, "maxCnxns": number}, {}, IN_MEMORY)
    assert config.max_client_connections == config.max_connections == 0


@pytest.mark.parametrize("prefix", ["", "zookeeper.", "-D", "-Dzookeeper."])
def test_a_property_is_written_as_java_or_zoo_cfg_would_have_it(prefix: str) -> None:
    config = build({}, {f"{prefix}snapCount": "77"}, IN_MEMORY)
    assert (config.snap_count, config.ignored) == (77, ())


def test_unknown_keys_are_reported_not_fatal() -> None:
    assert build({"noSuchKey": "1", "initLimit": "5"}, {}, IN_MEMORY).ignored == ("noSuchKey",)


@pytest.mark.parametrize(
    ("cfg", "options", "said"),
    [
        ({}, {}, "--data"),
        ({"tickTime": "two"}, IN_MEMORY, "tickTime=two"),
        ({"tickTime": "0"}, IN_MEMORY, "below"),
        ({"forceSync": "maybe"}, IN_MEMORY, "forceSync=maybe"),
        ({"minSessionTimeout": "9", "maxSessionTimeout": "8"}, IN_MEMORY, "above"),
        ({"server.1": "a:1:2", "server.2": "b:1:2"}, IN_MEMORY, "ensemble"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(cfg: dict[str, str], options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(cfg, {}, options)
