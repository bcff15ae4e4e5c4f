"""The four letter words: what an operator may ask a server without a session.

In: a word.  Out: the text of the answer.  Reads counters and tables; changes nothing.
Answers to ZooKeeper's FourLetterCommands and the classes of server.command.

(1) A word that is not in the whitelist gets exactly the refusal the real one gives.
(2) Nothing secret is shown: no password, no credential.
"""

import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path

from coordination.server.config import Config
from coordination.state.pipeline import Pipeline
from coordination.state.ready import Counters

VERSION_LINE = "3.9.5-brokerdemo, built on 2026-11-22 00:00 UTC"
"""Clients and probes read a ZooKeeper version here: it says which protocol we speak, and whose server this is."""
REFUSED = "{word} is not executed because it is not in the whitelist."


class Admin:
    def __init__(
        self, config: Config, pipeline: Pipeline, connection_count: Callable[[], int], sync_us: Callable[[], float]
    ) -> None:
        self._config = config
        self._pipeline = pipeline
        self._connection_count = connection_count
        self._sync_us = sync_us
        self._words: dict[str, Callable[[], str]] = {
            "ruok": lambda: "imok",
            "isro": lambda: "rw",
            "srvr": self._srvr,
            "stat": self._stat,
            "mntr": self._mntr,
            "conf": self._conf,
            "cons": self._cons,
            "dump": self._dump,
            "wchs": self._wchs,
            "wchc": self._wchc,
            "wchp": self._wchp,
            "envi": self._envi,
            "dirs": self._dirs,
            "srst": self._srst,
            "crst": self._crst,
        }

    def answer(self, word: str) -> str:
        command = self._words.get(word)
        if word not in self._config.words:
            return REFUSED.format(word=word) + "\n"
        if command is None:
            return f"{word} is not served by this server yet.\n"
        return command()

    def _head(self) -> str:
        return f"Zookeeper version: {VERSION_LINE}\n"

    def _statistics(self) -> str:
        counters, tree = self._pipeline.counters, self._pipeline.tree
        average = round(counters.latency_total_ms / max(counters.received, counters.latency_count, 1), 4)
        return (
            f"Latency min/avg/max: {counters.latency_min_ms}/{average}/{counters.latency_max_ms}\n"
            f"Received: {counters.received}\n"
            f"Sent: {self._sent()}\n"
            f"Connections: {self._connection_count()}\n"
            f"Outstanding: {self._pipeline.outstanding}\n"
            f"Zxid: 0x{tree.last_zxid:x}\n"
            "Mode: standalone\n"
            # ZooKeeper's tree holds the root twice, as "" and "/".
            f"Node count: {len(tree.nodes) + 1}\n"
        )

    def _sent(self) -> int:
        """A reply for every request that is not under way, and the watch events."""
        return self._pipeline.counters.received - self._pipeline.outstanding + self._pipeline.announcer.events_sent

    def _srvr(self) -> str:
        return self._head() + self._statistics()

    def _stat(self) -> str:
        clients = "".join(f"{line}\n" for line in self._connections(brief=True))
        return f"{self._head()}Clients:\n{clients}\n{self._statistics()}"

    def _connections(self, *, brief: bool) -> Iterable[str]:
        for connection in self._pipeline.connections.values():
            line = (
                f" /{connection.host}:{connection.key}[1](queued={len(connection.waiting)},"
                f"recved={connection.requests_received},sent={connection.requests_received}"
            )
            if not brief and connection.session is not None:
                line += f",sid=0x{connection.session_id:x},to={connection.session.timeout_ms}"
            yield line + ")"

    def _cons(self) -> str:
        return "".join(f"{line}\n" for line in self._connections(brief=False)) + "\n"

    def _mntr(self) -> str:
        pipeline = self._pipeline
        counters, tree, readable = pipeline.counters, pipeline.tree, pipeline.readable
        values: list[tuple[str, object]] = [
            ("version", VERSION_LINE),
            ("server_state", "standalone"),
            ("ephemerals_count", sum(map(len, tree.ephemerals.values()))),
            ("num_alive_connections", self._connection_count()),
            ("avg_latency", counters.latency_total_ms / max(counters.latency_count, 1)),
            ("min_latency", counters.latency_min_ms),
            ("max_latency", counters.latency_max_ms),
            ("outstanding_requests", pipeline.outstanding),
            ("znode_count", len(tree.nodes) + 1),
            ("global_sessions", len(pipeline.sessions)),
            ("watch_count", len(readable.data_watches) + len(readable.child_watches)),
            ("approximate_data_size", tree.data_bytes),
            ("packets_sent", self._sent()),
            ("packets_received", counters.received),
            ("stale_sessions_expired", counters.sessions_expired),
            ("unrecoverable_error_count", 0),
            ("max_client_response_size", -1),
            ("last_client_response_size", -1),
            ("avg_fsynctime_us", round(self._sync_us(), 1)),
            ("auth_failed_count", counters.auth_failed),
            ("protocol_violations", counters.violations),
        ]
        return "".join(f"zk_{key}\t{value}\n" for key, value in values)

    def _conf(self) -> str:
        config, settings = self._config, self._config.pipeline
        lines = {
            "clientPort": -1 if config.port is None else config.port,
            "secureClientPort": -1 if config.secure_port is None else config.secure_port,
            "dataDir": config.data_dir or "",
            "dataLogDir": config.data_log_dir or config.data_dir or "",
            "tickTime": settings.tick_time_ms,
            "maxClientCnxns": config.max_client_connections,
            "minSessionTimeout": settings.min_session_timeout_ms,
            "maxSessionTimeout": settings.max_session_timeout_ms,
            "clientPortListenBacklog": -1,
            "serverId": 0,
        }
        return "".join(f"{key}={value}\n" for key, value in lines.items())

    def _envi(self) -> str:
        system = os.uname()
        lines = {
            "zookeeper.version": VERSION_LINE,
            "host.name": system.nodename,
            "python.version": platform.python_version(),
            "python.implementation": platform.python_implementation(),
            "os.name": system.sysname,
            "os.arch": system.machine,
            "os.version": system.release,
        }
        return "Environment:\n" + "".join(f"{key}={value}\n" for key, value in lines.items())

    def _dirs(self) -> str:
        def size(directory: Path | None, kind: str) -> int:
            return sum(each.stat().st_size for each in directory.glob(f"version-2/{kind}.*")) if directory else 0

        data = self._config.data_dir
        logs = size(self._config.data_log_dir or data, "log")
        return f"datadir_size: {size(data, 'snapshot')}\nlogdir_size: {logs}\n"

    def _srst(self) -> str:
        self._pipeline.counters = Counters()
        return "Server stats reset.\n"

    def _crst(self) -> str:
        for connection in self._pipeline.connections.values():
            connection.requests_received = 0
        return "Connection stats reset.\n"

    def _dump(self) -> str:
        ephemerals, sessions = self._pipeline.tree.ephemerals, self._pipeline.sessions.by_id
        lines = [
            f"Sessions ({len(sessions)}):\n",
            *(f"0x{each:x}\t{sessions[each].timeout_ms}ms\n" for each in sessions),
        ]
        lines.append(f"Sessions with Ephemerals ({len(ephemerals)}):\n")
        for session_id, paths in ephemerals.items():
            lines.append(f"0x{session_id:x}:\n")
            lines.extend(f"\t{path}\n" for path in paths)
        return "".join(lines)

    def _wchs(self) -> str:
        data, child = self._pipeline.readable.data_watches, self._pipeline.readable.child_watches
        watchers = len(set(data.by_watcher()) | set(child.by_watcher()))
        paths = len(set(data.by_path()) | set(child.by_path()))
        return f"{watchers} connections watching {paths} paths\nTotal watches:{len(data) + len(child)}\n"

    def _wchc(self) -> str:
        found: dict[int, list[str]] = {}
        for table in (self._pipeline.readable.data_watches, self._pipeline.readable.child_watches):
            for connection, paths in table.by_watcher().items():
                found.setdefault(connection.session_id, []).extend(paths)
        return "".join(f"0x{each:x}\n" + "".join(f"\t{path}\n" for path in found[each]) for each in found)

    def _wchp(self) -> str:
        found: dict[str, list[int]] = {}
        for table in (self._pipeline.readable.data_watches, self._pipeline.readable.child_watches):
            for path, connections in table.by_path().items():
                found.setdefault(path, []).extend(each.session_id for each in connections)
        return "".join(f"{path}\n" + "".join(f"\t0x{each:x}\n" for each in found[path]) for path in found)
