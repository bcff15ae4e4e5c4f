"""A change for a thousand watchers: what many sockets are to be sent, sent by several threads at once.

In: clients with something in their outputs.  Out: what their sockets took is gone from the outputs; how many bytes.
Decides nothing, closes nothing, keeps nothing: a socket that takes less, or none, leaves the rest where it was, for the
ordinary way.  Answers to the worker threads of ZooKeeper's NIOServerCnxnFactory.

Why threads: a send on a socket that was not used a moment ago costs 10 to 20 us in the kernel (on one used again and
again 3: the rest is memory that is not in the caches), all of it without the interpreter.  Measured on two cores with a
thousand watchers: two thirds of the time where the clients want both cores too, as little as before where they are one
thread.  The threads and the caller take the clients from one iterator, one by one, so that whoever has a processor
works, and nobody is waited for that has none.

(1) While `send` runs each client belongs to one thread; when it returns, none to any.
(2) A client's bytes leave in the order of its output.
(3) An error that is not the socket's comes out of `send`.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue

from coordination.server.client import Client

CLIENTS_MIN = 64  # for fewer, waking a thread costs more than it brings
HELPERS = min(3, (os.cpu_count() or 1) - 1)
"""Beside the caller: between two sends each needs the interpreter for about a sixth of the time."""


class _Batch:
    """Clients to send to.  The next of the iterator is taken under the interpreter's lock: each is taken once."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self._clients: Iterator[Client] = iter(clients)
        self.bytes_sent: list[int] = []
        """By each thread that took part."""
        self.error: BaseException | None = None

    def work(self) -> None:
        bytes_sent = 0
        try:
            for client in self._clients:
                out = client.connection.out
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
        self.bytes_sent.append(bytes_sent)


class Broadcast:
    def __init__(self, helpers: int = HELPERS) -> None:
        self._helpers = helpers
        self._threads: list[threading.Thread] = []
        self._at_work: list[threading.Lock] = []
        self._batches: SimpleQueue[_Batch | None] = SimpleQueue()

    def send(self, clients: Sequence[Client]) -> int:
        """Send what stands in the outputs of `clients`, each of them once, all plain and with nothing unsent."""
        if len(self._threads) < self._helpers:
            self._start()
        batch = _Batch(clients)
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
            thread.start()
            self._at_work.append(lock)
            self._threads.append(thread)

    def _run(self, at_work: threading.Lock) -> None:
        while (batch := self._batches.get()) is not None:
            with at_work:
                batch.work()
