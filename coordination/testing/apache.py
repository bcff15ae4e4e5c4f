"""The real Apache ZooKeeper, fetched once and run on loopback: the peer that ours is compared with.

In: nothing but Java and Maven on the machine.  Out: a standalone server or an ensemble, ready; or the reason why there
is none.
Knows ZooKeeper's command line and `srvr`, nothing of our own server.  Answers to ZooKeeper's QuorumPeerMain.

(1) Fetched files live in the user's cache directory and are complete or absent: a fetch that was interrupted leaves
    nothing behind.
(2) Every port is chosen by the system; if another program takes one in the moment between, the start is tried again.
(3) A server counts as ready when it answers `srvr` with its mode: leader, follower or standalone.
"""

import fcntl
import functools
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from coordination.testing.process import Process, ServerDied, environment_path

VERSION = "3.9.5"
# What the artifact leaves to its distribution: metrics and compression classes a server needs, and a logger.
LIBRARIES = (
    ("org.apache.zookeeper", "zookeeper", VERSION),
    ("org.xerial.snappy", "snappy-java", "1.1.10.5"),
    ("io.dropwizard.metrics", "metrics-core", "4.1.12.1"),
    ("commons-cli", "commons-cli", "1.5.0"),
    ("ch.qos.logback", "logback-classic", "1.3.14"),
)
COPY_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
FETCH_TIMEOUT_S = 300.0
READY_TIMEOUT_S = 60.0
PROBE_TIMEOUT_S = 5.0
# Between two looks at a server that is starting: the wait is for its end, which a failed start brings.
LOOK_EVERY_S = 0.02
STARTS = 3

# The JVM that starts soonest, for tests; a benchmark passes its own flags and gets the optimising compiler.
QUICK_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m")
LOGBACK = """<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{0} %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="OUT"/></root>
</configuration>
"""


def cache_dir() -> Path:
    return environment_path("XDG_CACHE_HOME", Path.home() / ".cache") / "brokerdemo" / f"zookeeper-{VERSION}"


def _pom() -> str:
    dependencies = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>"
        for group, name, version in LIBRARIES
    )
    return (
        "<project><modelVersion>4.0.0</modelVersion><groupId>brokerdemo</groupId><artifactId>peer</artifactId>"
        f"<version>1</version><packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>\n"
    )


def _fetch() -> Path:
    """The directory with ZooKeeper's jars; fetched the first time. Raises CalledProcessError or TimeoutExpired."""
    home = cache_dir()
    jars = home / "lib"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once fetch once
        if jars.exists():
            return jars
        with tempfile.TemporaryDirectory(dir=home) as scratch:
            pom, new = Path(scratch, "pom.xml"), Path(scratch, "lib")
            pom.write_text(_pom())
            subprocess.run(
                ["mvn", "-q", "-B", "-f", str(pom), COPY_GOAL, f"-DoutputDirectory={new}", "-DincludeScope=runtime"],
                check=True,
                capture_output=True,
                text=True,
                timeout=FETCH_TIMEOUT_S,
            )
            Path(new, "logback.xml").write_text(LOGBACK)
            new.rename(jars)
    return jars


@functools.cache
def why_unavailable() -> str | None:
    """Why Apache ZooKeeper cannot run here, for a skip message; None if it can. Fetches it the first time (a minute at
    worst).
    """
    for program, package in (("java", "a Java runtime"), ("mvn", "Maven")):
        if shutil.which(program) is None:
            return f"Apache ZooKeeper {VERSION} needs {package}, and there is no `{program}` on the PATH"
    try:
        _fetch()
    except subprocess.TimeoutExpired:
        return f"Apache ZooKeeper {VERSION} could not be fetched within {FETCH_TIMEOUT_S:g} s"
    except subprocess.CalledProcessError as error:
        said = next((line for line in error.stdout.splitlines() if "ERROR" in line), "no reason given")
        return f"Apache ZooKeeper {VERSION} could not be fetched: {said}"
    except OSError as error:
        return f"Apache ZooKeeper {VERSION} could not be fetched: {error}"
    return None


