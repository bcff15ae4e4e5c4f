"""The admin commands: what AdminServer answers under /commands, as values for JSON.

In: a command's name and its arguments.  Out: a dict with ZooKeeper's fields, `command` and `error` among them.
Knows no HTTP.  Answers to ZooKeeper's Commands and CommandResponse.

(1) A command in QUERIES changes nothing; one in ACTIONS does, and whoever offers it must have asked for a token
    (CVE-2025-58457).  `restore` is not offered.
(2) No field holds a secret: settings are shown with secrets masked.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from coordination.server.metrics import monitor
from coordination.server.readings import VERSION_LINE, ConnectionReading, Readings

# Primary name first, as in ZooKeeper; the primary ones are listed and answered with.
QUERIES: Final = (
    ("configuration", "conf", "config"),
    ("connections", "cons"),
    ("dirs",),
    ("dump",),
    ("environment", "env", "envi"),
    ("get_trace_mask", "gtmk"),
    ("hash",),
    ("initial_configuration", "icfg"),
    ("is_read_only", "isro"),
    ("last_snapshot", "lsnp"),
    ("leader", "lead"),
    ("monitor", "mntr"),
    ("observers", "obsr"),
    ("ruok",),
    ("server_stats", "srvr"),
    ("stats", "stat"),
    ("system_properties", "sysp"),
    ("voting_view",),
    ("watch_summary", "wchs"),
    ("watches", "wchc"),
    ("watches_by_path", "wchp"),
    ("zabstate",),
)
ACTIONS: Final = (
    ("connection_stat_reset", "crst"),
    ("observer_connection_stat_reset", "orst"),
    ("set_trace_mask", "stmk"),
    ("snapshot", "snap"),
    ("stat_reset", "srst"),
)
SNAPSHOT: Final = "snapshot"
PRIMARY_NAMES: Final = {name: names[0] for names in (*QUERIES, *ACTIONS) for name in names}
_ACTION_NAMES = frozenset(names[0] for names in ACTIONS)
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}")
_NOT_KNOWN = {"last_buffer_size": -1, "min_buffer_size": -1, "max_buffer_size": -1}


def is_action(primary_name: str) -> bool:
    """Whether the command changes something."""
    return primary_name in _ACTION_NAMES


class Commands:
    """Runs a command by its primary name."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings
        self._fields: dict[str, Callable[[], dict[str, Any]]] = {
            "configuration": self._configuration,
            "connections": lambda: self._connections(brief=False),
            "dirs": self._dirs,
            "dump": self._dump,
            "environment": lambda: dict(readings.environment()),
            "get_trace_mask": lambda: {"tracemask": readings.trace_mask},
            "hash": self._hash,
            "initial_configuration": lambda: {"initial_configuration": readings.config.text},
            "is_read_only": lambda: {"read_only": False},
            "last_snapshot": self._last_snapshot,
            "leader": lambda: {"error": "server is not initialized"},
            "monitor": lambda: dict(monitor(readings)),
            "observers": lambda: {"synced_observers": 0, "observers": []},
            "ruok": dict,
            "server_stats": self._server_stats,
            "stats": lambda: {**self._server_stats(), **self._connections(brief=True)},
            "system_properties": lambda: dict(sorted(readings.config.properties.items())),
            "voting_view": lambda: {"current_config": {}},
            "watch_summary": self._watch_summary,
            "watches": lambda: {"session_id_to_watched_paths": _by_text(readings.watched_paths())},
            "watches_by_path": lambda: {"path_to_session_ids": readings.watching_sessions()},
            "zabstate": lambda: {"voting": False, "zabstate": ""},
        }

    def query(self, name: str) -> dict[str, Any]:
        """The answer of a command that changes nothing."""
        return self.answer(name, self._fields[name]())

    def act(self, name: str, arguments: Mapping[str, str]) -> dict[str, Any]:
        """Do what an ACTION says (but `snapshot`, which takes its time and is not done here), and answer."""
        if name == "stat_reset":
            self._readings.reset_statistics()
        elif name == "connection_stat_reset":
            self._readings.reset_connection_statistics()
        elif name == "set_trace_mask":
            return self.answer(name, self._set_trace_mask(arguments.get("traceMask")))
        else:
            assert name == "observer_connection_stat_reset"  # a server of one has no observers
        return self.answer(name, {})

    @staticmethod
    def answer(name: str, fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "command": name, "error": fields.get("error")}

    # --- one command each

    def _set_trace_mask(self, text: str | None) -> dict[str, Any]:
        mask = int(text) if text is not None and _NUMBER.fullmatch(text) else None
        if mask is None or not -(1 << 63) <= mask < 1 << 63:
            got = "" if text is None else f", got {text}"
            return {"error": f"setTraceMask requires long traceMask argument{got}"}
        self._readings.trace_mask = mask
        return {"tracemask": mask}

    def _hash(self) -> dict[str, Any]:
        digests = self._readings.digests()
        return {"digests": [{"zxid": d.zxid, "digestVersion": d.version, "digest": d.signed} for d in digests]}

    def _configuration(self) -> dict[str, Any]:
        readings = self._readings
        config, settings = readings.config, readings.config.pipeline
        return {
            "client_port": readings.client_port,
            "data_dir": str(readings.directory("data") or ""),
            "data_log_dir": str(readings.directory("log") or ""),
            "tick_time": settings.tick_time_ms,
            "max_client_cnxns": config.max_client_connections,
            "min_session_timeout": settings.min_session_timeout_ms,
            "max_session_timeout": settings.max_session_timeout_ms,
            "server_id": 0,
            "client_port_listen_backlog": config.listen_backlog,
        }

    def _connections(self, *, brief: bool) -> dict[str, Any]:
        found = list(self._readings.connections())
        return {
            "connections": [_connection(each, brief=brief) for each in found if not each.secure],
            "secure_connections": [_connection(each, brief=brief) for each in found if each.secure],
        }

    def _dirs(self) -> dict[str, Any]:
        readings = self._readings
        return {"datadir_size": readings.directory_bytes("data"), "logdir_size": readings.directory_bytes("log")}

    def _dump(self) -> dict[str, Any]:
        return {
            "expiry_time_to_session_ids": _by_text(self._readings.sessions_by_expiry()),
            "session_id_to_ephemeral_paths": _by_text(self._readings.ephemerals()),
        }

    def _last_snapshot(self) -> dict[str, Any]:
        newest = self._readings.newest_snapshot()
        # -1 as Long.toHexString writes it
        return (
            {"zxid": "f" * 16, "timestamp": -1}
            if newest is None
            else {"zxid": f"{newest[0]:x}", "timestamp": newest[1]}
        )

    def _server_stats(self) -> dict[str, Any]:
        readings = self._readings
        pipeline = readings.pipeline
        figures = dict(monitor(readings))
        return {
            "version": VERSION_LINE,
            "read_only": False,
            "server_stats": {
                "packets_sent": readings.packets_sent,
                "packets_received": pipeline.counters.received,
                "fsync_threshold_exceed_count": readings.writer.slow_syncs,
                "client_response_stats": _NOT_KNOWN,
                "data_dir_size": readings.directory_bytes("data"),
                "provider_null": False,
                "log_dir_size": readings.directory_bytes("log"),
                "last_processed_zxid": pipeline.tree.last_zxid,
                "outstanding_requests": pipeline.outstanding,
                "server_state": "standalone",
                "avg_latency": readings.latency_average_ms,
                "max_latency": readings.latency_max_ms,
                "min_latency": readings.latency_min_ms,
                "num_alive_client_connections": readings.port.connection_count,
                "uptime": readings.uptime_ms,
                "auth_failed_count": pipeline.counters.auth_failed,
                "non_mtlsremote_conn_count": figures["non_mtls_remote_conn_count"],
                "non_mtlslocal_conn_count": figures["non_mtls_local_conn_count"],
            },
            "client_response": _NOT_KNOWN,
            "node_count": readings.node_count,
        }

    def _watch_summary(self) -> dict[str, Any]:
        connections, paths, watches = self._readings.watches()
        return {"num_connections": connections, "num_paths": paths, "num_total_watches": watches}


def _connection(reading: ConnectionReading, *, brief: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "remote_socket_address": reading.address,
        "interest_ops": reading.interest,
        "outstanding_requests": reading.outstanding,
        "packets_received": reading.received,
        "packets_sent": reading.sent,
    }
    if not brief:
        found |= {
            "session_id": reading.session_id,
            "last_operation": reading.last_operation,
            "established": reading.established_wall_ms,
            "session_timeout": reading.session_timeout_ms,
            "last_cxid": reading.last_cxid,
            "last_zxid": reading.last_zxid,
            "last_response_time": reading.last_reply_ms,
            "last_latency": reading.last_latency_ms,
            "min_latency": reading.min_latency_ms,
            "avg_latency": reading.average_latency_ms,
            "max_latency": reading.max_latency_ms,
        }
    return found


def _by_text(found: Mapping[int, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in found.items()}
