"""Ports: whether the ports wanted are free, and who has the one that is not.

In: a host and ports. Out: nothing, or an error naming the owner's pid where /proc tells. Binds and closes; keeps
nothing.

(1) The check is a courtesy with a good message: who binds first decides, here as anywhere.
"""

import errno
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from brokerdemo.cluster.errors import ClusterError, Code

_LISTEN = "0A"


def check_free(host: str, ports: Sequence[int], wants: str) -> None:
    """ClusterError 4 when one of `ports` cannot be bound on `host`; `wants` says what they are for."""
    for port in ports:
        if port == 0:
            continue
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            # As the servers do: a port whose old connections are in TIME_WAIT is free.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((host, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise _busy(port, wants) from None
                raise ClusterError(
                    Code.ENVIRONMENT, f"{host}:{port} cannot be bound: {error.strerror}", "", "--host 127.0.0.1"
                ) from None


def _busy(port: int, wants: str) -> ClusterError:
    who = owner(port)
    by = f" by pid {who[0]} ({who[1]})" if who else ""
    return ClusterError(
        Code.CONFLICT,
        f"port {port} is in use{by}",
        wants,
        "brokerdemo up --base-port auto        or: brokerdemo up --base-port 29092",
    )


def owner(port: int) -> tuple[int, str] | None:
    """pid and name of the process that listens on `port`; None where /proc does not tell, or it is another user's."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            for fd in os.scandir(f"/proc/{entry.name}/fd"):
                if os.readlink(fd.path) in inodes:
                    return int(entry.name), Path(f"/proc/{entry.name}/comm").read_text().strip()
        except OSError:
            continue
    return None