def ask(port: int, word: str) -> str:
    """A four letter word's answer from a server on loopback; empty if it does not answer."""
    try:
        with socket.create_connection(("127.0.0.1", port), PROBE_TIMEOUT_S) as connection:
            connection.sendall(word.encode())
            return b"".join(iter(functools.partial(connection.recv, 65536), b"")).decode(errors="replace")
    except OSError:
        return ""


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on at this moment, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Member(Process):
    """One Apache ZooKeeper process."""

    def __init__(
        self, home: Path, port: int, settings: Mapping[str, str], my_id: int | None, jvm: Sequence[str]
    ) -> None:
        self.port = port
        self.data_dir = home / "data"
        self.data_dir.mkdir(parents=True)
        if my_id is not None:
            (self.data_dir / "myid").write_text(f"{my_id}\n")
        config = home / "zoo.cfg"
        config.write_text(
            "".join(f"{k}={v}\n" for k, v in {"dataDir": self.data_dir, "clientPort": port, **settings}.items())
        )
        jars = _fetch()
        command = ["java", *jvm, f"-Dlogback.configurationFile={jars / 'logback.xml'}"]
        command += ["-Dzookeeper.admin.enableServer=false", "-cp", f"{jars}/*"]
        super().__init__([*command, "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config)], home / "output")

    @property
    def connect(self) -> str:
        return f"127.0.0.1:{self.port}"

    def mode(self) -> str:
        """leader, follower, standalone; empty while it does not serve."""
        lines = ask(self.port, "srvr").splitlines()
        return next((line.partition(": ")[2] for line in lines if line.startswith("Mode: ")), "")

    def await_ready(self) -> None:
        for _ in range(int(READY_TIMEOUT_S / LOOK_EVERY_S)):
            if self.mode():
                return
            if self.ended_within(LOOK_EVERY_S):
                raise self.died("Apache ZooKeeper ended before it was ready")
        raise self.died(f"Apache ZooKeeper was not ready within {READY_TIMEOUT_S:g} s")

    def restart(self) -> None:
        """Kills the server if it runs, and starts it on the same port and data; returns when it serves."""
        self.kill()
        self.start()
        self.await_ready()

    def rss_kib(self) -> int:
        """Resident memory, KiB (Linux)."""
        status = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


class Ensemble:
    """One or more members that agree; `connect` names them all."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members

    @property
    def connect(self) -> str:
        return ",".join(member.connect for member in self.members)

    def leader(self) -> Member:
        """The member that leads (or stands alone). Raises LookupError while there is none."""
        for member in self.members:
            if member.is_running and member.mode() in ("leader", "standalone"):
                return member
        raise LookupError("no member of the ensemble leads at the moment")

    def kill(self) -> None:
        for member in self.members:
            member.kill()

    def restart(self) -> None:
        """Kills every member, and starts all of them on their ports and data."""
        self.kill()
        self.serve()

    def serve(self) -> None:
        for member in self.members:
            member.start()
        for member in self.members:
            member.await_ready()

    def stop(self) -> None:
        for member in self.members:
            member.stop()


def _settings(tick_time_ms: int, more: Mapping[str, str]) -> dict[str, str]:
    return {
        "clientPortAddress": "127.0.0.1",
        "tickTime": str(tick_time_ms),
        "minSessionTimeout": "100",
        "maxSessionTimeout": "60000",
        "maxClientCnxns": "0",
        "4lw.commands.whitelist": "*",
        "admin.enableServer": "false",
        **more,
    }


@contextmanager
def ensemble(
    size: int,
    *,
    tick_time_ms: int = 2000,
    settings: Mapping[str, str] | None = None,
    jvm: Sequence[str] = QUICK_JVM,
) -> Iterator[Ensemble]:
    """`size` servers that agree (1 = standalone) in a scratch directory, ready; stopped and removed at the end of the
    block.
    """
    with tempfile.TemporaryDirectory(prefix="zookeeper-") as scratch:
        for attempt in range(STARTS):
            home = Path(scratch, str(attempt))
            ports = free_ports(3 * size)
            common = _settings(tick_time_ms, settings or {})
            if size > 1:
                common |= {"initLimit": "10", "syncLimit": "5"}
                for i in range(size):
                    _, quorum, election = ports[3 * i : 3 * i + 3]
                    common[f"server.{i + 1}"] = f"127.0.0.1:{quorum}:{election}"
            members = [
                Member(home / str(i + 1), ports[3 * i], common, i + 1 if size > 1 else None, jvm) for i in range(size)
            ]
            zoo = Ensemble(members)
            try:
                zoo.serve()
            except ServerDied:
                zoo.stop()
                if attempt == STARTS - 1:
                    raise
                continue
            try:
                yield zoo
            finally:
                zoo.stop()
            return


@contextmanager
def standalone(
    *, tick_time_ms: int = 2000, settings: Mapping[str, str] | None = None, jvm: Sequence[str] = QUICK_JVM
) -> Iterator[Ensemble]:
    """One server; otherwise as `ensemble`."""
    with ensemble(1, tick_time_ms=tick_time_ms, settings=settings, jvm=jvm) as zoo:
        yield zoo
