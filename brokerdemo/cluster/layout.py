"""Layout: where a cluster keeps its files, where its control socket is, and which cluster a command means.

In: the environment and a name. Out: paths. Reads directories and tries locks; starts nothing, speaks to nobody.
Stdlib only, because every command imports it. Names follow the XDG base directory rules.

(1) State lives in `$BROKERDEMO_HOME/clusters/<name>/` (or under `$XDG_STATE_HOME`), mode 0700.
(2) The socket never lives under the state directory: AF_UNIX paths end at 107 bytes (103 on macOS), and a test's
    temporary directory is longer than that. With `$BROKERDEMO_HOME` set, the socket's name carries a hash of it,
    so that two homes never meet.
(3) A cluster is alive exactly while its `lock` is held (flock): pids are reused, locks are not.
(4) The socket's directory is ours alone (0700, owner checked) before anything in it is trusted.
"""

import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brokerdemo.cluster.errors import ClusterError, Code

DEFAULT_NAME = "default"
SOCKET_PATH_MAX_BYTES = 103  # macOS; Linux has 107
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}")


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one cluster. Nothing is created until `prepare`."""

    name: str
    state_dir: Path
    socket_path: Path

    @property
    def lock(self) -> Path:
        return self.state_dir / "lock"

    @property
    def cluster_json(self) -> Path:
        return self.state_dir / "cluster.json"

    @property
    def events(self) -> Path:
        return self.state_dir / "events.ndjson"

    @property
    def supervisor_log(self) -> Path:
        return self.state_dir / "supervisor.log"

    @property
    def runs(self) -> Path:
        return self.state_dir / "runs"

    def broker_dir(self, broker: int) -> Path:
        """Where broker `broker` keeps its logs, and its data unless `--data` says otherwise."""
        return self.state_dir / "brokers" / str(broker)

    @property
    def coordination_dir(self) -> Path:
        return self.state_dir / "coordination"

    def prepare(self) -> None:
        """Create the state and socket directories, private to this user; ClusterError when one is somebody else's."""
        for directory in (self.state_dir, self.socket_path.parent):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_private(directory)


def check_private(directory: Path) -> None:
    """Make sure `directory` is a real directory of this user with mode 0700: (4).

    Our own directory with a looser mode is tightened; another user's is refused, because whoever owns a directory can
    swap the socket in it.
    """
    info = os.lstat(directory)
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise ClusterError(
            Code.ENVIRONMENT,
            f"{directory} is not a directory of yours",
            f"it belongs to uid {info.st_uid}, and commands must not trust a socket in it",
            "remove it, or set BROKERDEMO_HOME to a directory of your own",
        )
    if stat.S_IMODE(info.st_mode) & 0o077:
        os.chmod(directory, 0o700)


def home(environ: Mapping[str, str] | None = None) -> Path:
    """The directory that holds `clusters/`: (1)."""
    env = os.environ if environ is None else environ
    if own := env.get("BROKERDEMO_HOME"):
        return Path(own).expanduser().absolute()
    if state := env.get("XDG_STATE_HOME"):
        return Path(state) / "brokerdemo"
    return Path(env.get("HOME") or os.path.expanduser("~")) / ".local" / "state" / "brokerdemo"


def _socket_dir(env: Mapping[str, str]) -> Path:
    # A runtime directory that is too deep for a socket, or gone, is no use: then the one in /tmp.
    if (runtime := env.get("XDG_RUNTIME_DIR")) and len(runtime) < 60 and os.access(runtime, os.W_OK | os.X_OK):
        return Path(runtime) / "brokerdemo"
    return Path("/tmp") / f"brokerdemo-{os.getuid()}"


def layout(name: str = DEFAULT_NAME, environ: Mapping[str, str] | None = None) -> Layout:
    """The paths of the cluster called `name`; ClusterError (usage) when the name cannot be a file name."""
    if not _NAME.fullmatch(name):
        raise ClusterError(
            Code.USAGE,
            f"{name!r} cannot be the name of a cluster",
            "it names a directory and a socket",
            "use up to 41 letters, digits, dots, dashes and underscores",
        )
    env = os.environ if environ is None else environ
    base = home(env)
    own = env.get("BROKERDEMO_HOME")
    mark = "-" + hashlib.sha256(str(base).encode()).hexdigest()[:8] if own else ""
    path = _socket_dir(env) / f"{name}{mark}.sock"
    assert len(os.fsencode(path)) <= SOCKET_PATH_MAX_BYTES, path
    return Layout(name, base / "clusters" / name, path)


def is_running(place: Layout) -> bool:
    """Whether a supervisor holds the cluster's lock: (3)."""
    try:
        fd = os.open(place.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two lookers never take each other for a supervisor.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def wait_released(place: Layout) -> None:
    """Block until nobody holds the cluster's lock: after `down` the supervisor answers first, and ends after that."""
    try:
        fd = os.open(place.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return  # no lock file, nobody to wait for
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def running(environ: Mapping[str, str] | None = None) -> list[str]:
    """Names of the clusters whose lock is held, sorted."""
    try:
        names = sorted(entry.name for entry in os.scandir(home(environ) / "clusters") if entry.is_dir())
    except OSError:
        return []
    return [name for name in names if _NAME.fullmatch(name) and is_running(layout(name, environ))]


def select(name: str | None = None, environ: Mapping[str, str] | None = None) -> Layout:
    """The cluster a command means: its name, else `$BROKERDEMO_CLUSTER`, else the only one running.

    ClusterError (3) when it does not run, with how it ended where that can be told, or when several run and none is
    named.
    """
    env = os.environ if environ is None else environ
    named = name or env.get("BROKERDEMO_CLUSTER")
    if named:
        place = layout(named, env)
        if is_running(place):
            return place
        raise not_running(place)
    alive = running(env)
    if len(alive) == 1:
        return layout(alive[0], env)
    if not alive:
        raise not_running(layout(DEFAULT_NAME, env))
    raise ClusterError(
        Code.NOT_FOUND,
        f"{len(alive)} clusters are running: {', '.join(alive)}",
        "this command cannot tell which one you mean",
        f"name it: --cluster {alive[0]}, or set BROKERDEMO_CLUSTER",
    )


def not_running(place: Layout) -> ClusterError:
    """The error for a cluster that does not run, saying how the last one of that name ended."""
    why = "none of that name was started, or it was stopped"
    if place.cluster_json.exists():
        # cluster.json is removed by an orderly `down`: one left behind means that nobody was there to do it.
        why = "its supervisor was killed; the processes of the cluster ended with it"
    return ClusterError(Code.NOT_FOUND, f'no running cluster named "{place.name}"', why, "brokerdemo up -n 5 -d")


def read_cluster_json(place: Layout) -> dict[str, Any]:
    """What the supervisor wrote about itself; empty when there is none, or it is not readable JSON."""
    try:
        found = json.loads(place.cluster_json.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
