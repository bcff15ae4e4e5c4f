"""The admin server and /metrics: off unless asked for, the real one's fields, and nobody comes in by a side door."""

# mypy: disable-error-code="no-untyped-call"
import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from kazoo.client import KazooClient
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request

from coordination.server import http_admin
from coordination.server.commands import ACTIONS, PRIMARY_NAMES, QUERIES
from coordination.server.config import PROMETHEUS, AdminSettings, ConfigError
from coordination.server.http_admin import read_token
from coordination.testing.server import Server, serve

TOKEN = "t" * 32
RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("admin_fields.json").read_text())


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


class Running(NamedTuple):
    server: Server
    admin: int
    metrics: int

    def ask(self, path: str, *, method: str = "GET", port: int | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin if port is None else port, timeout=10)
        try:
            named = {key.replace("_", "-"): value for key, value in headers.items()}
            connection.request(method, path, headers=named)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def use(self) -> None:
        """A session and a read: something is there to count, whatever another test has reset."""
        client = KazooClient(self.server.connect, timeout=10)
        client.start(10)
        client.get("/a")
        client.stop()
        client.close()

    def act(self, name: str, token: str = TOKEN) -> Answer:
        return self.ask(f"/commands/{name}", method="POST", Authorization=f"Bearer {token}")


def started(tmp_path: Path, **settings: str) -> tuple[list[str], Path]:
    """Options for `serve` with both ports on; and where its log goes."""
    given = {"admin.enableServer": "true", "admin.serverPort": "0", "metricsProvider.className": PROMETHEUS}
    given |= {"metricsProvider.httpPort": "0", **{key.replace("__", "."): value for key, value in settings.items()}}
    config, log = tmp_path / "zoo.cfg", tmp_path / "log"
    config.write_text("".join(f"{key}={value}\n" for key, value in given.items()))
    return ["--config", str(config), "--log-file", str(log), "--4lw", "all"], log


def running(server: Server, log: Path) -> Running:
    ports = {line["event"]: line.get("port", 0) for line in map(json.loads, log.read_text().splitlines())}
    return Running(server, ports["serving_admin"], ports["serving_metrics"])


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("admin")
    token = directory / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    options, log = started(directory, admin__tokenFile=str(token), ssl__keyStore__password="planted")
    with serve(directory / "data", options=options) as server:
        client = KazooClient(server.connect, timeout=10)
        client.start(10)
        client.create("/a", b"x")
        client.create("/e", b"", ephemeral=True)
        client.get("/a", watch=lambda _: None)
        yield running(server, log)
        client.stop()
        client.close()


def fields(value: Any) -> Any:
    """Names and kinds; ids and paths taken out: as the real server's were recorded."""
    if isinstance(value, dict):
        return {("*" if re.fullmatch(r"\d+|/\w*", key) else key): fields(each) for key, each in value.items()}
    if isinstance(value, list):
        return [fields(value[0])] if value else []
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number"
    return type(value).__name__


@pytest.mark.parametrize("name", [name for name in RECORDED if name not in ("mntr", "env", "crst", "srst", "orst")])
def test_fields_are_those_of_the_real_admin_server(on: Running, name: str) -> None:
    answer = on.ask(f"/commands/{name}")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert fields(answer.json) == RECORDED[name]
    assert list(answer.json)[-2:] == ["command", "error"] or "error" in answer.json


def test_the_monitor_command_has_the_figures_of_mntr(on: Running) -> None:
    on.use()
    found = on.ask("/commands/monitor").json
    assert found["server_state"] == "standalone"
    assert found["znode_count"] == 7
    assert found["cnt_fsynctime"] >= 1


def test_every_name_of_a_query_answers_with_its_primary_name(on: Running) -> None:
    for names in QUERIES:
        for name in names:
            assert on.ask(f"/commands/{name}").json["command"] == names[0]
    assert on.ask("/commands/nosuch").json == {"command": "nosuch", "error": "Unknown command: nosuch"}


