"""What a running server knows about itself: counts, times, connections, sessions, watches, settings.

In: the parts of the server, read and never changed (but for `reset_statistics`).  Out: plain values, made when asked.
Knows no text and no JSON: the four letter words, the admin commands and /metrics put the same values into their shapes.
Answers to ZooKeeper's ServerStats, ZooKeeperServerConf, Environment and ServerCnxn.getConnectionInfo.

(1) Nothing secret is in here: no password, no credential, no digest.
(2) Asking costs at most one walk over connections, sessions or watches; serving pays nothing for it in between.
"""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from coordination.server.client import Client, Traffic
from coordination.server.client_port import ClientPort
from coordination.server.config import Config
from coordination.server.log_writer import LogWriter
from coordination.server.operator_settings import user_name
from coordination.state.pipeline import Pipeline
from coordination.state.sessions import EXPIRY_BUCKET_MS, Session
from coordination.state.summary import Summary
from coordination.state.tree_digest import ZxidDigest
from coordination.storage.snapshot import snapshot_files
from coordination.storage.txn_log import VERSION_DIRECTORY
from coordination.wire import opcodes
from coordination.wire.records import ConnectRequest
from coordination.wire.server_connection import FourLetterWord

VERSION_LINE = "3.9.5-brokerdemo, built on 2026-11-22 00:00 UTC"
"""Clients and probes read a ZooKeeper version here: it says which protocol we speak, and whose server this is."""
# What ZooKeeper starts with: CLIENT_REQUEST, SERVER_PACKET, SESSION and WARNING of ZooTrace. Nothing here obeys it.
TRACE_MASK = 0b1_0011_0010

# FinalRequestProcessor's names of operations.
_OPERATIONS = {
    opcodes.PING: "PING",
    opcodes.MULTI: "MULT",
    opcodes.MULTI_READ: "MLTR",
    opcodes.CREATE: "CREA",
    opcodes.CREATE2: "CREA",
    opcodes.CREATE_TTL: "CREA",
    opcodes.CREATE_CONTAINER: "CREA",
    opcodes.DELETE: "DELE",
    opcodes.SET_DATA: "SETD",
    opcodes.RECONFIG: "RECO",
    opcodes.SET_ACL: "SETA",
    opcodes.CLOSE_SESSION: "CLOS",
    opcodes.SYNC: "SYNC",
    opcodes.CHECK: "CHEC",
    opcodes.EXISTS: "EXIS",
    opcodes.GET_DATA: "GETD",
    opcodes.SET_WATCHES: "SETW",
    opcodes.SET_WATCHES2: "STW2",
    opcodes.ADD_WATCH: "ADDW",
    opcodes.GET_ACL: "GETA",
    opcodes.GET_CHILDREN: "GETC",
    opcodes.GET_CHILDREN2: "GETC",
    opcodes.GET_ALL_CHILDREN_NUMBER: "GETACN",
    opcodes.CHECK_WATCHES: "CHKW",
    opcodes.REMOVE_WATCHES: "REMW",
    opcodes.WHO_AM_I: "HOMI",
    opcodes.GET_EPHEMERALS: "GETE",
}


@dataclass(slots=True)
class Disk:
    """What starting and snapshotting took, ms."""

    init_ms: Summary = field(default_factory=Summary)
    snapshot_load_ms: Summary = field(default_factory=Summary)
    txns_loaded: Summary = field(default_factory=Summary)
    txns_load_ms: Summary = field(default_factory=Summary)
    snapshot_ms: Summary = field(default_factory=Summary)
    snapshot_errors: int = 0


class ConnectionReading(NamedTuple):
    """One connection; times in ms.  `session_id` 0: it has none."""

    address: str
    secure: bool
    interest: int
    outstanding: int
    received: int
    sent: int
    session_id: int
    last_operation: str
    established_wall_ms: int
    session_timeout_ms: int
    last_cxid: int
    last_zxid: int
    last_reply_ms: int
    last_latency_ms: int
    min_latency_ms: int
    average_latency_ms: int
    max_latency_ms: int


