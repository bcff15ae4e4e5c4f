"""Our shell beside Apache ZooKeeper's, and our tools on its files. Needs Java and Maven (`make peers`)."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordination.testing import apache
from coordination.tools import log_scan

from .conftest import LINES, Run
from .test_cli import masked

pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]
EXTENDED = (*apache.QUICK_JVM, "-Dzookeeper.extendedTypesEnabled=true")


@pytest.fixture
def zoo() -> Iterator[apache.Ensemble]:
    reason = apache.why_unavailable()
    if reason is not None:
        pytest.skip(reason)
    with apache.standalone(jvm=EXTENDED, settings={"4lw.commands.whitelist": "*"}) as zoo:
        yield zoo


def java(main: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """One of ZooKeeper's own tools."""
    jars = apache.cache_dir() / "lib"
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=off"
    command = ["java", *apache.QUICK_JVM, f"-Dlogback.configurationFile={jars / 'logback.xml'}", quiet]
    return subprocess.run(
        [*command, "-cp", f"{jars}/*", main, *arguments], input=stdin, capture_output=True, text=True, timeout=120
    )


def zookeepers(text: str) -> str:
    """What Apache ZooKeeper's shell printed, without its banner, its log, and the Java classes of its errors."""
    text = re.sub(r"(?m)^(Connecting to .*|Welcome to ZooKeeper!|JLine support is disabled)\n", "", text)
    text = re.sub(r"(?m)^\d\d:\d\d:\d\d\.\d+ .*\n", "", text)
    return masked(re.sub(r"org\.apache\.commons\.cli\.\w+: ", "", text))


def parted(text: str) -> tuple[list[str], str]:
    """The events in order, and the rest."""
    event = r"(?m)^\nWATCHER::\n\n(.*)\n"
    return re.findall(event, text), re.sub(event, "", text)


def test_the_same_conversation(zoo: apache.Ensemble, run: Run) -> None:
    theirs = java(
        "org.apache.zookeeper.ZooKeeperMain",
        "-server",
        zoo.connect,
        "-waitforconnection",
        stdin=LINES.read_text(),
    )
    # Their shell prints events from a thread of its own: where they stand between the other lines is chance.
    assert parted(zookeepers(theirs.stdout)) == parted(LINES.with_name("zkcli_stdout.txt").read_text())
    assert zookeepers(theirs.stderr) == LINES.with_name("zkcli_stderr.txt").read_text()


def test_our_shell_on_their_server(zoo: apache.Ensemble, run: Run) -> None:
    ran = run("cli", "-c", zoo.connect, stdin=LINES.read_text())
    assert masked(ran.out) == LINES.with_name("zkcli_stdout.txt").read_text()
    assert masked(ran.words) == LINES.with_name("zkcli_stderr.txt").read_text()


def data_of(zoo: apache.Ensemble) -> Path:
    """The data directory of the one member."""
    (member,) = zoo.members
    return member.data_dir


def test_our_tools_on_their_files(zoo: apache.Ensemble, run: Run, tmp_path: Path) -> None:
    run("cli", "-c", zoo.connect, stdin=LINES.read_text())
    zoo.kill()
    data = tmp_path / "data"
    shutil.copytree(data_of(zoo), data)
    (log,) = log_scan.log_files(data)
    assert run("log", "verify", data).code == 0
    ours = [json.loads(line) for line in run("log", "dump", "--json", data).out.splitlines()]
    theirs = java("org.apache.zookeeper.server.persistence.TxnLogToolkit", str(log)).stdout
    listed = re.findall(r"(?m) session (0x[0-9a-f]+) cxid (0x[0-9a-f]+) zxid (0x[0-9a-f]+) (\w+)", theirs)
    assert [(each["session"], f"0x{each['cxid']:x}", each["zxid"], each["type"]) for each in ours] == listed
    # What we cut, they start on: the tree is that of the log's beginning.
    after = int(ours[9]["zxid"], 16)
    assert run("log", "truncate", "--after", after, "-y", data).code == 0
    done = java("org.apache.zookeeper.server.persistence.TxnLogToolkit", str(log_scan.log_files(data)[0]))
    assert "EOF reached after 10 txns." in done.stdout


def test_snapshots_shown_as_they_show_them(zoo: apache.Ensemble, run: Run, tmp_path: Path) -> None:
    run("cli", "-c", zoo.connect, stdin=LINES.read_text())
    zoo.restart()  # a start ends with a snapshot
    zoo.kill()
    snapshots = log_scan.snapshots_in(data_of(zoo))
    assert run("snapshot", "verify", data_of(zoo)).code == 0
    newest = snapshots[0]
    theirs = java("org.apache.zookeeper.server.SnapshotFormatter", "-d", str(newest)).stdout
    ours = run("snapshot", "dump", "-d", newest).out
    assert nodes_in(ours) == nodes_in(theirs)
    assert nodes_in(theirs).keys() >= {"/", "/zookeeper", "/t"}
    packed = tmp_path / f"{newest.name}.gz"
    assert run("snapshot", "convert", newest, packed).code == 0
    again = java("org.apache.zookeeper.server.SnapshotFormatter", "-d", str(packed)).stdout
    assert nodes_in(again) == nodes_in(theirs)


def nodes_in(text: str) -> dict[str, dict[str, str]]:
    """path -> name -> value, of either dump; numbers without their leading zeros, and without what only ours says."""
    found = {}
    for block in text.split("----\n")[1:]:
        lines = block.splitlines()
        if lines and lines[0].startswith("/"):
            pairs = (line.strip().partition(" = ")[::2] for line in lines[1:])
            found[lines[0]] = {
                key: re.sub(r"^0x0*(?=.)", "0x", value.partition(" (")[0]) for key, value in pairs if key != "acl"
            }
    return found
