"""docker-compose.yml and Dockerfile: their structure, and that every option they pass exists and means what they
want.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from brokerdemo.cli import app as cli

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ZOOS = [name for name in SERVICES if name.startswith("zoo")]
BROKERS = [name for name in SERVICES if name.startswith("broker-")]
# Instructions with their words; continued lines joined.
DOCKERFILE = [
    line.split(maxsplit=1)
    for line in re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines()
    if line and not line.startswith("#")
]


def parses(line: list[str]) -> typer.Context:
    """The command line's own parser over `line`; nothing is run. Exits (SystemExit, UsageError) on what it does not
    know.
    """
    arguments = cli.globals_first(line)
    command = typer.main.get_command(cli.build(arguments[0]))
    sub = getattr(command, "commands", {}).get(arguments[0], command)
    context: typer.Context = sub.make_context(arguments[0], arguments[1:])
    return context


def settings_of(service: str) -> dict[str, str]:
    """What `brokerdemo up` makes of the service's command."""
    words = [*shlex.split(SERVICES[service]["command"]), "--print-config", "--json"]
    ran = subprocess.run(
        [sys.executable, "-m", "brokerdemo", *words], capture_output=True, text=True, timeout=30, check=True
    )
    return {name: found["value"] for name, found in json.loads(ran.stdout)["settings"].items()}


def test_three_servers_and_five_brokers() -> None:
    assert ZOOS == ["zoo1", "zoo2", "zoo3"]
    assert [f"broker-{i}" for i in range(1, 6)] == BROKERS
    assert set(SERVICES) == {*ZOOS, *BROKERS}


@pytest.mark.parametrize("name", ZOOS)
def test_a_server_of_the_ensemble(name: str) -> None:
    service = SERVICES[name]
    environment = service["environment"]
    assert service["image"] == "zookeeper:3.9"
    assert environment["ZOO_MY_ID"] == name.removeprefix("zoo")
    assert service["hostname"] == name
    servers = dict(entry.split("=", 1) for entry in environment["ZOO_SERVERS"].split())
    assert servers == {f"server.{i}": f"zoo{i}:2888:3888;2181" for i in (1, 2, 3)}
    assert {volume.split(":")[1] for volume in service["volumes"]} == {"/data", "/datalog"}
    # The health check asks `srvr`, which the whitelist must let through.
    assert "srvr" in service["healthcheck"]["test"][1]
    assert "srvr" in environment["ZOO_4LW_COMMANDS_WHITELIST"].split(",")


@pytest.mark.parametrize("name", BROKERS)
def test_a_broker(name: str) -> None:
    service, settings = SERVICES[name], settings_of(name)
    assert settings["broker-ids"] == name.removeprefix("broker-")
    assert settings["brokers"] == "1"
    assert settings["connect"] == ",".join(f"{zoo}:2181" for zoo in ZOOS)
    assert settings["host"] == "0.0.0.0"
    assert settings["advertise"] == service["hostname"] == name
    # A timeout outside of 2 to 20 ticks would be changed by the server.
    tick_ms = int(SERVICES["zoo1"]["environment"]["ZOO_TICK_TIME"])
    assert settings["session-timeout"] == "3s"
    assert 2 * tick_ms <= 3000 <= 20 * tick_ms
    assert service["stop_signal"] == "SIGTERM"
    assert service["init"] is True
    ((volume, mounted),) = (entry.split(":") for entry in service["volumes"])
    assert volume == name
    assert settings["data"].startswith(mounted + "/")
    for zoo in ZOOS:
        depends = service["depends_on"] if zoo in service["depends_on"] else SERVICES["broker-1"]["depends_on"]
        assert depends[zoo] == {"condition": "service_healthy"}


def test_the_topic_is_made_once_when_there_are_replicas_for_it() -> None:
    topics = {name: settings_of(name)["topic"] for name in BROKERS}
    makers = [name for name, topic in topics.items() if topic != "none"]
    assert len(makers) == 1
    replicas = int(topics[makers[0]].split(":")[2])
    assert len([name for name in SERVICES[makers[0]]["depends_on"] if name in BROKERS]) >= replicas - 1


@pytest.mark.parametrize("name", BROKERS)
def test_the_health_check_is_a_command_there_is(name: str) -> None:
    kind, program, *line = SERVICES[name]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "brokerdemo")
    assert parses(line).params["check"] is True


def test_the_commands_in_the_comments_exist() -> None:
    said = re.findall(r"^#.*?docker compose exec \S+ brokerdemo ([^#\n]+)", TEXT, re.MULTILINE)
    assert len(said) >= 2
    for line in said:
        parses(shlex.split(line))


def test_every_volume_and_network_is_declared_and_used() -> None:
    used = {entry.split(":")[0] for service in SERVICES.values() for entry in service["volumes"]}
    assert used == set(COMPOSE["volumes"])
    assert {network for service in SERVICES.values() for network in service["networks"]} == set(COMPOSE["networks"])


def test_the_dockerfile_builds_what_compose_runs() -> None:
    said = [(instruction, rest) for instruction, rest in DOCKERFILE]
    assert all(rest.startswith("python:3.") and "-slim" in rest for i, rest in said if i == "FROM")
    installs = [rest for i, rest in said if i == "RUN" and "pip install" in rest]
    assert len(installs) == 1
    assert "-c constraints.txt" in installs[0]
    user = next(rest for i, rest in said if i == "USER")
    assert user not in ("root", "0")
    assert any(i == "RUN" and f"-o {user}" in rest for i, rest in said)
    assert json.loads(next(rest for i, rest in said if i == "ENTRYPOINT")) == ["brokerdemo"]
    assert parses(json.loads(next(rest for i, rest in said if i == "CMD"))).params["brokers"] == "1"
    home = next(rest for i, rest in said if i == "VOLUME")
    assert f"BROKERDEMO_HOME={home}" in next(rest for i, rest in said if i == "ENV" and "HOME" in rest)
    assert all(entry.split(":")[1] == home for name in BROKERS for entry in SERVICES[name]["volumes"])


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    kept = {line[1:] for line in ignore if line.startswith("!")}
    for instruction, rest in DOCKERFILE:
        if instruction == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert source in kept
