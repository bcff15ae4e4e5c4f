"""The server of an ensemble of one, as a machine: bytes in, log records out, then replies.

    receive --> requests --read, nothing of its own under way--> reads --> reply
                    |                 `--else--> waits behind the own write
                    `--write--> prep: txn or error --> Ready.persist ... persisted(zxid) --> final --> reply

In: opened, receive, closed, persisted, tick, each with the time handed in by `at`.  Out: `take()` -> Ready: payloads to
persist, connections with output, four letter words to answer, facts for the log.
Must not know sockets, files, threads or the clock.  Answers to ZooKeeperServer and its chain Prep -> Sync -> Final.
The chain's rooms: `prep`, `proposals`, `final`, `reads`; what stands beside it: `session_keeper`, `authentication`,
`refusals`, `containers`, `audit`; what leaves: `outbox`.

(1) A reply to a write, and the effect of it on any read or watch, can only come out of `persisted`.
(2) Replies leave a connection in the order of its requests; a watch event precedes the reply of the write that caused
    it on that connection, and any read that shows the new data.
(3) zxids rise by one per write, refused ones too; what is persisted has exactly those zxids, in order.
(4) A connection belongs to at most one session and a session to at most one connection.
(5) What a client sends can raise nothing out of here; an `InternalError` is a bug and must stop the server.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from coordination.auth.connection_auth import ConnectionAuth
from coordination.errors import KeeperError, SessionExpiredError
from coordination.state.announcer import Announcer
from coordination.state.audit import Audit
from coordination.state.authentication import Authentication
from coordination.state.clock import Clock
from coordination.state.connection import GONE, Connection
from coordination.state.connection_throttle import ConnectionThrottle
from coordination.state.containers import ContainerManager
from coordination.state.data_tree import DataTree
from coordination.state.final import Final
from coordination.state.outbox import Outbox
from coordination.state.prep import Prep, WriteRequest
from coordination.state.proposals import Proposals
from coordination.state.quotas import Reports
from coordination.state.reads import HANDLERS, SEARCHED_BYTES, SEARCHES, Readable
from coordination.state.ready import Counters, Ready, Settings
from coordination.state.refusals import Refusals
from coordination.state.session_keeper import SessionKeeper
from coordination.state.sessions import SessionTable, first_session_id
from coordination.state.tree_digest import TreeDigest, ZxidDigest
from coordination.state.txn import CloseSessionTxn, CreateSessionTxn, ErrorTxn, TxnBody, decode_entry
from coordination.state.znode import StoredNode
from coordination.wire import requests
from coordination.wire.records import ConnectRequest
from coordination.wire.replies import HEADER_BYTES, error_reply, pack_reply_head
from coordination.wire.server_connection import Event, FourLetterWord, Malformed, UnknownOperation, Violation

REPLIES_BYTES_MAX = 1 << 20
"""So much may stand in a connection's output before its next request is looked at: small requests for large values
must not fill the memory faster than the client takes them."""


class Pipeline:
    def __init__(self, settings: Settings, wall_ms: int, chance: Callable[[], float] = lambda: 1.0) -> None:
        """`chance` gives a number from 0 to 1, another one each time (for `connection_throttle`)."""
        self.settings = settings
        self.clock = Clock(wall_ms)
        self.counters = Counters()
        self.tree = DataTree()
        self.access = settings.auth.access_control()
        self.readable = Readable(self.tree, self.access)
        self.sessions = SessionTable(first_session_id(wall_ms))
        self.connections: dict[int, Connection] = {}
        self._words: list[tuple[Connection, FourLetterWord]] = []

        outbox = self._outbox = Outbox(self.readable)
        self.digest = TreeDigest(self.tree) if settings.digest_enabled else None
        proposals = self._proposals = Proposals(self.clock, self.digest)
        prep = self._prep = Prep(
            self.tree,
            self.access,
            extended_types=settings.extended_types,
            enforce_quota=settings.enforce_quota,
            reconfig_enabled=settings.reconfig_enabled,
            report=Reports(outbox.tell, self.clock, self._quota_refused),
        )
        self.throttle = ConnectionThrottle(settings.connection_throttle, chance, self.clock.now_ms)
        self._session_keeper = SessionKeeper(
            settings, self.sessions, self.tree, prep, proposals, outbox, self.counters, self.clock, self.throttle
        )
        self._authentication = Authentication(outbox, self.counters)
        self._enforces_auth = bool(settings.auth.enforced_schemes)
        self._containers = ContainerManager(
            self.tree,
            prep,
            proposals,
            self.clock,
            settings.container_check_ms,
            never_used_ms=settings.container_never_used_ms,
            per_minute=settings.containers_per_minute,
        )
        self._audit = None if settings.audit_as is None else Audit(proposals, outbox, settings.audit_as)
        refusals = Refusals(self.tree, proposals, outbox, self.counters)
        self._final = Final(
            self.readable,
            Announcer(self.readable, outbox, self.counters),
            prep,
            proposals,
            self._session_keeper,
            refusals,
            outbox,
            self.counters,
            self.clock,
        )
        self._others: dict[type, Callable[[Connection, Any], None]] = {
            requests.SetData: self._write,
            requests.Create: self._write,
            requests.CreateTtl: self._write,
            requests.Delete: self._write,
            requests.SetAcl: self._write,
            requests.Multi: self._write,
            requests.Reconfig: self._write,
            requests.CloseSession: self._session_keeper.close,
            requests.Auth: self._authentication.auth,
            requests.Sasl: self._authentication.sasl,
            ConnectRequest: self._session_keeper.connect,
            FourLetterWord: self._word,
            Malformed: refusals.malformed,
            UnknownOperation: refusals.unknown,
            Violation: refusals.violation,
        }
        """What is no read, by its type."""

    # --- recovery

    def replay(self, payload: bytes) -> None:
        """Apply one entry of the log at start; nobody is connected yet."""
        header, body, logged = decode_entry(payload)
        if self.digest is not None:
            self.digest.replaying(header, body)
        self.tree.replay(header, body)
        if self.digest is not None:
            self.digest.replayed(header.zxid, logged)
        if type(body) is CreateSessionTxn:
            self.sessions.track(header.client_id, body.timeout_ms, self.now_ms)
        elif type(body) is CloseSessionTxn:
            self.sessions.forget(header.client_id)

    def load(
        self,
        sessions: Mapping[int, int],
        acls: Mapping[int, Sequence[tuple[int, str, str]]],
        nodes: Iterable[StoredNode],
        zxid: int,
    ) -> None:
        """Begin with a snapshot: sessions (id -> timeout in ms), its ACL table, znodes parents first."""
        self.tree.load(acls, nodes, zxid)
        self._proposals.zxid = max(self._proposals.zxid, zxid)
        for session_id, timeout_ms in sessions.items():
            self.sessions.track(session_id, timeout_ms, self.now_ms)

    def promised(self, digest: tuple[int, int, int] | None) -> None:
        """The digest in the snapshot that was loaded (zxid, digest, version); None: it has none."""
        if self.digest is not None:
            self.digest.loaded(self.tree.last_zxid, None if digest is None else ZxidDigest(*digest))

    def zxid_digest(self) -> ZxidDigest | None:
        """The digest of the tree as it is now; None where none is kept."""
        return None if self.digest is None else self.digest.latest()

    def recovered(self) -> None:
        """The log is read: zxids go on behind it, every session gets its full timeout again.  One that the files know
        only as an owner of ephemerals ends after the shortest there is (ZooKeeper ends it at once: ZooKeeperServer.
        loadData); without an end its ephemerals would stay for ever.
        """
        self._proposals.zxid = max(self._proposals.zxid, self.tree.last_zxid)
        for owner in sorted(self.tree.ephemerals.keys() - self.sessions.by_id.keys()):
            self.sessions.track(owner, self.settings.min_session_timeout_ms, self.now_ms)
        if self.digest is not None:
            for name, details in self.digest.recovered():
                self._outbox.tell(name, **details)
        self.sessions.give_all_a_full_timeout(self.now_ms)

    # --- connections

    def opened(self, key: int, host: str, sasl_nonce: str = "") -> Connection:
        """A client at address `host`.  `sasl_nonce`: fresh randomness, wanted if `settings.auth.sasl_users` are
        configured.
        """
        auth = ConnectionAuth(self.settings.auth, host, sasl_nonce)
        settings = self.settings
        connection = Connection(
            key, auth, settings.frame_bytes_max, self.now_ms, awaits_trace_mask=settings.awaits_trace_mask
        )
        self.connections[key] = connection
        return connection

    def certified(self, connection: Connection, certificate: bytes) -> None:
        """TLS has verified this certificate (DER) of the client."""
        self._authentication.certified(connection, certificate)

    def closed(self, connection: Connection) -> None:
        """The socket is gone.  The session lives on: only its timeout or closeSession ends it."""
        self._outbox.let_go(connection)
        connection.phase = GONE
        connection.closing = True
        connection.waiting.clear()
        connection.out.clear()
        if self.connections.get(connection.key) is connection:
            del self.connections[connection.key]

    # --- requests

    def receive(self, connection: Connection, data: bytes) -> None:
        """Bytes came in.  Reads are answered here unless a write of this connection is under way."""
        if connection.closing or connection.ending:
            return
        incoming = connection.wire.receive_data(data)
        if not incoming:
            return
        count = len(incoming)
        self.counters.received += count
        connection.requests_received += count
        last = connection.last = incoming[-1]
        if type(last) is not requests.Ping:
            connection.last_request = last
        elif count > 1:
            connection.last_request = incoming[-2]
        if connection.stalled:
            connection.deferred += incoming
        else:
            self._handle(connection, incoming)

    def resume(self, connection: Connection) -> None:
        """The output of a stalled connection has been sent: go on with what it sent meanwhile."""
        if connection.waiting or connection.closing:
            return  # its writes come first; their replies will be sent, and this asked again
        incoming, connection.deferred = connection.deferred, []
        connection.stalled = False
        self._handle(connection, incoming)

    def _handle(self, connection: Connection, incoming: list[Event]) -> None:
        now_ms = self.clock.now_ms
        session = connection.session
        if session is not None:
            session.last_heard_ms = now_ms
        out, waiting = connection.out, connection.waiting
        if not out:
            self._outbox.dirty.append(connection)
        append, reads, state, zxid = out.append, HANDLERS, self.readable, self.tree.last_zxid
        answered = 0
        connection.last_zxid, connection.last_reply_ms = zxid, now_ms
        room = REPLIES_BYTES_MAX
        requests_left = iter(self._authentication.screened(connection, incoming) if self._enforces_auth else incoming)
        for request in requests_left:
            read = reads.get(type(request))
            if read is None:
                self._others[type(request)](connection, request)
                if connection.closing or connection.ending:
                    break
                session = connection.session
            elif session is None or session.closing:
                self._outbox.send_in_order(connection, error_reply(request.xid, zxid, SessionExpiredError.code))  # type: ignore[union-attr]
            elif waiting:
                waiting.append(request)
                room -= self._expected_bytes(request)
            else:
                answered += 1
                try:
                    body = read(state, connection, request)  # type: ignore[arg-type]
                except KeeperError as error:
                    append(error_reply(request.xid, zxid, error.code))  # type: ignore[union-attr]
                else:
                    append(pack_reply_head(HEADER_BYTES + len(body), request.xid, zxid, 0))  # type: ignore[union-attr]
                    append(body)
                    room -= len(body)
                if type(request) in SEARCHES:
                    room -= SEARCHED_BYTES * SEARCHES[type(request)](state, connection)
            if room < 0:
                # Not a write behind it is looked at either: a connection's requests take effect in their order.
                connection.stalled = True
                connection.deferred = list(requests_left)
                break
        connection.reads = answered
        self.counters.reads += answered

    def _expected_bytes(self, request: Any) -> int:
        """About how large the answer to a read will be that waits for a write: that write may be what makes it so."""
        if type(request) is requests.MultiRead:
            return sum(map(self._expected_bytes, request.operations))
        node = self._prep.find(getattr(request, "path", ""))
        return 100 if node is None else 100 + node.data_length + 32 * node.child_count

    def _write(self, connection: Connection, request: WriteRequest) -> None:
        """Decided against all that was decided before it; a refusal takes a zxid too and is logged as an error."""
        proposals, session, session_id = self._proposals, connection.session, connection.session_id
        body: TxnBody
        try:
            if session is None or session.closing:
                raise SessionExpiredError
            body = self._prep.decide(request, session_id, proposals.zxid + 1, connection.identities)
        except KeeperError as error:
            body = ErrorTxn(error.code)
        proposals.propose(connection, session_id, request.xid, request.opcode, body)
        if self._audit is not None:
            self._audit.asked(request)

    def _quota_refused(self, namespace: str) -> None:
        refused = self.counters.quota_refused
        refused[namespace] = refused.get(namespace, 0) + 1

    def _word(self, connection: Connection, word: FourLetterWord) -> None:
        self._words.append((connection, word))

    # --- the log and the time

    def at(self, now_ms: int, wall_ms: int) -> None:
        """The time of what comes next: `now_ms` monotonic for deadlines, `wall_ms` since 1970 for Stats."""
        self.clock.now_ms = now_ms
        self.clock.wall_ms = wall_ms

    def heard(self, connections: Iterable[Connection]) -> None:
        """Their bytes wait because the server is behind: they live."""
        for connection in connections:
            if connection.session is not None:
                connection.session.last_heard_ms = self.clock.now_ms

    def persisted(self, zxid: int) -> None:
        """Everything up to `zxid` is safe.  In an ensemble of one that is the whole quorum: commit it."""
        if self._audit is None:
            self._final.commit(zxid)
            return
        due = self._audit.due(zxid)
        self._final.commit(zxid)
        self._audit.committed(due)

    def answered_late(self, took_ms: int, reads: int, connections: Iterable[Connection]) -> None:
        """The round that ends here took a millisecond or more, from the first byte read to the last answer given away.

        `reads` were answered in it; `connections` had output in it.
        """
        if reads > 0:
            self.counters.late_read_latency_ms.observe(took_ms, reads)
            for connection in connections:
                if connection.reads and connection.last_reply_ms == self.clock.now_ms:
                    connection.took(took_ms, connection.reads)

    def tick(self) -> None:
        """Time has passed: expire sessions, look after containers."""
        self._session_keeper.expire()
        self._containers.tick()

    def next_deadline(self) -> int | None:
        """When `tick` has something to do, in ms of `now_ms`."""
        deadlines = (self.sessions.next_deadline(), self._containers.next_deadline())
        return min((each for each in deadlines if each is not None), default=None)

    # --- what comes out

    def take(self) -> Ready:
        dirty, facts = self._outbox.take()
        words, self._words = self._words, []
        return Ready(self._proposals.take(), self._proposals.zxid, dirty, words, facts)

    @property
    def is_ready(self) -> bool:
        """Would `take` give something to persist or to send?"""
        return self._proposals.has_payloads or bool(self._outbox.dirty)

    @property
    def outstanding(self) -> int:
        """Txns decided and not yet committed."""
        return len(self._proposals.under_way)

    @property
    def now_ms(self) -> int:
        return self.clock.now_ms

    @property
    def wall_ms(self) -> int:
        return self.clock.wall_ms
