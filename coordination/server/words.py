"""The four letter words: what an operator may ask a server without a session.

In: a word and the connection it came on.  Out: the text of the answer.
Puts Readings into the texts that tools of twenty years read; measures nothing.
Answers to ZooKeeper's FourLetterCommands and the classes of server.command.

(1) A word that is not in the whitelist gets exactly the refusal the real one gives.
(2) Line for line the keys and shapes of Apache ZooKeeper 3.9; values are ours.
"""

import time
from collections.abc import Callable, Iterator

from coordination.server.metrics import monitor
from coordination.server.readings import VERSION_LINE, ConnectionReading, Readings
from coordination.state.connection import Connection
from coordination.wire.server_connection import FourLetterWord

REFUSED = "{word} is not executed because it is not in the whitelist.\n"


class Words:
    """Answers a word."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings
        self._texts: dict[str, Callable[[], str]] = {
            "conf": self._conf,
            "cons": self._cons,
            "crst": self._crst,
            "dirs": self._dirs,
            "dump": self._dump,
            "envi": self._envi,
            "gtmk": lambda: str(readings.trace_mask),
            "hash": lambda: "".join(f"{each.zxid:x}: {each.signed}\n" for each in readings.digests()),
            "isro": lambda: "rw",
            "mntr": self._mntr,
            "ruok": lambda: "imok",
            "srst": self._srst,
            "srvr": self._srvr,
            "stat": self._stat,
            "wchc": self._wchc,
            "wchp": self._wchp,
            "wchs": self._wchs,
        }

    def answer(self, word: FourLetterWord, connection: Connection) -> str:
        """The text; `connection` is whoever asks."""
        name = word.word
        if name not in self._readings.config.words:
            return REFUSED.format(word=name)
        if name == "stmk":
            self._readings.trace_mask = int.from_bytes(word.argument[:8], "big", signed=True)
            return str(self._readings.trace_mask)
        return self._texts[name]()

    def _srvr(self) -> str:
        return f"Zookeeper version: {VERSION_LINE}\n" + self._statistics()

    def _stat(self) -> str:
        clients = "".join(f"{_line(each, brief=True)}\n" for each in self._readings.connections())
        return f"Zookeeper version: {VERSION_LINE}\nClients:\n{clients}\n{self._statistics()}"

    def _statistics(self) -> str:
        readings = self._readings
        pipeline = readings.pipeline
        return (
            f"Latency min/avg/max: {readings.latency_min_ms}/{readings.latency_average_ms}/{readings.latency_max_ms}\n"
            f"Received: {pipeline.counters.received}\n"
            f"Sent: {readings.packets_sent}\n"
            f"Connections: {readings.port.connection_count}\n"
            f"Outstanding: {pipeline.outstanding}\n"
            f"Zxid: 0x{pipeline.tree.last_zxid:x}\n"
            "Mode: standalone\n"
            f"Node count: {readings.node_count}\n"
        )

    def _cons(self) -> str:
        return "".join(f"{_line(each, brief=False)}\n" for each in self._readings.connections()) + "\n"

    def _mntr(self) -> str:
        return "".join(f"zk_{key}\t{value}\n" for key, value in monitor(self._readings))

    def _conf(self) -> str:
        readings = self._readings
        config, settings = readings.config, readings.config.pipeline
        lines = {
            "clientPort": readings.client_port,
            "secureClientPort": readings.secure_client_port,
            "dataDir": readings.directory("data") or "",
            "dataDirSize": readings.directory_bytes("data"),
            "dataLogDir": readings.directory("log") or "",
            "dataLogSize": readings.directory_bytes("log"),
            "tickTime": settings.tick_time_ms,
            "maxClientCnxns": config.max_client_connections,
            "minSessionTimeout": settings.min_session_timeout_ms,
            "maxSessionTimeout": settings.max_session_timeout_ms,
            "clientPortListenBacklog": config.listen_backlog,
            "serverId": 0,
        }
        return "".join(f"{key}={value}\n" for key, value in lines.items())

    def _envi(self) -> str:
        return "Environment:\n" + "".join(f"{key}={value}\n" for key, value in self._readings.environment())

    def _dirs(self) -> str:
        readings = self._readings
        return f"datadir_size: {readings.directory_bytes('data')}\nlogdir_size: {readings.directory_bytes('log')}\n"

    def _srst(self) -> str:
        self._readings.reset_statistics()
        return "Server stats reset.\n"

    def _crst(self) -> str:
        self._readings.reset_connection_statistics()
        return "Connection stats reset.\n"

    def _dump(self) -> str:
        return "".join(f"{line}\n" for line in self._dump_lines())

    def _dump_lines(self) -> Iterator[str]:
        readings = self._readings
        sessions, connections = readings.sessions_by_expiry(), readings.connections_by_expiry()
        yield "SessionTracker dump:"
        yield f"Session Sets ({len(sessions)})/({sum(map(len, sessions.values()))}):"
        for at_ms, ids in sessions.items():
            yield f"{len(ids)} expire at {_date(readings.wall_ms(at_ms))}:"
            yield from (f"\t{_hex(each)}" for each in ids)
        ephemerals = readings.ephemerals()
        yield "ephemeral nodes dump:"
        yield f"Sessions with Ephemerals ({len(ephemerals)}):"
        for owner, paths in ephemerals.items():
            yield f"{_hex(owner)}:"
            yield from (f"\t{path}" for path in paths)
        yield "Connections dump:"
        yield f"Connections Sets ({len(connections)})/({sum(map(len, connections.values()))}):"
        for at_ms, clients in connections.items():
            yield f"{len(clients)} expire at {_date(readings.wall_ms(at_ms))}:"
            for client in clients:
                yield f"\tip: /{client.address} sessionId: {_hex(client.connection.session_id)}"

    def _wchs(self) -> str:
        connections, paths, watches = self._readings.watches()
        return f"{connections} connections watching {paths} paths\nTotal watches:{watches}\n"

    def _wchc(self) -> str:
        found = self._readings.watched_paths()
        return "".join(f"{_hex(each)}\n" + "".join(f"\t{path}\n" for path in found[each]) for each in found) + "\n"

    def _wchp(self) -> str:
        found = self._readings.watching_sessions()
        return "".join(f"{path}\n" + "".join(f"\t{_hex(each)}\n" for each in found[path]) for path in found) + "\n"


def _line(reading: ConnectionReading, *, brief: bool) -> str:
    line = f" /{reading.address}[{reading.interest:x}](queued={reading.outstanding},"
    line += f"recved={reading.received},sent={reading.sent}"
    if not brief and reading.session_id:
        line += f",sid={_hex(reading.session_id)},lop={reading.last_operation},est={reading.established_wall_ms}"
        line += f",to={reading.session_timeout_ms}"
        if reading.last_cxid >= 0:
            line += f",lcxid=0x{reading.last_cxid:x}"
        line += f",lzxid={_hex(reading.last_zxid)},lresp={reading.last_reply_ms},llat={reading.last_latency_ms}"
        line += f",minlat={reading.min_latency_ms},avglat={reading.average_latency_ms}"
        line += f",maxlat={reading.max_latency_ms}"
    return line + ")"


def _hex(number: int) -> str:
    """As Long.toHexString: a negative number is shown as its 64 bits."""
    return f"0x{number & ((1 << 64) - 1):x}"


def _date(wall_ms: int) -> str:
    return time.strftime("%a %b %d %H:%M:%S %Z %Y", time.localtime(wall_ms / 1000))
