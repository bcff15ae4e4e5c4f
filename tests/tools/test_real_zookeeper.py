"""Our shell beside Apache ZooKeeper's, and our tools on its files. Needs Java and Maven (`make peers`)."""

import re
import subprocess
from collections.abc import Iterator

import pytest

from coordination.testing import apache

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


def test_the_same_conversation(zoo: apache.Ensemble, run: Run) -> None:
    theirs = java(
        "org.apache.zookeeper.ZooKeeperMain",
        "-server",
        zoo.connect,
        "-waitforconnection",
        stdin=LINES.read_text(),
    )
    assert zookeepers(theirs.stdout) == LINES.with_name("zkcli_stdout.txt").read_text()
    assert zookeepers(theirs.stderr) == LINES.with_name("zkcli_stderr.txt").read_text()


def test_our_shell_on_their_server(zoo: apache.Ensemble, run: Run) -> None:
    ran = run("cli", "-c", zoo.connect, stdin=LINES.read_text())
    assert masked(ran.out) == LINES.with_name("zkcli_stdout.txt").read_text()
    assert masked(ran.words) == LINES.with_name("zkcli_stderr.txt").read_text()
