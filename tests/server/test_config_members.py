"""Lines of members: what Apache ZooKeeper refuses to start with is refused, what it takes alone is taken."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from coordination.cli import main
from coordination.server.config import Config, ConfigError, build, parse_properties
from coordination.testing import apache

GOOD = "server.1=localhost:2888:3888"
# Lines of zoo.cfg, and what ZooKeeper 3.9.5 does with them; or why it does not.
LINES: dict[str, str | None] = {
    GOOD: None,
    f"{GOOD}:participant": None,
    f"{GOOD}: Participant ": None,
    f"{GOOD}:": None,
    f"{GOOD};": None,
    f"{GOOD}|": None,
    f"{GOOD};2181": None,
    f"{GOOD}:participant;localhost:2181": None,
    f"{GOOD};:2181": None,
    "server.1=:2888:3888": None,
    "server.1=2888:3888:1": None,
    "server.1=localhost:0:3888": None,
    "server.1=localhost:+2888:3888": None,
    "server.-1=localhost:2888:3888": None,
    "server.1=no-such-host.invalid:2888:3888": None,
    "server.1=|": None,
    "server.1=[::1]:2888:3888": None,
    "server.1=[::1]:2888:3888:participant;[::1]:2181": None,
    "server.1=[::1]2888:3888": None,
    f"{GOOD}\nserver.01=localhost:2889:3889": None,
    f"{GOOD}\ngroup.1=1": None,
    f"{GOOD}\ngroup.1=1::\nweight.1=0": None,
    f"{GOOD}\ngroup.1=1:2\nweight.2=+1": None,
    "weight.1=1": None,
    "version=1f": None,
    "server1=localhost": None,
    "server.1=localhost": "is not of the form",
    "server.1=localhost:2888": "is not of the form",
    "server.1=": "is not of the form",
    "server.1=;": "is not of the form",
    "server.1=;2181": "is not of the form",
    "server.1=localhost:x:3888": "a port .'x'. is not a whole number",
    "server.1=localhost:2888:y": "a port .'y'. is not",
    "server.1=localhost::3888": "a port",
    "server.1=localhost: 2888:3888": "a port .' 2888'. is not",
    "server.1=localhost:65536:3888": "has port 65536",
    "server.1=localhost:-1:3888": "has port -1",
    "server.1=localhost:2147483648:3888": "is not a whole number",
    "server.1=localhost:2888:2888": "one port for two things",
    f"{GOOD}:leader": "neither participant nor observer",
    f"{GOOD}:participant:x": "is not of the form",
    f"{GOOD}:observer": "nobody to observe",
    "server.one=localhost:2888:3888": "the id in its name .'one'. is not",
    "server.=localhost:2888:3888": "the id in its name",
    "server.1.2=localhost:2888:3888": "the id in its name",
    "server.9223372036854775808=localhost:2888:3888": "the id in its name",
    "server.1=[::1:2888:3888": "has a . without its .",
    "server.1=[::1]": "is not of the form",
    "server.1=[::1]:": "no port behind its last colon",
    "server.1=::1:2888:3888": "is not of the form",
    f"{GOOD};x": "a port .'x'. is not",
    f"{GOOD}; 2181": "a port .' 2181'. is not",
    f"{GOOD};70000": "has port 70000",
    f"{GOOD};localhost:": "a port .'localhost'. is not",
    f"{GOOD};a:b:2181": "is not of the form",
    f"{GOOD};:": "is not of the form",
    f"{GOOD};[::1]": "a port .'::1'. is not",
    f"{GOOD};2181;2281": "is not of the form",
    f"{GOOD}|127.0.0.1:2889:3889": "several addresses",
    f"multiAddress.enabled=true\n{GOOD}|127.0.0.1:2889:3889": "several addresses",
    f"{GOOD}\nserver.2=localhost:2889:3889:observer": "ensemble",
    f"{GOOD}\nserver.2=localhost": "is not of the form",
    f"{GOOD}\nweight.1=1": "server.1 is in no group",
    f"{GOOD}\ngroup.1=1\nweight.1=x": "the weight",
    f"{GOOD}\ngroup.x=1": "the id in its name",
    f"{GOOD}\ngroup.1=1\ngroup.2=1": "second group",
    f"{GOOD}\ngroup.1=1:2": "names member 2",
    f"{GOOD}\ngroup.1=": "the id of a member",
    "group.1=1": "names member 1",
    "groups=a": "the id in its name",
    "version=0x1": "hexadecimal",
    "standaloneEnabled=false": "nobody could vote",
    f"clientPort=2181\ndynamicConfigFile=/dev/null\n{GOOD}": "beside dynamicConfigFile",
}
# The same two addresses, but named as a property.
SEVERAL = ["localhost:2888:3888|127.0.0.1:2889:3889", "a:1:2:participant|b:1:2", "a:1:2:participant|b:1:2:observer"]
PROBE = """
import java.util.Properties;
import org.apache.zookeeper.server.quorum.QuorumPeerConfig;