def test_the_listing_names_what_is_offered(on: Running) -> None:
    text = on.ask("/commands").body.decode()
    assert sorted(re.findall(r">(\w+)</a>", text)) == sorted(set(PRIMARY_NAMES.values()))


@pytest.mark.parametrize("names", ACTIONS)
def test_what_changes_something_asks_for_post_and_the_token(on: Running, names: tuple[str, ...]) -> None:
    for name in names:
        before = on.ask("/commands/monitor").json["packets_received"]
        assert on.ask(f"/commands/{name}").status == 405
        assert on.ask(f"/commands/{name}", method="POST").status == 401
        assert on.act(name, "wrong").status == 401
        assert on.ask(f"/commands/{name}", method="POST", Authorization=f"Basic {TOKEN}").status == 401
        assert on.ask("/commands/monitor").json["packets_received"] >= before


def test_actions_act(on: Running) -> None:
    assert on.act("set_trace_mask?traceMask=5").json == {"tracemask": 5, "command": "set_trace_mask", "error": None}
    for none in ("x", "9223372036854775808", "1_0"):
        assert "requires long" in on.act(f"stmk?traceMask={none}").json["error"]
    assert on.ask("/commands/gtmk").json["tracemask"] == 5
    for name in ("srst", "crst", "orst"):
        assert on.act(name).json["error"] is None
    assert on.ask("/commands/cons").json["connections"][0]["packets_received"] <= 1


def test_a_snapshot_is_taken_and_streamed(on: Running) -> None:
    answer = on.act("snapshot")
    assert answer.status == 200
    assert answer.body.startswith(b"ZKSN")
    assert answer.headers["snapshot_size"] == str(len(answer.body))
    assert on.ask("/commands/lsnp").json["zxid"] == answer.headers["last_zxid"].removeprefix("0x")
    while (quiet := on.act("snapshot?streaming=false")).status == 429:
        pass
    assert quiet.json == {"command": "snapshot", "error": None}


async def test_the_zxid_of_a_compressed_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.2a.gz"
    path.write_bytes(b"packed")

    async def take() -> Path:
        return path

    pages = http_admin._Pages(AdminSettings(), cast("Any", object()), take)
    answer = await pages._snapshot(Request({"type": "http", "query_string": b"", "headers": []}))
    assert (answer.headers["last_zxid"], answer.headers["snapshot_size"]) == ("0x2a", "6")


async def test_snapshots_are_not_taken_one_after_the_other() -> None:
    async def take() -> None:
        return None

    pages = http_admin._Pages(AdminSettings(snapshot_every_us=60_000_000), cast("Any", object()), take)
    request = Request({"type": "http", "query_string": b"", "headers": []})
    assert [(await pages._snapshot(request)).status_code for _ in range(3)] == [500, 429, 429]


def test_without_a_token_file_nothing_that_changes_is_offered(tmp_path: Path) -> None:
    options, log = started(tmp_path)
    with serve(options=options) as server:
        bare = running(server, log)
        assert bare.act("srst").status == bare.ask("/commands/srst").status == 403
        assert "stat_reset" not in bare.ask("/commands").body.decode()


@pytest.mark.parametrize("which", ["admin", "metrics"])
def test_only_requests_that_name_this_server_come_in(on: Running, which: str) -> None:
    port, path = getattr(on, which), "/metrics" if which == "metrics" else "/commands/ruok"
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"LOCALHOST:{port}"):
        assert on.ask(path, port=port, Host=host).status == 200
    for host in (f"evil.example:{port}", "localhost", f"localhost:{port + 1}", f"127.0.0.1.evil:{port}", "localhost:x"):
        answer = on.ask(path, port=port, Host=host)
        assert answer.status == 421, host
        assert b"allowedHosts" in answer.body
    assert on.ask(path, port=port, Origin="http://localhost:8080").status == 403
    for forwarded in ("X_Forwarded_Host", "X_Forwarded_For", "Forwarded"):
        headers = {forwarded: "localhost", "Host": "evil.example"}
        assert on.ask(path, port=port, **headers).status == 421


