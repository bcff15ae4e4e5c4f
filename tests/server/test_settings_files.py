"""zoo.cfg as others write it: Java's syntax, every key of a standalone server, ranges, and what is said of the rest."""

from pathlib import Path
from typing import Any

import pytest

from coordination.server.config import PROMETHEUS, AdminSettings, ConfigError, LogSettings, MetricsSettings, build
from coordination.server.properties import decode, lines_of, parse_properties

IN_MEMORY: dict[str, Any] = {"in_memory": True}
DISTRIBUTED = """
# The number of milliseconds of each tick
tickTime=2000
initLimit=10
syncLimit=5
dataDir=/tmp/zookeeper
clientPort=2181
maxClientCnxns=60
autopurge.snapRetainCount=3
autopurge.purgeInterval=1
metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider
metricsProvider.httpHost=0.0.0.0
metricsProvider.httpPort=7000
metricsProvider.exportJvmInfo=true
admin.enableServer=true
admin.serverPort=8081
standaloneEnabled=true
reconfigEnabled=false
4lw.commands.whitelist=stat, ruok, conf, isro
authProvider.1=org.apache.zookeeper.server.auth.DigestAuthenticationProvider
"""


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("a=1", "a", "1"),
        ("a : 1 ", "a", "1"),
        ("  a\t1", "a", "1"),
        ("a", "a", ""),
        ("a==1", "a", "=1"),
        ("a=1\\\n   2", "a", "12"),
        ("a\\=b=c", "a=b", "c"),
        ("a=c:\\\\d", "a", "c:\\d"),
        ("a=\\u0041\\tB", "a", "A\tB"),
        ("! no\n# no\n\na=1\na=2", "a", "2"),
        ("a=1\\", "a", "1"),
        ("a=\\u00zz", "a", "u00zz"),
        ("a=1\x85\u2028b", "a", "1\x85\u2028b"),
        ("a=1\r\n#\r!", "a", "1"),
        ("\\\n#b=1\na=1", "a", "1"),
        ("a= 1\x85\x1c", "a", "1\x85"),
    ],
)
def test_lines_are_read_as_java_reads_them(text: str, key: str, value: str) -> None:
    assert parse_properties(text) == {key: value}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_file_is_utf8_or_what_java_takes_it_for(encoding: str) -> None:
    assert decode("# Größe\na=ä".encode(encoding)) == "# Größe\na=ä"


def test_the_zoo_cfg_of_a_distribution_needs_no_change() -> None:
    config = build(parse_properties(DISTRIBUTED), {}, {})
    assert config.ignored == ()
    assert config.warnings == ()
    assert config.admin == AdminSettings(port=8081)
    assert config.metrics == MetricsSettings(host="0.0.0.0", port=7000)
    assert (config.purge_interval_h, config.snap_retain_count) == (1, 3)


def test_ports_of_operators_are_off_and_then_on_loopback() -> None:
    assert build({}, {}, IN_MEMORY).admin is None
    assert build({}, {}, IN_MEMORY).metrics is None
    config = build({"admin.enableServer": "true", "metricsProvider.className": PROMETHEUS}, {}, IN_MEMORY)
    assert config.admin is not None
    assert config.metrics is not None
    assert {config.admin.host, config.metrics.host} == {"127.0.0.1"}


def test_the_log_is_set_by_logbacks_names() -> None:
    given = {"zookeeper.log.dir": "/l", "zookeeper.log.maxfilesize": "10MB", "zookeeper.log.maxbackupindex": "5"}
    given |= {"zookeeper.log.threshold": "WARN", "zookeeper.console.threshold": "OFF"}
    assert build({}, given, IN_MEMORY).log == LogSettings("warning", "off", Path("/l/zookeeper.log"), 10 << 20, 5)


def test_an_unknown_key_is_told_of_once_with_what_it_may_mean() -> None:
    config = build(
        {"clientport": "1", "noSuchKeyAtAll": "1", "initlimit": "5"}, {"zookeeper.snapcount": "9"}, IN_MEMORY
    )
    assert config.ignored == ("clientport", "initlimit", "noSuchKeyAtAll", "snapcount")
    assert config.meant == {"clientport": "clientPort", "initlimit": "initLimit", "snapcount": "snapCount"}


def test_a_key_that_promises_what_is_not_there_is_told_of() -> None:
    warnings = build({"largeRequestMaxBytes": "1000", "sslQuorum": "false"}, {}, IN_MEMORY).warnings
    assert [each.partition(" ")[0] for each in warnings] == ["largeRequestMaxBytes=1000"]


SETTINGS = Path(__file__).with_name("zookeeper_settings.txt").read_text().split()


def is_unknown(key: str, value: str) -> bool:
    try:
        return bool(build({}, {key: value}, IN_MEMORY).ignored)
    except ConfigError:
        return False


def test_no_setting_of_zookeeper_3_9_is_unknown() -> None:
    """Every property its server reads, every key of its administrator's guide: obeyed, named in the log, or refused."""
    assert len(SETTINGS) > 250
    assert [key for key in SETTINGS for value in ("1", "true") if is_unknown(key, value)] == []