public class Probe {
    public static void main(String[] files) {
        Properties before = (Properties) System.getProperties().clone();
        for (String file : files) {
            System.setProperties((Properties) before.clone());
            QuorumPeerConfig.setStandaloneEnabled(true);
            QuorumPeerConfig config = new QuorumPeerConfig();
            String said;
            try {
                config.parse(file);
                said = config.isDistributed() ? "ensemble" : "alone " + config.getClientPortAddress();
            } catch (Exception error) {
                said = "refused";
            }
            System.out.println("ANSWER " + said);
        }
    }
}
"""


def ours(text: str, **more: Any) -> Config:
    cfg = parse_properties(text)
    dynamic: dict[str, str] | None = {} if "dynamicConfigFile" in cfg else None
    return build(cfg, {}, {"in_memory": True}, dynamic=dynamic, **more)


def theirs(scratch: Path, texts: list[str], my_id: str = "", jvm: tuple[str, ...] = ()) -> list[str]:
    """What ZooKeeper's own reader of settings makes of each."""
    reason = apache.why_unavailable() or (None if shutil.which("javac") else "no Java compiler for a probe")
    if reason:
        pytest.skip(reason)
    (scratch / "Probe.java").write_text(PROBE)
    files = []
    for number, text in enumerate(texts):
        home = scratch / str(number)
        home.mkdir()
        if my_id:
            (home / "myid").write_text(my_id + "\n")
        (home / "zoo.cfg").write_text(f"dataDir={home}\n{text}\n")
        files.append(str(home / "zoo.cfg"))
    command = ["java", *apache.QUICK_JVM, *jvm, "-cp", f"{apache.cache_dir()}/lib/*", "Probe.java", *files]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=50, check=True)
    said = [line.removeprefix("ANSWER ") for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert len(said) == len(texts), done.stderr
    return said


@pytest.mark.parametrize("text", [text for text, why in LINES.items() if why is None])
def test_what_serves_alone_is_taken(text: str) -> None:
    assert ours(text).port in (2181, 0)


@pytest.mark.parametrize(("text", "why"), [(text, why) for text, why in LINES.items() if why is not None])
def test_a_line_that_cannot_be_is_refused_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        ours(text)


@pytest.mark.peers
def test_zookeeper_judges_these_lines_alike(tmp_path: Path) -> None:
    judged = theirs(tmp_path, list(LINES))
    assert {text: said == "refused" for text, said in zip(LINES, judged, strict=True)} == {
        text: why is not None for text, why in LINES.items()
    }


@pytest.mark.peers
def test_several_addresses_where_the_property_allows_them(tmp_path: Path) -> None:
    texts = [f"server.1={value}" for value in SEVERAL]
    assert theirs(tmp_path, texts, jvm=("-Dzookeeper.multiAddress.enabled=true",)) == ["alone null"] * 2 + ["refused"]
    for text in texts[:2]:
        build(parse_properties(text), {"zookeeper.multiAddress.enabled": "true"}, {"in_memory": True})
    with pytest.raises(ConfigError, match="different roles"):
        build(parse_properties(texts[2]), {"zookeeper.multiAddress.enabled": "true"}, {"in_memory": True})


# With myid 1: the client's address, or None where the two do not agree.
OWN_LINES: dict[str, tuple[str, int] | None] = {
    f"{GOOD};2190": ("127.0.0.1", 2190),
    f"{GOOD};127.0.0.1:2190": ("127.0.0.1", 2190),
    f"{GOOD};[::1]:2190": ("::1", 2190),
    f"clientPort=2190\n{GOOD};2190": ("127.0.0.1", 2190),
    f"clientPort=2190\nclientPortAddress=0.0.0.0\n{GOOD};127.0.0.1:2190": ("0.0.0.0", 2190),
    f"clientPort=2190\n{GOOD};2191": None,
    f"clientPort=2190\nclientPortAddress=127.0.0.1\n{GOOD};2190": None,
    f"clientPort=2190\nclientPortAddress=127.0.0.1\n{GOOD};127.0.0.2:2190": None,
    "clientPort=2190\nserver.2=localhost:2888:3888;2191": ("127.0.0.1", 2190),
}


@pytest.mark.parametrize(("text", "address"), OWN_LINES.items())
def test_the_line_of_this_server_agrees_with_its_client_port(text: str, address: tuple[str, int] | None) -> None:
    if address is None:
        with pytest.raises(ConfigError, match="differ"):
            ours(text, my_id="1")
    else:
        config = ours(text, my_id="1")
        assert (config.host, config.port) == address


@pytest.mark.peers
def test_zookeeper_wants_them_to_agree_too(tmp_path: Path) -> None:
    judged = theirs(tmp_path, list(OWN_LINES), my_id="1")
    expected = [None if address is None else address[1] for address in OWN_LINES.values()]
    assert [None if said == "refused" else int(said.rpartition(":")[2]) for said in judged] == expected


def test_the_dynamic_file_holds_members_and_nothing_else() -> None:
    for dynamic in ({"clientPort": "2181"}, {"version": "0"}):
        with pytest.raises(ConfigError, match=re.escape("Move it into zoo.cfg")):
            build({"dynamicConfigFile": "/d"}, {}, {"in_memory": True}, dynamic=dynamic)
    with pytest.raises(ConfigError, match="a port"):
        build({"dynamicConfigFile": "/d"}, {}, {"in_memory": True}, dynamic={"server.1": "localhost:x:1"})


@pytest.mark.parametrize("where", ["zoo.cfg", "dynamic", "myid"])
def test_serve_says_where_it_stands(where: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cfg, dynamic, data = tmp_path / "zoo.cfg", tmp_path / "members", tmp_path / "data"
    data.mkdir()
    bad = "server.1=localhost\n"
    dynamic.write_text("\n" + bad)
    cfg.write_text(
        f"dataDir={data}\n" + {"zoo.cfg": bad, "dynamic": f"dynamicConfigFile={dynamic}\n", "myid": ""}[where]
    )
    if where == "myid":
        (data / "myid").write_text("one\n")
    assert main(["serve", "--config", str(cfg), "--port", "0"]) == 2
    place = {"zoo.cfg": f"{cfg}:2: server.1=", "dynamic": f"{dynamic}:2: server.1=", "myid": "the file myid"}[where]
    said = capfd.readouterr().err
    assert place in said
    assert "Traceback" not in said
    assert list(data.iterdir()) == ([data / "myid"] if where == "myid" else [])