def test_browsers_are_kept_honest(on: Running) -> None:
    for answer in (on.ask("/commands/ruok"), on.ask("/metrics", port=on.metrics), on.ask("/commands/srst")):
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_an_allowed_name_comes_in(tmp_path: Path) -> None:
    options, log = started(tmp_path, admin__allowedHosts="zk.example, b.example:99")
    with serve(options=options) as server:
        there = running(server, log)
        for host, status in (("zk.example", 200), ("zk.example:5", 200), ("b.example:99", 200), ("b.example", 421)):
            assert there.ask("/commands/ruok", Host=host).status == status


def test_no_secret_comes_out(on: Running) -> None:
    text = b"".join(on.ask(f"/commands/{name}").body for name in PRIMARY_NAMES)
    assert b"ssl.keyStore.password=***" in text
    assert b"planted" not in text
    assert TOKEN.encode() not in text
    assert TOKEN not in on.server.output.read_text()


def test_metrics_are_prometheus_text_under_zookeepers_names(on: Running) -> None:
    on.use()
    answer = on.ask("/metrics", port=on.metrics)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = answer.body.decode()
    samples = {
        (sample.name, sample.labels.get("quantile")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["znode_count", None] == 7
    assert samples["updatelatency_count", None] >= 0
    assert {label for name, label in samples if name == "readlatency"} == {"0.5", "0.9", "0.99"}
    assert samples["readlatency_count", None] >= 1
    assert ("fsynctime", "0.5") in samples
    assert ("process_resident_memory_bytes", None) in samples
    assert "# TYPE bytes_received_count counter\nbytes_received_count " in text
    own = [
        line for line in text.splitlines() if not line.startswith(("process_", "# HELP process_", "# TYPE process_"))
    ]
    assert "_total" not in "".join(own)


def test_an_open_connection_does_not_hold_the_end_up(tmp_path: Path) -> None:
    options, log = started(tmp_path)
    with serve(options=options) as server:
        connection = http.client.HTTPConnection("127.0.0.1", running(server, log).admin, timeout=10)
        connection.request("GET", "/commands/ruok")
        assert connection.getresponse().read()
        assert server.stop() == 0
        connection.close()
    assert "Traceback" not in server.output.read_text() if server.output.exists() else True


def test_both_are_off_unless_asked_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serve(options=["--log-file", str(log)]):
        events = {json.loads(line)["event"] for line in log.read_text().splitlines()}
    assert "serving" in events
    assert events & {"serving_admin", "serving_metrics"} == set()


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [(TOKEN, 0o644, "chmod 600"), ("short", 0o600, "at least 16"), (None, 0, "cannot be read")],
)
def test_a_token_that_is_no_secret_is_refused(tmp_path: Path, content: str | None, mode: int, said: str) -> None:
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)
        token.chmod(mode)
    with pytest.raises(ConfigError, match=said):
        read_token(token)


def test_a_refused_token_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    options, _ = started(tmp_path, admin__tokenFile=str(tmp_path))
    ran = command(options)
    assert ran.returncode == 2
    assert "admin.tokenFile" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_without_the_extra_the_error_names_it(tmp_path: Path) -> None:
    options, _ = started(tmp_path)
    (tmp_path / "hypercorn.py").write_text("raise ImportError('no', name='hypercorn')\n")
    ran = command(options, PYTHONPATH=str(tmp_path))
    assert ran.returncode == 2
    assert "brokerdemo[admin]" in ran.stderr
    assert "hypercorn" in ran.stderr


def command(options: list[str], **environment: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "coordination", "serve", "--port", "0", "--in-memory", *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, env={**os.environ, **environment})
