"""The client port: sockets <-> the pipeline, in one task.

In: bytes of every client.  Out: bytes to them.  Keeps order, decides nothing; knows no record.
Answers to ZooKeeper's NIOServerCnxnFactory.

One round: ask the poller once, read every ready socket, feed the pipeline, then write the log once and send once per
connection.  So everything that arrived together shares one fdatasync (group commit without a timer), and a change for a
thousand watchers is a thousand sends in a row.

(1) Bytes to a client leave in the order of its connection's `out`; what a full socket does not take waits for it.
(2) A client that does not read is not read from; one for which too much piles up (`backlog`) is closed.
(3) No client can hold the others up: a round reads at most RECEIVE_BYTES of each, those that cost much take turns
    (`turns`), and serving yields to trio's other tasks at least every ROUNDS_MS.
(4) A connection without a ConnectRequest is closed after a while (`admission`), as is one that does not take its last
    answer (`backlog`).
(5) What a client was told last reaches it: we close behind it, not before (`departures`).
(6) What is under way is bounded: WAITING_MAX requests of a client behind its own write, OUTSTANDING_MAX txns and
    GATHERED_BYTES_MAX of them behind a sync; beyond that nothing is read.
"""

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import trio

from coordination.auth.ip_address import java_text
from coordination.server.admission import Admission
from coordination.server.backlog import Backlog
from coordination.server.broadcast import CONNECTIONS_MIN, Broadcast
from coordination.server.client import Client, Listener, Traffic
from coordination.server.departures import Departures
from coordination.server.doors import Doors
from coordination.server.gathering import Gathering
from coordination.server.handshakes import Handshakes
from coordination.server.journal import Journal
from coordination.server.log_writer import LogWriter
from coordination.server.poller import READABLE, READY_MAX, WRITABLE, Poller
from coordination.server.tls_socket import TlsSocket
from coordination.server.turns import Turns
from coordination.state.connection import Connection
from coordination.state.pipeline import Pipeline
from coordination.wire.server_connection import FourLetterWord

RECEIVE_BYTES = 65536
OUTSTANDING_MAX = 10_000
ROUNDS_MS = 20
SESSIONLESS_MS = 10_000  # zookeeper.nio.sessionlessCnxnTimeout
WORDS_MS = 5  # of a round; the last one may take longer
WAITING_MAX = 2000
GATHERED_BYTES_MAX = 64 << 20


