"""`doctor`: is this machine able to run a cluster, and is anything left over from one? Also `version`.

Each check is one line, `[ok]`, `[warn]` or `[FAIL]`, with what to do; a failed one makes exit code 7. Reads /proc,
limits, directories and ports; changes nothing.
"""

import importlib.metadata
import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import typer

import brokerdemo
from brokerdemo.cli import options as opt
from brokerdemo.cli import screen
from brokerdemo.cluster import launcher, layout
from brokerdemo.cluster.control import ControlClient
from brokerdemo.cluster.errors import ClusterError, Code

Level = Literal["ok", "warn", "fail"]

# Five brokers, a server and a supervisor with their logs and sockets stay far below; a shell's 256 would not do.
FILES_WANTED = 1024


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    name: str
    level: Level
    detail: str
    do: str = ""


def add(app: typer.Typer) -> None:
    app.command(
        epilog=opt.examples("brokerdemo doctor", "brokerdemo doctor --json | jq '.checks[] | select(.level != \"ok\")'")
    )(doctor)
    app.command()(version)


def doctor(as_json: opt.Json = False) -> None:
    """Check this machine and every cluster on it."""
    checks = list(examine())
    if as_json:
        screen.emit(
            {
                "schema": "brokerdemo.doctor/1",
                "passed": not any(check.level == "fail" for check in checks),
                "checks": [asdict(check) for check in checks],
                "versions": versions(),
            }
        )
    else:
        paint = screen.the().paint
        marks = {"ok": ("[ok]  ", "good"), "warn": ("[warn]", "warn"), "fail": ("[FAIL]", "bad")}
        for check in checks:
            screen.out(f"{paint(*marks[check.level])} {check.name:<14} {check.detail}")
            if check.do:
                screen.out(f"       {'':<14} try: {check.do}")
    failed = [check for check in checks if check.level == "fail"]
    if failed:
        names = ", ".join(check.name for check in failed)
        raise ClusterError(Code.ENVIRONMENT, f"{len(failed)} checks failed: {names}", "", failed[0].do)


def examine() -> Iterator[Check]:
    """Every check in turn; one that breaks is a finding itself, never the end of the others."""
    checks: list[Callable[[], Iterator[Check]]] = [_python, _system, _files, _directories, _ports, _clusters]
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            yield Check(check.__name__.strip("_"), "warn", f"could not be checked: {error}")


def _python() -> Iterator[Check]:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Check(
        "python", "ok" if good else "fail", f"{found} at {sys.executable}", "" if good else "use Python >= 3.11"
    )


def _system() -> Iterator[Check]:
    system = f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs"
    if not hasattr(os, "fork"):
        yield Check("system", "fail", f"{system}: no fork", "use Linux or macOS")
        return
    if hasattr(os, "pidfd_open"):
        yield Check("system", "ok", f"{system}: deaths are proven by pidfd")
    else:
        yield Check("system", "warn", f"{system}: no pidfd; a death is proven by its parent, somewhat later")
    load = os.getloadavg()[0]
    busy = load > 2 * (os.cpu_count() or 1)
    yield Check("load", "warn" if busy else "ok", f"{load:.1f}", "measure on a calmer machine" if busy else "")


def _files() -> Iterator[Check]:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = soft == resource.RLIM_INFINITY or soft >= FILES_WANTED
    yield Check(
        "open files",
        "ok" if enough else "warn",
        f"limit {soft} (hard {hard})",
        "" if enough else f"ulimit -n {FILES_WANTED}",
    )


def _directories() -> Iterator[Check]:
    place = layout.layout()
    parent = next(path for path in [place.state_dir, *place.state_dir.parents] if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        yield Check(
            "state",
            "fail",
            f"{parent} is no directory that can be written",
            "set BROKERDEMO_HOME to a directory of yours",
        )
        return
    free_mib = shutil.disk_usage(parent).free >> 20
    low = free_mib < 500
    # The txn log is preallocated, so an almost full disk refuses the first write, not the last one.
    yield Check(
        "state", "warn" if low else "ok", f"{layout.home()}, {free_mib} MiB free", "free some space" if low else ""
    )
    if place.socket_path.parent.exists():
        layout.check_private(place.socket_path.parent)
    yield Check("socket", "ok", str(place.socket_path.parent))


def _ports() -> Iterator[Check]:
    if layout.running():
        return
    wanted = [launcher.DEFAULT_COORDINATION_PORT, *range(launcher.DEFAULT_BASE_PORT, launcher.DEFAULT_BASE_PORT + 5)]
    busy = [port for port in wanted if not _free(port)]
    if busy:
        yield Check("ports", "warn", f"in use: {', '.join(map(str, busy))}", "brokerdemo up --base-port auto")
    else:
        yield Check("ports", "ok", f"{wanted[0]} and {wanted[1]}-{wanted[-1]} are free")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _clusters() -> Iterator[Check]:
    alive = layout.running()
    for name in alive:
        try:
            found = ControlClient(layout.layout(name).socket_path, timeout_s=2).call("ping")
            yield Check("cluster", "ok", f"{name}: supervisor pid {found.get('pid')} answers")
        except ClusterError as error:
            yield Check("cluster", "fail", f"{name}: {error.what}", f"brokerdemo down --force --cluster {name}")
    clusters = layout.home() / "clusters"
    for directory in sorted(clusters.iterdir()) if clusters.is_dir() else []:
        place = layout.layout(directory.name)
        if directory.name not in alive and place.cluster_json.exists():
            left = _left_over(place)
            if left:
                yield Check("left over", "fail", f"{directory.name}: processes {left} outlived it", f"kill -9 {left}")
            else:
                yield Check("left over", "ok", f"{directory.name}: was killed; the next `up` cleans its directory")


def _left_over(place: layout.Layout) -> str:
    """Pids in cluster.json that still are the processes it names: same pid and same start time."""
    known = layout.read_cluster_json(place)
    alive = []
    for process in known.get("processes", ()):
        pid, started = process.get("pid"), process.get("start_time")
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        fields = stat.rpartition(")")[2].split()
        # A zombie has ended; it only waits for a parent that does not ask.
        if started is not None and fields[19] == str(started) and fields[0] not in "ZX":
            alive.append(str(pid))
    return " ".join(alive)


def versions() -> dict[str, str]:
    """What runs here, for bug reports."""
    found = {"brokerdemo": brokerdemo.__version__, "python": platform.python_version(), "system": platform.platform()}
    for name in ("trio", "kazoo", "structlog", "typer"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def version(as_json: opt.Json = False) -> None:
    """The version, and those of what it runs on."""
    found = versions()
    if as_json:
        screen.emit({"schema": "brokerdemo.version/1", **found})
        return
    screen.out(f"brokerdemo {found.pop('brokerdemo')}")
    for name, value in found.items():
        screen.out(f"  {name:<10} {value}")