class Readings:
    def __init__(
        self,
        config: Config,
        pipeline: Pipeline,
        port: ClientPort,
        writer: LogWriter,
        *,
        client_port: int | None = None,
        secure_client_port: int | None = None,
        disk: Disk | None = None,
    ) -> None:
        """`client_port`, `secure_client_port`: the numbers listened on, which may not be those of the settings."""
        self.config = config
        self.pipeline = pipeline
        self.port = port
        self.writer = writer
        self.disk = disk or Disk()
        self.client_port = -1 if client_port is None else client_port
        self.secure_client_port = -1 if secure_client_port is None else secure_client_port
        self.trace_mask = TRACE_MASK
        self._begin = time.monotonic()

    # --- the server

    @property
    def uptime_ms(self) -> int:
        return int((time.monotonic() - self._begin) * 1000)

    @property
    def node_count(self) -> int:
        """ZooKeeper's tree holds the root twice, as "" and "/"."""
        return len(self.pipeline.tree.nodes) + 1

    @property
    def packets_sent(self) -> int:
        """A reply for every request that is not under way, and the watch events."""
        counters = self.pipeline.counters
        under_way = sum(_under_way(client) for client in self.port.clients)
        return max(0, counters.received - under_way) + counters.events_sent

    @property
    def latency_min_ms(self) -> int:
        """Of reads and writes, as those below."""
        return min((each.least for each in self._latencies() if each.count), default=0)

    @property
    def latency_max_ms(self) -> int:
        return max(each.most for each in self._latencies())

    @property
    def latency_average_ms(self) -> float:
        reads, writes = self._latencies()
        return round((reads.total + writes.total) / max(reads.count + writes.count, 1), 4)

    def _latencies(self) -> tuple[Summary, Summary]:
        counters = self.pipeline.counters
        return counters.read_latency_ms(), counters.update_latency_ms

    def reset_statistics(self) -> None:
        self.pipeline.counters.reset()
        self.writer.reset_statistics()
        self.port.traffic = Traffic()
        self.disk.snapshot_errors = 0
        for summary in ("init_ms", "snapshot_load_ms", "txns_loaded", "txns_load_ms", "snapshot_ms"):
            setattr(self.disk, summary, Summary())

    def reset_connection_statistics(self) -> None:
        for client in self.port.clients:
            client.connection.reset_statistics()

    # --- settings and surroundings

    def directory(self, kind: str) -> Path | None:
        """Where the snapshots ("data") or the logs ("log") lie; None in memory."""
        config = self.config
        top = (config.data_log_dir if kind == "log" else None) or config.data_dir
        return None if top is None else top.absolute() / VERSION_DIRECTORY

    def directory_bytes(self, kind: str) -> int:
        """The size of every file there; one that goes while we look counts nothing."""
        directory, size = self.directory(kind), 0
        try:
            entries = list(os.scandir(directory)) if directory else []
        except OSError:
            return 0
        for entry in entries:
            try:
                size += entry.stat().st_size
            except OSError:
                continue
        return size

    def newest_snapshot(self) -> tuple[int, int] | None:
        """Its zxid and when it was written, s since 1970."""
        directory = self.directory("data")
        try:
            found = snapshot_files(directory) if directory else []
            return (found[0][0], int(found[0][1].stat().st_mtime)) if found else None
        except OSError:
            return None

    def environment(self) -> list[tuple[str, str]]:
        system = os.uname()
        pairs = [
            ("zookeeper.version", VERSION_LINE),
            ("host.name", system.nodename),
            # What asks Apache ZooKeeper's looks for this key to see that there is an answer.
            ("java.version", f"none: {sys.implementation.name} {sys.version.split()[0]}"),
            ("python.version", sys.version.split()[0]),
            ("python.implementation", sys.implementation.name),
            ("os.name", system.sysname),
            ("os.arch", system.machine),
            ("os.version", system.release),
            ("user.name", user_name()),
            ("user.home", str(Path.home())),
            ("user.dir", str(Path.cwd())),
        ]
        return pairs + [(f"os.memory.{kind}", f"{size >> 20}MB") for kind, size in _memory()]

    # --- connections and sessions

    def connections(self) -> Iterator[ConnectionReading]:
        now_ms, wall_ms = self.pipeline.now_ms, self.pipeline.wall_ms
        for client in self.port.clients:
            connection = client.connection
            last, session = connection.last, connection.session
            under_way = _under_way(client)
            answered = max(connection.requests_received - under_way, 1)
            yield ConnectionReading(
                address=client.address,
                secure=client.tls is not None,
                interest=0 if isinstance(last, FourLetterWord) else client.interest,
                outstanding=connection.requests_under_way,
                received=connection.requests_received,
                sent=max(0, connection.requests_received - under_way) + connection.events_sent,
                session_id=0 if session is None else session.id,
                last_operation=_operation(last),
                established_wall_ms=wall_ms - (now_ms - connection.since_ms),
                session_timeout_ms=0 if session is None else session.timeout_ms,
                last_cxid=getattr(connection.last_request, "xid", -1),
                last_zxid=connection.last_zxid,
                last_reply_ms=connection.last_reply_ms,
                last_latency_ms=connection.last_latency_ms,
                min_latency_ms=0,
                average_latency_ms=connection.latency_total_ms // answered,
                max_latency_ms=connection.latency_max_ms,
            )

    def sessions_by_expiry(self) -> dict[int, list[int]]:
        """When (in ms of the server's clock) each session would end if it were not heard of again."""
        found: dict[int, list[int]] = {}
        for session in self.pipeline.sessions.by_id.values():
            found.setdefault(_expiry(session), []).append(session.id)
        return dict(sorted(found.items()))

    def connections_by_expiry(self) -> dict[int, list[Client]]:
        found: dict[int, list[Client]] = {}
        for client in self.port.clients:
            session = client.connection.session
            due = client.connection.since_ms + self.port.sessionless_ms if session is None else _expiry(session)
            found.setdefault(due, []).append(client)
        return dict(sorted(found.items()))

    def wall_ms(self, at_ms: int) -> int:
        """A time of the server's clock as ms since 1970."""
        return self.pipeline.wall_ms + at_ms - self.pipeline.now_ms

    def ephemerals(self) -> dict[int, list[str]]:
        return {owner: list(paths) for owner, paths in self.pipeline.tree.ephemerals.items()}

    def digests(self) -> list[ZxidDigest]:
        """Of the tree, one of each 128 zxids; none where `digest.enabled` is off."""
        return [] if self.pipeline.digest is None else self.pipeline.digest.history()

    # --- watches: those for data and existence, as the real server shows them

    def watched_paths(self) -> dict[int, list[str]]:
        """By session.  READ is not asked for: this is for the operator."""
        watches = self.pipeline.readable.data_watches.by_watcher()
        return {connection.session_id: paths for connection, paths in watches.items()}

    def watching_sessions(self) -> dict[str, list[int]]:
        """By path."""
        watches = self.pipeline.readable.data_watches.by_path()
        return {path: [each.session_id for each in connections] for path, connections in watches.items()}

    def watches(self) -> tuple[int, int, int]:
        """Connections that watch, paths watched, watches."""
        table = self.pipeline.readable.data_watches
        return table.watchers, table.paths, len(table)


def _under_way(client: Client) -> int:
    connection = client.connection
    return connection.requests_under_way + isinstance(connection.last, FourLetterWord)


def _operation(last: object) -> str:
    if isinstance(last, ConnectRequest):
        return "SESS"
    return _OPERATIONS.get(getattr(last, "opcode", 0), "NA")


def _expiry(session: Session) -> int:
    deadline = session.last_heard_ms + session.timeout_ms
    return -(-deadline // EXPIRY_BUCKET_MS) * EXPIRY_BUCKET_MS


def _memory() -> list[tuple[str, int]]:
    """Of the machine, bytes: there is no heap of a size of its own here."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total = os.sysconf("SC_PHYS_PAGES") * page
        return [("free", os.sysconf("SC_AVPHYS_PAGES") * page), ("max", total), ("total", total)]
    except (OSError, ValueError):
        return []