def test_a_key_without_effect_is_named() -> None:
    config = build({"initLimit": "5", "clientPort": "0"}, {"zookeeper.maxResponseCacheSize": "9"}, IN_MEMORY)
    assert config.without_effect == ("initLimit", "maxResponseCacheSize")
    assert config.ignored == ()


def test_suites_of_tls_1_3_cannot_be_chosen_and_that_is_said() -> None:
    chosen = {"ssl.ciphersuites": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"}
    assert ["which is off" in each for each in build(chosen, {}, IN_MEMORY).warnings] == [True]
    chosen["ssl.enabledProtocols"] = "TLSv1.2,TLSv1.3"
    assert ["all on" in each for each in build(chosen, {}, IN_MEMORY).warnings] == [True]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("connectionMaxTokens", "connection_throttle_tokens"),
        ("requestThrottleLimit", "request_throttle_max_requests"),
        ("throttledOpWaitTime", "throttled_op_wait_time"),
        ("ssl.hostnameVerifcation", "ssl.hostnameVerification"),
        ("skipAcl", "skipACL"),
    ],
)
def test_names_of_the_guide_and_mistyped_ones_lead_to_those_that_are_read(written: str, meant: str) -> None:
    assert build({written: "1"}, {}, IN_MEMORY).meant == {written: meant}


def test_lines_of_keys_are_counted_as_an_editor_counts_them() -> None:
    assert lines_of("# a\n\na=1\nb=\\\n  2\nzookeeper.c: 3\na=4\n") == {"a": 7, "b": 4, "zookeeper.c": 6}


def test_a_complaint_names_file_and_line() -> None:
    places = {"tickTime": "/etc/zoo.cfg:3"}
    with pytest.raises(ConfigError) as refused:
        build({"tickTime": "two"}, {}, IN_MEMORY, places=places)
    assert refused.value.located(places).startswith("/etc/zoo.cfg:3: tickTime=two is not")
    assert ConfigError("no data directory. Give").located(places) == "no data directory. Give"


def test_the_dynamic_file_of_a_lone_member_gives_the_client_port() -> None:
    dynamic = parse_properties("server.1=localhost:2888:3888:participant;127.0.0.1:2190\n")
    config = build({"dynamicConfigFile": "/d"}, {}, IN_MEMORY, dynamic=dynamic)
    assert (config.host, config.port, config.ignored) == ("127.0.0.1", 2190, ())
    assert build({"clientPort": "2191"}, {}, IN_MEMORY, dynamic=dynamic).port == 2191
    with pytest.raises(ConfigError, match="ensemble"):
        build({}, {}, IN_MEMORY, dynamic={**dynamic, "server.2": "h:1:2"})


def test_retention_below_three_is_three() -> None:
    assert build({"autopurge.snapRetainCount": "1"}, {}, IN_MEMORY).snap_retain_count == 3


def test_the_text_shown_to_operators_holds_no_secret() -> None:
    cfg = {"ssl.keyStore.password": "planted", "DigestAuthenticationProvider.superDigest": "super:planted"}
    text = build(cfg, {}, IN_MEMORY).text
    assert "planted" not in text
    assert "ssl.keyStore.password=***" in text


@pytest.mark.parametrize(
    ("cfg", "said"),
    [
        ({"clientPort": "65536"}, "clientPort=65536 is above 65535"),
        ({"secureClientPort": "-1"}, "secureClientPort=-1 is below 0"),
        ({"snapCount": "1_000"}, "snapCount=1_000 is not a whole number"),
        ({"snapshot.compression.method": "lz4"}, "snapshot.compression.method=lz4 is neither"),
        ({"emulate353TTLNodes": "true"}, "emulate353TTLNodes=true, and TTL znodes"),
        ({"initLimit": "ten"}, "initLimit=ten is not a whole number"),
        ({"standaloneEnabled": "maybe"}, "standaloneEnabled=maybe is neither"),
        ({"audit.enable": "true", "audit.impl.class": "com.example.Mine"}, "loads no classes"),
        ({"tickTime": "2147483648"}, "tickTime=2147483648 is above"),
        ({"jute.maxbuffer": "-1"}, "jute.maxbuffer=-1 is below"),
        ({"maxClientCnxns": "many"}, "maxClientCnxns=many is not a whole number"),
        ({"log.threshold": "loud"}, "log.threshold=loud is no level"),
        ({"log.maxfilesize": "10 parsecs"}, "is no size"),
        ({"metricsProvider.className": "com.example.Mine"}, "loads no classes"),
        ({"metricsProvider.className": PROMETHEUS, "metricsProvider.httpsPort": "1"}, "plain HTTP"),
        ({"admin.enableServer": "true", "admin.forceHttps": "true"}, "plain HTTP"),
        ({"admin.enableServer": "true", "admin.commandURL": "x"}, "admin.commandURL=x must begin"),
        ({"authProvider.1": "com.example.Mine"}, "loads no classes"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_key(cfg: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(cfg, {}, IN_MEMORY)