class ClientPort:
    def __init__(
        self,
        pipeline: Pipeline,
        listeners: Sequence[Listener],
        journal: Journal,
        answer_word: Callable[[FourLetterWord, Connection], str],
        *,
        connections_per_host_max: int = 60,
        connections_max: int = 0,
        outstanding_max: int = OUTSTANDING_MAX,
        sessionless_ms: int = SESSIONLESS_MS,
        handshakes_max: int = -1,
        keep_alive: bool = False,
    ) -> None:
        """`handshakes_max`: TLS handshakes under way at a time; -1: no limit.  `keep_alive`: SO_KEEPALIVE."""
        self.pipeline = pipeline
        self.writer: LogWriter
        self.after_commit: Callable[[], None] = lambda: None
        self._journal = journal
        self._answer_word = answer_word
        self._outstanding_max = outstanding_max
        self.sessionless_ms = sessionless_ms
        self._keep_alive = keep_alive
        self.traffic = Traffic()
        self._handshakes = Handshakes(self.traffic, journal, pipeline.certified, handshakes_max)
        self._clients: dict[int, Client] = {}
        self._poller = Poller()
        self._doors = Doors(listeners, self._poller, lambda reason: self._refuse("", reason))
        self._departures = Departures(self._poller, self._doors.room)
        self._admission = Admission(
            journal,
            per_host_max=connections_per_host_max,
            connections_max=connections_max,
            sessionless_ms=sessionless_ms,
        )
        self._backlog = Backlog()
        self._broadcast = Broadcast()
        self._turns = Turns()
        self._words: deque[tuple[Connection, FourLetterWord]] = deque()  # asked for and not answered yet
        self._held_up: set[Client] = set()  # not read from though they take what they are sent: we are behind
        self._gathering = Gathering(self._poller.ready, self._serve_ready)
        self._paused = False  # reading from clients stopped: too many txns under way
        self._time_keeper = trio.CancelScope()

    @property
    def connection_count(self) -> int:
        return len(self._clients)

    @property
    def clients(self) -> Iterable[Client]:
        """Every open connection, the oldest first."""
        return self._clients.values()

    @property
    def handshakes_under_way(self) -> int:
        return len(self._handshakes.under_way)

    async def run(self, writer: LogWriter) -> None:
        """Serve until cancelled; an error of the log comes out of here."""
        self.writer = writer
        writer.overlap = self._overlap
        self._doors.open()
        self._poller.add(writer.fileno())
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_time)
                while True:
                    if self._has_more:
                        await trio.lowlevel.checkpoint()
                    else:
                        await trio.lowlevel.wait_readable(self._poller.fileno())
                    self._serve()
        finally:
            for client in list(self._clients.values()):
                self._close(client)
            self._departures.close()
            self._broadcast.close()
            self._poller.close()

    # --- one turn

    def _serve(self) -> bool:
        """Rounds until nothing is ready (then True), or it is time to let other tasks run."""
        poll, counters = self._poller.ready, self.pipeline.counters
        begin = round_began = time.monotonic()
        done = True
        while (ready := poll()) or self._has_more:
            reads_before = counters.reads
            self._set_clock()
            self._serve_ready(ready)
            if self._gathering.writers:
                if self.writer.busy:
                    self._gathering.give_up()
                else:
                    self._gathering.wait(self.writer.sync_us)
            dirty = self._flush()
            self._next_turn()
            now = time.monotonic()
            took_ms = int((now - round_began) * 1000)
            if took_ms:
                self.pipeline.answered_late(took_ms, counters.reads - reads_before, dirty)
            if now - begin > ROUNDS_MS / 1000:
                done = False
                break
            round_began = now
        self._plan()
        return done

    def _serve_ready(self, ready: list[tuple[int, int]]) -> None:
        clients = self._clients
        for fd, mask in ready:
            client = clients.get(fd)
            if client is not None:
                if mask & READABLE:
                    self._receive(client)
                if mask & WRITABLE and client.writing:
                    self._send(client)
            elif fd == self.writer.fileno():
                self.writer.finished()
            elif fd in self._departures:
                self._departures.drain(fd)
            elif fd in self._doors:
                self._accept(fd)

    @property
    def _has_more(self) -> bool:
        """Is there something to do, though no socket is ready?"""
        return bool(self._turns or self._words) or self.pipeline.is_ready

    def _next_turn(self) -> None:
        client = self._turns.next()
        if client is not None and self._clients.get(client.fd) is client:
            if not client.writing:
                self._send(client)
            if self._clients.get(client.fd) is client:
                self._watch(client)

    def _overlap(self) -> float:
        """How many clients came with something while their last batch was synced, as a share of its writers."""
        waiting = sum(1 for fd, _ in self._poller.ready() if fd in self._clients)
        return waiting / max(1, self._gathering.last_writers)

    def _set_clock(self) -> None:
        self.pipeline.at(int(trio.current_time() * 1000), time.time_ns() // 1_000_000)

    def _receive(self, client: Client) -> None:
        try:
            if client.undecided is not None and (refusal := self._handshakes.decide(client, client.undecided)):
                self._refuse(client.host, refusal)
                self._close(client)
                return
            data = client.sock.recv(RECEIVE_BYTES) if client.tls is None else self._decrypt(client, client.tls)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.traffic.bytes_received += len(data)
            connection = client.connection
            begin = time.perf_counter_ns()
            self.pipeline.receive(connection, data)
            if self._turns.judge(client, time.perf_counter_ns() - begin):
                self._watch(client)
                self._send(client)  # at once: many large answers are held within bounds only there
            elif len(connection.waiting) > WAITING_MAX:
                self._watch(client)
            if connection.waiting:
                self._gathering.writers.add(connection)
        else:
            self._close(client)

    def _decrypt(self, client: Client, tls: TlsSocket) -> bytes:
        data = self._handshakes.receive(client, tls)
        if tls.pending:
            self._keep_unsent(client, client.unsent)
        if data is None:
            raise BlockingIOError
        return data

    def _flush(self) -> list[Connection]:
        """Persist, send, answer words, log: what the pipeline has ready.  Those who had something to be sent."""
        pipeline = self.pipeline
        ready = pipeline.take()
        dirty, words, facts = ready.dirty, ready.words, ready.facts
        if ready.persist:
            self.writer.append(ready.persist, ready.last_zxid)
            more = pipeline.take()  # what `persisted` gave, if the sync was done in place
            dirty += more.dirty
            facts += more.facts
            self.after_commit()
        clients = self._clients
        self._words += words
        end = time.monotonic() + WORDS_MS / 1000
        while self._words:
            connection, word = self._words.popleft()
            said = self._answer_word(word, connection).encode()
            self.traffic.word_bytes += len(said)
            connection.out.append(said)
            connection.closing = True
            dirty.append(connection)
            if time.monotonic() > end:
                break
        if len(dirty) >= CONNECTIONS_MIN:
            self.traffic.bytes_sent += self._broadcast.send(clients, dirty)
        for connection in dirty:
            client = clients.get(connection.key)
            if client is not None and client.connection is connection:
                self._send(client)
        if facts:
            for fact in facts:
                self._journal.write(fact.name, **fact.details)
        under_way = max(pipeline.outstanding / self._outstanding_max, self.writer.gathered_bytes / GATHERED_BYTES_MAX)
        if under_way > 1 and not self._paused:
            self._pause(True)
        elif self._paused and under_way <= 0.5:
            self._pause(False)
        return dirty

    def _send(self, client: Client) -> None:
        connection, tls = client.connection, client.tls
        out = connection.out
        if client.unsent:
            data = client.unsent
        elif out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
        elif (tls is not None and tls.pending) or connection.stalled:
            data = b""
        else:
            if connection.closing:
                self._close(client, politely=True)
            elif not client.reading:  # a broadcast has sent what it waited for
                self._watch(client)
            return
        while True:
            try:
                sent = client.sock.send(data) if tls is None else tls.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._close(client)
                return
            self.traffic.bytes_sent += sent
            if sent < len(data):
                self._keep_unsent(client, data[sent:])
                return
            if client.behind:
                out.insert(0, bytes(client.behind))
                client.behind.clear()
            if not out and connection.stalled and not connection.waiting and not client.resting:
                begin = time.perf_counter_ns()
                self.pipeline.resume(connection)
                self._turns.judge(client, time.perf_counter_ns() - begin)
            if not out:
                break
            data = b"".join(out)
            out.clear()
        if client.held_bytes:
            self._backlog.taken(client)
        if tls is not None and tls.pending:
            self._keep_unsent(client, b"")
        elif connection.closing:
            self._close(client, politely=True)
        elif client.writing or not client.reading:
            client.writing = False
            self._watch(client)

    def _keep_unsent(self, client: Client, rest: bytes) -> None:
        self._backlog.keep(client, rest, self.pipeline.now_ms)
        for slow in self._backlog.too_slow(client):
            self._journal.write("slow_reader_closed", host=slow.host, session_id=slow.connection.session_id)
            self._close(slow)
        if self._clients.get(client.fd) is client and not client.writing:
            client.writing = True
            self._watch(client)

    # --- sockets

    def _watch(self, client: Client) -> None:
        connection = client.connection
        full = client.resting or connection.stalled or len(connection.waiting) > WAITING_MAX
        client.reading = not (client.writing or full or self._paused)
        if client.reading or client.writing:
            self._held_up.discard(client)
        else:
            self._held_up.add(client)
        self._poller.change(client.fd, read=client.reading, write=client.writing)

    def _pause(self, paused: bool) -> None:
        """Stop (or go on) reading while the log catches up, so that what is under way stays bounded."""
        self._paused = paused
        self.traffic.pauses += paused
        for client in list(self._clients.values()):
            self._watch(client)

    def _accept(self, listener_fd: int) -> None:
        now_ms = self.pipeline.now_ms
        for sock, address, listener in self._doors.accept(listener_fd, now_ms):
            host = java_text(str(address[0]))
            refusal = self._admission.refusal(host, len(self._clients), len(self._departures))
            if not refusal and listener.context is not None and not listener.plain_too:
                refusal = self._handshakes.refusal()
            if refusal:
                self._refuse(host, refusal)
                sock.close()
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._keep_alive:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection = self.pipeline.opened(sock.fileno(), host, os.urandom(18).hex())
            client = self._clients[sock.fileno()] = Client(sock, host, int(address[1]), connection)
            self._handshakes.entered(client, listener)
            self._admission.enter(connection, now_ms)
            self._poller.add(client.fd)
            if self._paused:
                self._watch(client)

    def _refuse(self, host: str, reason: str) -> None:
        self.traffic.rejected += 1
        self._admission.tell_refused(host, reason, self.pipeline.now_ms)

    def _close(self, client: Client, *, politely: bool = False) -> None:
        """`politely`: everything for it is sent, and shall reach it."""
        if self._clients.pop(client.fd, None) is None:
            return
        self.traffic.dropped += 1
        self.pipeline.closed(client.connection)
        self._backlog.forget(client)
        self._held_up.discard(client)
        self._admission.leave(client.connection)
        self._handshakes.under_way.discard(client)
        self._poller.remove(client.fd)
        if client.tls is not None:
            client.tls.say_goodbye()
        if politely:
            self._departures.add(client.sock, self.pipeline.now_ms)
        else:
            client.sock.close()
        self._doors.room()

    # --- time

    def _next_deadline(self) -> int | None:
        deadlines = (
            self.pipeline.next_deadline(),
            self._admission.next_deadline(),
            self._backlog.next_deadline(),
            self._departures.next_deadline(),
            self._doors.next_deadline(),
        )
        return min((each for each in deadlines if each is not None), default=None)

    def _plan(self) -> None:
        """Wake the time keeper no later than the next thing that is due."""
        deadline = self._next_deadline()
        self._time_keeper.deadline = float("inf") if deadline is None else deadline / 1000

    async def _keep_time(self) -> None:
        while True:
            with trio.CancelScope() as self._time_keeper:
                self._plan()
                await trio.sleep_forever()
            await self._hear_everyone()
            self._set_clock()
            self.pipeline.heard(client.connection for client in self._held_up)
            self.pipeline.tick()
            self._end_overdue(self.pipeline.now_ms)
            self._flush()
            while self._has_more and not self._is_due():  # there may be more for as long as clients like
                await trio.lowlevel.checkpoint()
                self._serve()

    async def _hear_everyone(self) -> None:
        """Bytes that lie in our sockets are heard before anyone is declared dead: a server that was held up must not
        blame its clients for it.
        """
        for _ in range(2 + len(self._clients) // READY_MAX):
            await trio.lowlevel.checkpoint()
            if self._serve():
                break

    def _is_due(self) -> bool:
        deadline = self._next_deadline()
        return deadline is not None and deadline <= trio.current_time() * 1000

    def _end_overdue(self, now_ms: int) -> None:
        for connection in self._admission.overdue(now_ms):
            self.traffic.sessionless_expired += 1
            self._close(self._clients[connection.key])
        for client in self._backlog.overdue(now_ms):
            self._close(client)
        self._departures.tick(now_ms)
        self._doors.tick(now_ms)
