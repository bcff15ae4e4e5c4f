"""A change for a thousand watchers: what many sockets are to be sent, sent by several threads at once.

In: connections with something in their outputs.  Out: what their sockets took is gone from there; how many bytes.
Decides nothing, closes nothing, keeps nothing: a client that speaks TLS, that still has something unsent, or whose
socket takes less than all, is left to the ordinary way.  Answers to the workers of ZooKeeper's NIOServerCnxnFactory.

Why threads: a send on a socket that was not used a moment ago costs 10 to 20 us in the kernel (on one used again and
again 3: the rest is memory that is not in the caches), all of it without the interpreter.  Measured on two cores with a
thousand watchers, from the change to the last event: a quarter less, be the clients one thread or a thousand.  The
threads and the caller take the connections from one queue, one by one, so that whoever has a processor works, and
nobody is waited for that has none.

(1) While `send` runs each client belongs to one thread; when it returns, to the caller.
(2) A client's bytes leave in the order of its output.
(3) An error that is not the socket's comes out of `send`, and nothing more of that batch is sent.
(4) Where no thread is to be had the caller does it alone.
"""

import os
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from queue import SimpleQueue

from coordination.server.client import Client
from coordination.state.connection import Connection

CONNECTIONS_MIN = 200  # some of them named twice; for fewer, waking a thread costs more than it brings
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
HELPERS = min(3, _CORES) if _CORES > 1 else 0
"""Beside the caller: as many as we may have processors, so that one without a processor is made up for; no more than
three, since between two sends each needs the interpreter for about a sixth of the time."""


class _Batch:
    """What is to be sent.  `popleft` is one step for all threads: each connection is taken once."""

    def __init__(self, clients: Mapping[int, Client], connections: Iterable[Connection]) -> None:
        self._clients = clients
        self._connections = deque(dict.fromkeys(connections))
        self.bytes_sent: list[int] = []
        """By each thread that took part."""
        self.error: BaseException | None = None

    def work(self) -> None:
        find, connections = self._clients.get, self._connections
        bytes_sent = 0
        try:
            while connections:
                try:
                    connection = connections.popleft()
                except IndexError:
                    break  # another thread was quicker
                out = connection.out
                client = find(connection.key)
                if client is None or client.connection is not connection or not out:
                    continue
                if client.unsent or client.tls is not None:
                    continue
                data = out[0] if len(out) == 1 else b"".join(out)
                try:
                    sent = client.sock.send(data)
                except OSError:
                    continue  # whoever comes after us meets it again, and decides
                bytes_sent += sent
                out.clear()
                if sent < len(data):
                    out.append(data[sent:])
        except BaseException as error:
            self.error = error
            connections.clear()
        self.bytes_sent.append(bytes_sent)


class Broadcast:
    def __init__(self, helpers: int = HELPERS) -> None:
        self._helpers = helpers
        self._threads: list[threading.Thread] = []
        self._at_work: list[threading.Lock] = []
        self._batches: SimpleQueue[_Batch | None] = SimpleQueue()

    def send(self, clients: Mapping[int, Client], connections: Iterable[Connection]) -> int:
        """Send what stands in the outputs of `connections`; `clients` by the connections' keys, gone ones are missing.

        How many bytes the sockets took.
        """
        if len(self._threads) < self._helpers:
            self._start()
        batch = _Batch(clients, connections)
        for _ in self._threads:
            self._batches.put(batch)
        batch.work()
        for lock in self._at_work:  # a thread that comes later finds nothing left to take
            with lock:
                pass
        if batch.error is not None:
            raise batch.error
        return sum(batch.bytes_sent)

    def close(self) -> None:
        """End the threads."""
        for _ in self._threads:
            self._batches.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._at_work.clear()

    def _start(self) -> None:
        while len(self._threads) < self._helpers:
            lock = threading.Lock()
            thread = threading.Thread(target=self._run, args=(lock,), name="broadcast", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # a limit of the system's: those that have started will do
                self._helpers = len(self._threads)
                return
            self._at_work.append(lock)
            self._threads.append(thread)

    def _run(self, at_work: threading.Lock) -> None:
        while (batch := self._batches.get()) is not None:
            with at_work:
                batch.work()
