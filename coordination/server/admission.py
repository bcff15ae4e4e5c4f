"""Who may come in, and who may stay without a word: limits per host, in all, of this process, and of patience.

In: the host of a new socket, how many connections there are, the time.  Out: the reason it may not stay, or none; who
has said nothing for too long.
Knows no socket.  Answers to ZooKeeper's maxClientCnxns, maxCnxns and nio.sessionlessCnxnTimeout.

(1) `held` counts the connections of each host that came in and have not gone.
(2) A connection without a ConnectRequest is overdue after `sessionless_ms`.
(3) A refusal is a line in the log, one per TOLD_EVERY_MS at most, which says how many were not told: a flood must not
    fill the disk.
"""

from coordination.server.doors import descriptors_for_clients
from coordination.server.journal import Journal
from coordination.state.connection import NEW, Connection

TOLD_EVERY_MS = 1000


class Admission:
    def __init__(self, journal: Journal, *, per_host_max: int, connections_max: int, sessionless_ms: int) -> None:
        """A maximum of 0 is no limit."""
        self._journal = journal
        self._per_host_max = per_host_max
        self._connections_max = connections_max
        self._sessionless_ms = sessionless_ms
        self._descriptors = descriptors_for_clients()
        self._held: dict[str, int] = {}
        self._silent: dict[Connection, int] = {}  # when they are due; the oldest first, which is the one due first
        self._untold = 0
        self._told_ms = -TOLD_EVERY_MS

    def refusal(self, host: str, connections: int, departing: int) -> str:
        """Why one more from `host` may not come in; empty: it may.  `departing` hold a descriptor and nothing else."""
        held = self._held.get(host, 0)
        if 0 < self._per_host_max <= held:
            return f"{held} connections from there (maxClientCnxns)"
        if 0 < self._connections_max <= connections:
            return f"{connections} connections in all (maxCnxns)"
        in_all = connections + departing
        if 0 < self._descriptors <= in_all:
            return f"{in_all} connections in all; this process may open no more files (ulimit -n)"
        return ""

    def tell_refused(self, host: str, reason: str, now_ms: int) -> None:
        """`host` empty: nobody in particular could come in."""
        if now_ms - self._told_ms < TOLD_EVERY_MS:
            self._untold += 1
            return
        where = {"host": host} if host else {}
        more = {"not_told": self._untold} if self._untold else {}
        self._told_ms, self._untold = now_ms, 0
        self._journal.write("connection_refused", **where, reason=reason, **more)

    def enter(self, connection: Connection, now_ms: int) -> None:
        host = connection.host
        self._held[host] = self._held.get(host, 0) + 1
        self._silent[connection] = now_ms + self._sessionless_ms

    def leave(self, connection: Connection) -> None:
        self._silent.pop(connection, None)
        host = connection.host
        left = self._held[host] - 1
        if left:
            self._held[host] = left
        else:
            del self._held[host]

    def next_deadline(self) -> int | None:
        """When the oldest silent connection is due; those that have spoken are forgotten here."""
        while self._silent:
            connection = next(iter(self._silent))
            if connection.phase == NEW:
                return self._silent[connection]
            del self._silent[connection]
        return None

    def overdue(self, now_ms: int) -> list[Connection]:
        """Who has said nothing for too long."""
        over = []
        for connection, due_ms in self._silent.items():
            if due_ms > now_ms:
                break
            if connection.phase == NEW:
                over.append(connection)
        return over
