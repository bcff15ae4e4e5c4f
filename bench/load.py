"""A load generator for any ZooKeeper server, cheap enough not to be what is measured.

In:  a server's port and a `Workload`.  Out: replies per second, latencies, and how busy the generator itself was.
Raw sockets, frames encoded beforehand, replies counted by their lengths alone (and checked to be error-free in a first
lap). One process, one epoll. Its own ceiling is measured against `null_server`, which answers with canned bytes; a
cell in which the generator was busy nearly all the time says little about the server, and the report marks it.
"""

import multiprocessing
import os
import select
import socket
import struct
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate

_INT = struct.Struct(">i")
_HEAD = struct.Struct(">iii")  # length, xid, type
CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, PING, CLOSE = 1, 2, 3, 4, 5, 11, -11
STAT_BYTES = 68
REPLY_HEADER_BYTES = 4 + 16
NODE_EXISTS = -110
SESSION_TIMEOUT_MS = 30_000


def _string(text: str) -> bytes:
    data = text.encode()
    return _INT.pack(len(data)) + data


def _buffer(data: bytes) -> bytes:
    return _INT.pack(len(data)) + data


def frame(xid: int, opcode: int, body: bytes) -> bytes:
    return _HEAD.pack(8 + len(body), xid, opcode) + body


def create_body(path: str, data: bytes = b"", flags: int = 0) -> bytes:
    acl = _INT.pack(1) + _INT.pack(31) + _string("world") + _string("anyone")
    return _string(path) + _buffer(data) + acl + _INT.pack(flags)


def get_body(path: str, *, watch: bool = False) -> bytes:
    return _string(path) + (b"\1" if watch else b"\0")


def set_body(path: str, data: bytes) -> bytes:
    return _string(path) + _buffer(data) + _INT.pack(-1)


class Failed(Exception):
    """The server did something a benchmark cannot go on with."""


class Client:
    """One session on a blocking socket."""

    def __init__(self, port: int, timeout_s: float = 30.0) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout_s)
        # The kernel's timeout: with Python's own, each call would poll first, one system call more per message.
        self.sock.settimeout(None)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", int(timeout_s), 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = struct.pack(">iqiq", 0, 0, SESSION_TIMEOUT_MS, 0) + _buffer(bytes(16)) + b"\0"
        self.sock.sendall(_INT.pack(len(body)) + body)
        try:
            reply = self._frame()
        except (OSError, Failed):
            self.sock.close()
            raise
        if len(reply) < 8 or _INT.unpack_from(reply, 4)[0] <= 0:
            self.sock.close()
            raise Failed("the server refused a session")

    def _exactly(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = self.sock.recv(count - len(parts))
            if not part:
                raise Failed("the server closed the connection")
            parts += part
        return parts

    def _frame(self) -> bytes:
        return self._exactly(_INT.unpack(self._exactly(4))[0])

    def call(self, opcode: int, body: bytes) -> tuple[int, bytes]:
        """(error code, reply body), one request at a time."""
        self.sock.sendall(frame(1, opcode, body))
        reply = self._frame()
        return _INT.unpack_from(reply, 12)[0], reply[16:]

    def ensure(self, path: str, data: bytes) -> None:
        code, _ = self.call(CREATE, create_body(path, data))
        if code == NODE_EXISTS:
            code, _ = self.call(SET_DATA, set_body(path, data))
        if code:
            raise Failed(f"cannot create {path}: error {code}")

    def close(self) -> None:
        """End the session, so that the server does not carry it through later cells."""
        try:
            self.call(CLOSE, b"")
        except (OSError, Failed):
            pass
        self.sock.close()


@dataclass(frozen=True)
class Workload:
    """A cycle of requests and the length of each one's reply, length field included."""

    name: str
    requests: tuple[bytes, ...]
    reply_bytes: tuple[int, ...]


def _path(kind: str) -> str:
    return f"/bench-{kind}"


def reads(value_bytes: int = 100) -> Workload:
    return Workload(
        "get", (frame(1, GET_DATA, get_body(_path("get"))),), (REPLY_HEADER_BYTES + 4 + value_bytes + STAT_BYTES,)
    )


def writes(value_bytes: int = 100) -> Workload:
    body = set_body(_path("set"), b"s" * value_bytes)
    return Workload("set", (frame(1, SET_DATA, body),), (REPLY_HEADER_BYTES + STAT_BYTES,))


def mixed(value_bytes: int = 100, reads_per_write: int = 9) -> Workload:
    read, write = reads(value_bytes), writes(value_bytes)
    return Workload(
        "mixed",
        read.requests * reads_per_write + write.requests,
        read.reply_bytes * reads_per_write + write.reply_bytes,
    )


def churn(value_bytes: int = 100) -> Workload:
    """A znode that comes and goes, ephemeral so that none is left; for one client, whose requests keep their order."""
    path = _path("churn")
    return Workload(
        "churn",
        (frame(1, CREATE, create_body(path, b"c" * value_bytes, 1)), frame(1, DELETE, _string(path) + _INT.pack(-1))),
        (REPLY_HEADER_BYTES + 4 + len(path), REPLY_HEADER_BYTES),
    )


def prepare(port: int, value_bytes: int = 100) -> None:
    """The znodes the workloads use."""
    client = Client(port)
    for kind in ("get", "set", "fan"):
        client.ensure(_path(kind), b"v" * value_bytes)
    client.close()


class _Pipe:
    """One client that keeps `window` requests under way. Counts replies by bytes."""

    def __init__(self, client: Client, workload: Workload, window: int) -> None:
        self.client = client
        self.receive, self.write = client.sock.recv_into, client.sock.sendall
        self.cycle_length = len(workload.requests)
        laps = window // self.cycle_length + 2
        requests = workload.requests * laps
        self.ring = memoryview(b"".join(requests))
        self.offsets = [0, *accumulate(map(len, requests))]
        self.ends = list(accumulate(workload.reply_bytes))
        self.cycle_bytes = self.ends[-1]
        self.got_bytes = self.replies = self.sent = 0

    def send(self, count: int) -> None:
        begin = self.sent % self.cycle_length
        self.write(self.ring[self.offsets[begin] : self.offsets[begin + count]])
        self.sent += count

    def received(self, count: int) -> int:
        """How many replies these bytes completed."""
        self.got_bytes += count
        cycles, rest = divmod(self.got_bytes, self.cycle_bytes)
        replies = cycles * self.cycle_length + (bisect_right(self.ends, rest) if rest else 0)
        new, self.replies = replies - self.replies, replies
        return new


@dataclass(frozen=True)
class Rate:
    """What one cell gave."""

    per_second: float
    generator_busy: float
    """Processor time of the generator over wall time, 0 to 1."""


def run(port: int, workload: Workload, clients: int, window: int, seconds: float) -> Rate:
    """Keep `clients` x `window` requests under way for so long. Raises Failed when a reply is an error."""
    pipes: dict[int, _Pipe] = {}
    poll = select.epoll()
    try:
        for _ in range(clients):
            client = Client(port)
            pipes[client.sock.fileno()] = _Pipe(client, workload, window)
            _check(client, workload)
            poll.register(client.sock, select.EPOLLIN)
        buffer = bytearray(1 << 18)
        begin, busy = time.perf_counter(), time.process_time()
        end = begin + seconds
        for pipe in pipes.values():
            pipe.send(window)
        done = 0
        now = begin
        request = workload.requests[0]
        alone = workload.reply_bytes[0] if window == 1 and len(workload.requests) == 1 else 0
        while now < end:
            for fd, _ in poll.poll(1.0):
                pipe = pipes[fd]
                count = pipe.receive(buffer)
                if not count:
                    raise Failed("the server closed a connection under load")
                if (
                    count == alone
                ):  # one client, one request, one whole reply: the same as below, without the arithmetic
                    pipe.got_bytes += count
                    pipe.replies += 1
                    pipe.sent += 1
                    done += 1
                    pipe.write(request)
                    continue
                new = pipe.received(count)
                if new:
                    done += new
                    pipe.send(new)
            now = time.perf_counter()
        took, busy = now - begin, time.process_time() - busy
        for pipe in pipes.values():
            _drain(pipe)
    finally:
        poll.close()
        for pipe in pipes.values():
            pipe.client.close()
    return Rate(done / took, min(busy / took, 1.0))


def _check(client: Client, workload: Workload) -> None:
    """One lap with every reply looked at, since afterwards only lengths are."""
    for request, expected in zip(workload.requests, workload.reply_bytes, strict=True):
        client.sock.sendall(request)
        reply = client._frame()
        code = _INT.unpack_from(reply, 12)[0]
        if code or len(reply) + 4 != expected:
            raise Failed(f"{workload.name}: error {code}, a reply of {len(reply) + 4} bytes instead of {expected}")


def _drain(pipe: _Pipe) -> None:
    """Take the replies still under way: their number proves that none was an error (an error is shorter)."""
    expected = pipe.sent
    while pipe.replies < expected:
        data = pipe.client.sock.recv(1 << 16)
        if not data:
            raise Failed("the server closed a connection under load")
        pipe.received(len(data))
    if pipe.got_bytes % pipe.cycle_bytes not in (0, *pipe.ends):
        raise Failed("the replies' lengths do not add up: some were errors")


def latencies_us(port: int, workload: Workload, count: int) -> list[float]:
    """One client, one request at a time: microseconds of each."""
    client = Client(port)
    request, expected = workload.requests[0], workload.reply_bytes[0]
    _check(client, workload)
    took = []
    send, receive, clock = client.sock.sendall, client.sock.recv, time.perf_counter_ns
    for _ in range(count):
        begin = clock()
        send(request)
        got = len(receive(4096))
        while got < expected:
            got += len(receive(4096))
        took.append((clock() - begin) / 1000)
    client.close()
    return took


def fan_out_ms(port: int, sessions: int, rounds: int) -> list[float]:
    """One change, so many sessions watching: ms from sending the set to the last session's event, per round."""
    watchers = [Client(port) for _ in range(sessions)]
    writer = Client(port)
    path = _path("fan")
    watch = frame(1, GET_DATA, get_body(path, watch=True))
    change = frame(1, SET_DATA, set_body(path, b"v" * 100))
    reply_bytes = REPLY_HEADER_BYTES + 4 + 100 + STAT_BYTES
    event_bytes = REPLY_HEADER_BYTES + 4 + 4 + 4 + len(path)
    took = []
    poll = select.epoll()
    for watcher in watchers:
        poll.register(watcher.sock, select.EPOLLIN)
    by_fd = {watcher.sock.fileno(): watcher for watcher in watchers}
    try:
        for _ in range(rounds):
            for watcher in watchers:
                watcher.sock.sendall(watch)
            _gather(poll, by_fd, reply_bytes)
            begin = time.perf_counter()
            writer.sock.sendall(change)
            _gather(poll, by_fd, event_bytes)
            took.append((time.perf_counter() - begin) * 1000)
            writer._frame()
    finally:
        poll.close()
        for client in (*watchers, writer):
            client.close()
    return took


def _gather(poll: select.epoll, clients: dict[int, Client], each_bytes: int) -> None:
    missing = dict.fromkeys(clients, each_bytes)
    while missing:
        for fd, _ in poll.poll(30.0):
            got = len(clients[fd].sock.recv(65536))
            if not got:
                raise Failed("the server closed a watcher's connection")
            left = missing[fd] - got
            if left > 0:
                missing[fd] = left
            else:
                del missing[fd]


@contextmanager
def null_server(workload: Workload) -> Iterator[int]:
    """A process that answers each request with canned bytes and no thought: the most generator and sockets can do.

    Gives its port.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    process = multiprocessing.get_context("fork").Process(
        target=_answer_blindly, args=(listener, workload), daemon=True
    )
    process.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
        process.kill()
        process.join()


def _answer_blindly(listener: socket.socket, workload: Workload) -> None:
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    socks: dict[int, socket.socket] = {}
    counts: dict[int, int] = {}
    connected = _INT.pack(37) + struct.pack(">iiq", 0, SESSION_TIMEOUT_MS, 1) + _buffer(bytes(16)) + b"\0"
    request_bytes = len(workload.requests[0])
    replies = b"".join((_INT.pack(length - 4) + bytes(length - 4)) * 4096 for length in workload.reply_bytes[:1])
    reply_bytes = workload.reply_bytes[0]
    view = memoryview(replies)
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                sock, _ = listener.accept()
                poll.register(sock, select.EPOLLIN)
                socks[sock.fileno()] = sock
                continue
            data = socks[fd].recv(1 << 18)
            if not data:
                poll.unregister(fd)
                socks.pop(fd).close()
                counts.pop(fd, None)
            elif fd not in counts:
                counts[fd] = 0
                socks[fd].sendall(connected)
            else:
                whole, counts[fd] = divmod(counts[fd] + len(data), request_bytes)
                if len(data) == 12:  # closeSession
                    socks[fd].sendall(_INT.pack(16) + bytes(16))
                elif whole:
                    socks[fd].sendall(view[: whole * reply_bytes])


def first_create_s(start: Callable[[], object], alive: Callable[[], bool], port: int, limit_s: float = 60.0) -> float:
    """Seconds from `start` (which launches a process and returns) to the reply to a first create.

    Failed when the process ends meanwhile, or takes too long.
    """
    begin = time.perf_counter()
    start()
    while time.perf_counter() - begin < limit_s:
        try:
            client = Client(port, 1.0)
            code, _ = client.call(CREATE, create_body("/first"))
        except (OSError, Failed):
            # Not there yet. A short wait on nothing, the same for every server; it bounds the figure's grain.
            if not alive():
                raise Failed("the server ended before it served") from None
            select.select([], [], [], 0.005)
            continue
        if code in (0, NODE_EXISTS):
            took = time.perf_counter() - begin
            client.close()
            return took
    raise Failed(f"no create succeeded within {limit_s:g} s")


def rss_mib(pid: int) -> float:
    """Resident memory of a process (Linux)."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1024


def cpu_s(pid: int) -> float:
    """Processor time a process has used, all threads, user and system (Linux)."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def load_average() -> float:
    return os.getloadavg()[0]
