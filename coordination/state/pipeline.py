"""The server of an ensemble of one, as a machine: bytes in, log records out, then replies.

    receive --> requests --read, nothing of its own under way--> reply
                    |                 `--else--> waits behind the own write
                    `--write--> prep: txn or error --> Ready.persist ... persisted(zxid) --> apply --> watches --> reply

In: opened, receive, closed, persisted, tick, each with the time handed in by `at`.  Out: `take()` -> Ready: payloads to
persist, connections with output, four letter words to answer, facts for the log.
Must not know sockets, files, threads or the clock.  Answers to ZooKeeperServer and its chain Prep -> Sync -> Final,
with CommitProcessor's rule for reads.

(1) A reply to a write, and the effect of it on any read or watch, can only come out of `persisted`.
(2) Replies leave a connection in the order of its requests; a watch event precedes the reply of the write that caused
    it on that connection, and any read that shows the new data.
(3) zxids rise by one per write, refused ones too; what is persisted has exactly those zxids, in order.
(4) A connection belongs to at most one session and a session to at most one connection.
(5) What a client sends can raise nothing out of here; an `InternalError` is a bug and must stop the server.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from coordination.auth.connection_auth import ConnectionAuth, Verdict
from coordination.errors import (
    InternalError,
    KeeperError,
    MarshallingError,
    ReconfigDisabledError,
    SessionExpiredError,
    UnimplementedError,
)
from coordination.state.announcer import Announcer
from coordination.state.answers import multi_reply, reply_body
from coordination.state.connection import CONNECTING, ESTABLISHED, GONE, NEW, Connection
from coordination.state.data_tree import Change, DataTree, PartResult, StoredNode, ttl_of_owner
from coordination.state.prep import Prep
from coordination.state.quotas import Exceeded
from coordination.state.reads import HANDLERS, Readable
from coordination.state.ready import Counters, Fact, LastWords, Proposal, Ready, Settings
from coordination.state.sessions import Session, SessionTable, first_session_id, password_of
from coordination.state.txn import (
    HEADER,
    CloseSessionTxn,
    CreateSessionTxn,
    ErrorTxn,
    SetDataTxn,
    TxnBody,
    TxnHeader,
    decode,
    set_data_payload,
)
from coordination.wire import opcodes, requests
from coordination.wire.jute import put_buffer
from coordination.wire.opcodes import EVENT_DATA_CHANGED
from coordination.wire.records import OPEN_ACL, PASSWORD_BYTES, STAT_BYTES, ConnectRequest, ConnectResponse
from coordination.wire.replies import (
    HEADER_BYTES,
    error_reply,
    frame,
    pack_reply_head,
    reply,
)
from coordination.wire.server_connection import BROKEN, Event, FourLetterWord, Malformed, UnknownOperation, Violation

QUOTA_TOLD_EVERY_MS = 1000
REPLIES_BYTES_MAX = 1 << 20
"""So much may stand in a connection's output before its next request is looked at: small requests for large values
must not fill the memory faster than the client takes them."""


class Pipeline:
    def __init__(self, settings: Settings, wall_ms: int) -> None:
        self.settings = settings
        self.tree = DataTree()
        self.access = settings.auth.access_control()
        self._enforces_auth = bool(settings.auth.enforced_schemes)
        self.readable = Readable(self.tree, self.access)
        self.counters = Counters()
        self.announcer = Announcer(self.readable, self.counters)
        self.sessions = SessionTable(first_session_id(wall_ms))
        self.prep = Prep(
            self.tree,
            self.access,
            extended_types=settings.extended_types,
            enforce_quota=settings.enforce_quota,
            report=self._quota_exceeded,
        )
        self._quota_told_ms: dict[tuple[str, str], int] = {}
        self.connections: dict[int, Connection] = {}
        self.now_ms = 0
        self.wall_ms = wall_ms
        self._proposals: deque[Proposal] = deque()
        self._zxid = 0
        self._persist: list[bytes] = []
        self._words: list[tuple[Connection, FourLetterWord]] = []
        self._facts: list[Fact] = []
        self._containers_due_ms: int | None = None
        self._others: dict[type, Callable[[Connection, Any], None]] = {
            requests.SetData: self._set_data,
            requests.Create: self._create,
            requests.CreateTtl: self._create,
            requests.Delete: self._delete,
            requests.SetAcl: self._set_acl,
            requests.CheckVersion: self._check,
            requests.Multi: self._multi,
            requests.Reconfig: self._reconfig,
            requests.CloseSession: self._close_session,
            requests.Auth: self._auth,
            requests.Sasl: self._sasl,
            ConnectRequest: self._connect,
            FourLetterWord: self._word,
            Malformed: self._malformed,
            UnknownOperation: self._unknown,
            Violation: self._violation,
        }

    # --- recovery

    def replay(self, payload: bytes) -> None:
        """Apply one entry of the log at start; nobody is connected yet."""
        header, body = decode(payload)
        self.tree.apply(header, body, [])
        self._zxid = max(self._zxid, header.zxid)
        if isinstance(body, CreateSessionTxn):
            self.sessions.track(header.client_id, body.timeout_ms, self.now_ms)
        elif isinstance(body, CloseSessionTxn):
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
        self._zxid = max(self._zxid, zxid)
        for session_id, timeout_ms in sessions.items():
            self.sessions.track(session_id, timeout_ms, self.now_ms)

    def recovered(self) -> None:
        """The log is read: every session gets its full timeout again."""
        self.sessions.give_all_a_full_timeout(self.now_ms)

    # --- events

    def at(self, now_ms: int, wall_ms: int) -> None:
        """The time of what comes next: `now_ms` monotonic for deadlines, `wall_ms` since 1970 for Stats."""
        self.now_ms = now_ms
        self.wall_ms = wall_ms

    def opened(self, key: int, host: str, sasl_nonce: str = "") -> Connection:
        """A client at address `host`.  `sasl_nonce`: fresh randomness, wanted if `settings.auth.sasl_users` are
        configured.
        """
        auth = ConnectionAuth(self.settings.auth, host, sasl_nonce)
        connection = Connection(key, auth, self.settings.frame_bytes_max, self.now_ms)
        self.connections[key] = connection
        return connection

    def closed(self, connection: Connection) -> None:
        """The socket is gone.  The session lives on: only its timeout or closeSession ends it."""
        self._let_go(connection)
        connection.phase = GONE
        connection.closing = True
        connection.waiting.clear()
        connection.out.clear()
        if self.connections.get(connection.key) is connection:
            del self.connections[connection.key]

    def receive(self, connection: Connection, data: bytes) -> None:
        """Bytes came in.  Reads are answered here unless a write of this connection is under way."""
        if connection.closing:
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
        session = connection.session
        if session is not None:
            session.last_heard_ms = self.now_ms
        out, waiting = connection.out, connection.waiting
        if not out:
            self.announcer.dirty.append(connection)
        append, reads, state, zxid = out.append, HANDLERS, self.readable, self.tree.last_zxid
        connection.last_zxid, connection.last_reply_ms = zxid, self.now_ms
        room = REPLIES_BYTES_MAX
        requests_left = iter(self._screened(connection, incoming) if self._enforces_auth else incoming)
        for request in requests_left:
            read = reads.get(type(request))
            if read is None:
                self._others[type(request)](connection, request)
                if connection.closing or connection.wire.phase is BROKEN:
                    return
                session = connection.session
            elif session is None or session.closing:
                self._answer_in_order(connection, error_reply(request.xid, zxid, SessionExpiredError.code))  # type: ignore[union-attr]
            elif waiting:
                waiting.append(request)
                room -= self._expected_bytes(request)
            else:
                try:
                    body = read(state, connection, request)  # type: ignore[arg-type]
                except KeeperError as error:
                    append(error_reply(request.xid, zxid, error.code))  # type: ignore[union-attr]
                else:
                    append(pack_reply_head(HEADER_BYTES + len(body), request.xid, zxid, 0))  # type: ignore[union-attr]
                    append(body)
                    room -= len(body)
            if room < 0:
                # Not a write behind it is looked at either: a connection's requests take effect in their order.
                connection.stalled = True
                connection.deferred = list(requests_left)
                return

    def _expected_bytes(self, request: Any) -> int:
        """About how large the answer to a waiting read will be."""
        node = self.tree.nodes.get(getattr(request, "path", ""))
        return 100 if node is None else 100 + len(node.data or b"") + 32 * node.child_count

    def persisted(self, zxid: int) -> None:
        """Everything up to `zxid` is safe.  In an ensemble of one that is the whole quorum: commit it."""
        self._commit(zxid)

    def tick(self) -> None:
        """Time has passed: expire sessions, look after containers."""
        for session in self.sessions.expired(self.now_ms):
            self.counters.sessions_expired += 1
            self._fact("session_expired", session_id=session.id, timeout_ms=session.timeout_ms)
            self._propose_close(session)
        due = self._containers_due_ms
        if due is not None and due <= self.now_ms:
            self._containers_due_ms = None
            self._remove_containers()

    def next_deadline(self) -> int | None:
        """When `tick` has something to do, in ms of `now_ms`."""
        tree = self.tree
        if self._containers_due_ms is None and (tree.containers or tree.ttls):
            self._containers_due_ms = self.now_ms + self.settings.container_check_ms
        deadlines = [each for each in (self.sessions.next_deadline(), self._containers_due_ms) if each is not None]
        return min(deadlines, default=None)

    def take(self) -> Ready:
        ready = Ready(self._persist, self._zxid, self.announcer.dirty, self._words, self._facts)
        self._persist, self.announcer.dirty, self._words, self._facts = [], [], [], []
        return ready

    def reset_statistics(self) -> None:
        """What `srst` sets to zero."""
        self.counters = self.announcer.counters = Counters()

    @property
    def outstanding(self) -> int:
        """Txns decided and not yet committed."""
        return len(self._proposals)

    # --- the handshake

    def _connect(self, connection: Connection, request: ConnectRequest) -> None:
        if connection.phase != NEW:
            raise InternalError("two ConnectRequests on one connection")
        self.counters.connect_requests += 1
        connection.legacy = request.read_only is None
        if request.last_zxid_seen > self.tree.last_zxid:
            # It has seen a future this server does not have: any answer would take it back in time.
            self._fact("client_ahead", client_zxid=request.last_zxid_seen, zxid=self.tree.last_zxid)
            self._close(connection)
            return
        limits = self.settings
        timeout_ms = min(max(request.timeout_ms, limits.min_session_timeout_ms), limits.max_session_timeout_ms)
        connection.phase = CONNECTING
        if request.session_id == 0:
            session = self.sessions.track(self.sessions.new_id(), timeout_ms, self.now_ms)
            self._attach(connection, session)
            self._propose(
                connection, session.id, request.protocol_version, opcodes.CREATE_SESSION, CreateSessionTxn(timeout_ms)
            )
            return
        known = self.sessions.get(request.session_id)
        if known is not None and isinstance(known.connection, Connection):
            # As the real one does, even before the password is looked at.
            self._close(known.connection)
        if known is None or known.closing or request.password != password_of(request.session_id):
            self._refuse_session(connection)
            return
        self.counters.revalidations += 1
        self.sessions.track(known.id, timeout_ms, self.now_ms)
        self._attach(connection, known)
        self._welcome(connection)

    def _attach(self, connection: Connection, session: Session) -> None:
        session.connection = connection
        connection.session = session
        connection.session_id = session.id

    def _welcome(self, connection: Connection) -> None:
        session = connection.session
        assert session is not None
        if session.closing:
            self._refuse_session(connection)
            return
        connection.phase = ESTABLISHED
        read_only = None if connection.legacy else False
        response = ConnectResponse(0, session.timeout_ms, session.id, password_of(session.id), read_only)
        self._send(connection, frame(response.encode()))

    def _refuse_session(self, connection: Connection) -> None:
        """A session that does not exist (any more): said plainly, never a silent new one."""
        read_only = None if connection.legacy else False
        self._send(connection, frame(ConnectResponse(0, 0, 0, bytes(PASSWORD_BYTES), read_only).encode()))
        self._close(connection)

    # --- writes

    def _session_of(self, connection: Connection) -> Session:
        session = connection.session
        if session is None or session.closing:
            raise SessionExpiredError
        return session

    def _set_data(self, connection: Connection, request: requests.SetData) -> None:
        body: TxnBody
        type_ = opcodes.SET_DATA
        try:
            self._session_of(connection)
            body = self.prep.set_data(request, self._zxid + 1, connection.identities)
        except KeeperError as error:
            type_, body = opcodes.ERROR, ErrorTxn(error.code)
        self._propose(connection, connection.session_id, request.xid, opcodes.SET_DATA, body, type_)

    def _create(self, connection: Connection, request: requests.Create | requests.CreateTtl) -> None:
        def decide() -> TxnBody:
            return self.prep.create(request, connection.session_id, self._zxid + 1, connection.identities)

        self._decide(connection, request, decide)

    def _delete(self, connection: Connection, request: requests.Delete) -> None:
        self._decide(connection, request, lambda: self.prep.delete(request, self._zxid + 1, connection.identities))

    def _set_acl(self, connection: Connection, request: requests.SetAcl) -> None:
        self._decide(connection, request, lambda: self.prep.set_acl(request, self._zxid + 1, connection.identities))

    def _check(self, connection: Connection, request: requests.CheckVersion) -> None:
        self._decide(connection, request, lambda: self.prep.check(request, connection.identities))

    def _multi(self, connection: Connection, request: requests.Multi) -> None:
        def decide() -> TxnBody:
            return self.prep.multi(request, connection.session_id, self._zxid + 1, connection.identities)[0]

        self._decide(connection, request, decide)

    def _reconfig(self, connection: Connection, request: requests.Reconfig) -> None:
        def decide() -> TxnBody:
            if self.settings.reconfig_enabled:
                raise UnimplementedError(message="a standalone server cannot be reconfigured")
            raise ReconfigDisabledError

        self._decide(connection, request, decide)

    def _close_session(self, connection: Connection, request: requests.CloseSession) -> None:
        session = connection.session
        if session is None:
            return
        session.closing = True
        body = self.prep.close_session(session.id, self._zxid + 1)
        self._fact("session_closing", session_id=session.id)
        self._propose(connection, session.id, request.xid, opcodes.CLOSE_SESSION, body)

    def _propose_close(self, session: Session) -> None:
        body = self.prep.close_session(session.id, self._zxid + 1)
        self._propose(None, session.id, 0, opcodes.CLOSE_SESSION, body)

    def _remove_containers(self) -> None:
        """Containers that had children and have none now, TTL nodes whose time is over (source: ContainerManager)."""
        nodes = self.tree.nodes
        empty = [p for p in self.tree.containers if not nodes[p].child_count and nodes[p].creations > 0]
        for path in self.tree.ttls:
            node = nodes[path]
            if not node.child_count and self.wall_ms - node.mtime_ms > ttl_of_owner(node.owner):
                empty.append(path)
        for path in empty:
            try:
                body = self.prep.delete_container(path, self._zxid + 1)
            except KeeperError:
                continue  # filled or gone in a txn still under way: next time
            self._propose(None, 0, 0, opcodes.DELETE_CONTAINER, body)

    def _decide(
        self, connection: Connection, request: requests.WriteOperation | Any, decide: Callable[[], TxnBody]
    ) -> None:
        body: TxnBody
        type_: int = request.opcode
        try:
            self._session_of(connection)
            body = decide()
        except KeeperError as error:
            type_, body = opcodes.ERROR, ErrorTxn(error.code)
        self._propose(connection, connection.session_id, request.xid, request.opcode, body, type_)

    def _propose(
        self,
        connection: Connection | None,
        client_id: int,
        xid: int,
        request_opcode: int,
        body: TxnBody,
        type_: int | None = None,
    ) -> None:
        zxid = self._zxid = self._zxid + 1
        header = TxnHeader(client_id, xid, zxid, self.wall_ms, request_opcode if type_ is None else type_)
        proposal = Proposal(header, body, connection, xid, request_opcode, self.now_ms)
        self._proposals.append(proposal)
        if type(body) is SetDataTxn and body.data is not None:
            self._persist.append(set_data_payload(header, body, body.data))
        else:
            self._persist.append(HEADER.pack(*header) + body.encode())
        if connection is not None:
            connection.waiting.append(proposal)

    # --- commit

    def _commit(self, zxid: int) -> None:
        proposals, tree = self._proposals, self.tree
        data_watches, fire = self.readable.data_watches, self.announcer.fire
        observe = self.counters.update_latency_ms.observe
        now_ms = self.now_ms
        changes: list[Change] = []
        run_ms = run_length = 0  # writes that took equally long, one after the other: most of a batch
        while proposals and proposals[0].header.zxid <= zxid:
            proposal = proposals.popleft()
            header, body, connection = proposal.header, proposal.body, proposal.connection
            result: PartResult | list[PartResult] | None
            if type(body) is SetDataTxn:  # what a busy server does most, without the general way's hand-overs
                node = tree.set_data(header, body)
                tree.last_zxid = header.zxid
                if data_watches.may_hear(body.path):
                    fire(Change(EVENT_DATA_CHANGED, body.path, node.acl, OPEN_ACL), header.zxid)
                result, stat = None, node.stat
            else:
                result, stat = tree.apply(header, body, changes), b""
                for change in changes:
                    fire(change, header.zxid)
                changes.clear()
                if proposal.request_opcode == opcodes.CLOSE_SESSION:
                    self._end_session(proposal)
            took_ms = now_ms - proposal.received_ms
            if took_ms != run_ms:
                if run_length:
                    observe(run_ms, run_length)
                run_ms, run_length = took_ms, 0
            run_length += 1
            if connection is not None and connection.phase is not GONE and connection.waiting:
                connection.writes += 1
                connection.last_zxid, connection.last_reply_ms = header.zxid, now_ms
                connection.last_latency_ms = took_ms
                if took_ms:
                    connection.latency_total_ms += took_ms
                    if took_ms > connection.latency_max_ms:
                        connection.latency_max_ms = took_ms
                self._answer(connection, proposal, result, stat)
        if run_length:
            observe(run_ms, run_length)
            self.prep.settled(tree.last_zxid)  # nothing was decided meanwhile

    def _answer(
        self, connection: Connection, proposal: Proposal, result: PartResult | list[PartResult] | None, stat: bytes
    ) -> None:
        """`result` None: a setData, which gave this Stat."""
        waiting = connection.waiting
        if waiting.popleft() is not proposal:
            raise InternalError(f"{connection!r} waits for another write than the one that was committed")
        if result is None:
            out = connection.out
            if not out:
                self.announcer.dirty.append(connection)
            out.append(pack_reply_head(HEADER_BYTES + STAT_BYTES, proposal.xid, proposal.header.zxid, 0))
            out.append(stat)
        else:
            self._answer_write(connection, proposal, result)
        while waiting and type(waiting[0]) is not Proposal:
            self._answer_held(connection, waiting.popleft())

    def _answer_write(self, connection: Connection, proposal: Proposal, result: PartResult | list[PartResult]) -> None:
        header = proposal.header
        opcode = proposal.request_opcode
        if opcode == opcodes.CREATE_SESSION:
            self._welcome(connection)
        elif isinstance(result, list):
            self._send(connection, reply(proposal.xid, header.zxid, multi_reply(result)))
        elif result.type == opcodes.ERROR:
            self._send(connection, error_reply(proposal.xid, header.zxid, result.code))
        elif result.code:
            raise InternalError(f"txn 0x{header.zxid:x} did not fit the tree: code {result.code} for {result.path}")
        else:
            self._send(connection, reply(proposal.xid, header.zxid, reply_body(result)))
            if opcode == opcodes.CLOSE_SESSION:
                self._close(connection)

    def _answer_held(self, connection: Connection, held: Any) -> None:
        """A request that waited behind a write of its connection; bytes are an answer that was ready before."""
        if type(held) is bytes:
            self._send(connection, held)
            return
        if connection.closing:
            return
        if type(held) is LastWords:
            self._send(connection, held.encoded)
            self._close(connection)
            return
        if isinstance(held, UnknownOperation):
            self._refuse_operation(connection, held)
            return
        zxid = self.tree.last_zxid
        # It was accepted while the session was open: one that is closing since then still gets its answer.
        if not connection.out:
            self.announcer.dirty.append(connection)
        try:
            body = HANDLERS[type(held)](self.readable, connection, held)
        except KeeperError as error:
            self._send(connection, error_reply(held.xid, zxid, error.code))
        else:
            self._send(connection, reply(held.xid, zxid, body))

    def _end_session(self, proposal: Proposal) -> None:
        session = self.sessions.forget(proposal.header.client_id)
        if session is None:
            return
        connection = session.connection
        if isinstance(connection, Connection) and connection is not proposal.connection:
            self._close(connection)

    # --- what is neither read nor write

    def _auth(self, connection: Connection, request: requests.Auth) -> None:
        """Identities count from the next request on, whatever is under way."""
        self._judged(connection, request.xid, connection.auth.auth(request.scheme, request.credential), b"")

    def _sasl(self, connection: Connection, request: requests.Sasl) -> None:
        verdict = connection.auth.sasl(request.token)
        self._judged(connection, request.xid, verdict, put_buffer(verdict.token))

    def certified(self, connection: Connection, certificate: bytes) -> None:
        """TLS has verified this certificate (DER) of the client."""
        verdict = connection.auth.certified(certificate)
        connection.identities = connection.auth.identities
        if verdict.close:
            self.counters.auth_failed += 1
            self._fact("auth_failed", reason=verdict.why, host=connection.host)
            self._close(connection)

    def _judged(self, connection: Connection, xid: int, verdict: Verdict, body: bytes) -> None:
        connection.identities = connection.auth.identities
        if verdict.why:
            self.counters.auth_failed += 1
            self._fact("auth_failed", reason=verdict.why, host=connection.host, session_id=connection.session_id)
        encoded = pack_reply_head(HEADER_BYTES + len(body), xid, 0, verdict.code) + body
        if verdict.close:
            self._last_words(connection, encoded)
        else:
            self._answer_in_order(connection, encoded)

    def _screened(self, connection: Connection, incoming: list[Event]) -> Iterator[Event]:
        """Where a scheme is enforced: an ordinary request of a connection that has not authenticated ends it."""
        for request in incoming:
            refusal = None if type(request) in _BEFORE_AUTHENTICATION else connection.auth.refusal()
            if refusal is None:
                yield request
                continue
            self._fact("request_refused", reason=refusal.why, host=connection.host, session_id=connection.session_id)
            self._last_words(connection, error_reply(request.xid, 0, refusal.code))  # type: ignore[union-attr]
            return

    def _word(self, connection: Connection, word: FourLetterWord) -> None:
        self._words.append((connection, word))

    def _malformed(self, connection: Connection, request: Malformed) -> None:
        self._fact("request_malformed", opcode=request.opcode, reason=request.reason, session_id=connection.session_id)
        if request.opcode in (opcodes.AUTH, opcodes.SASL):  # not answered (source: ZooKeeperServer.processPacket)
            self._violation(connection, Violation(request.reason))
            return
        if request.opcode == opcodes.MULTI:  # takes a zxid before it is looked at (source: PrepRequestProcessor)
            body = ErrorTxn(MarshallingError.code)
            self._propose(connection, connection.session_id, request.xid, request.opcode, body, opcodes.ERROR)
            return
        self._answer_in_order(connection, error_reply(request.xid, self.tree.last_zxid, MarshallingError.code))

    def _unknown(self, connection: Connection, request: UnknownOperation) -> None:
        if connection.waiting:
            connection.waiting.append(request)
        else:
            self._refuse_operation(connection, request)

    def _refuse_operation(self, connection: Connection, request: UnknownOperation) -> None:
        self._fact("operation_refused", opcode=request.opcode, session_id=connection.session_id)
        self._send(connection, error_reply(request.xid, -1, UnimplementedError.code))
        self._close(connection)

    def _violation(self, connection: Connection, violation: Violation) -> None:
        self.counters.violations += 1
        self._fact("protocol_violation", reason=violation.reason, host=connection.host)
        self._close(connection)

    # --- output

    def _answer_in_order(self, connection: Connection, encoded: bytes) -> None:
        if connection.waiting:
            connection.waiting.append(encoded)
        else:
            self._send(connection, encoded)

    def _last_words(self, connection: Connection, encoded: bytes) -> None:
        """One more answer, in order, then the end; nothing that came behind is looked at."""
        connection.wire.phase = BROKEN
        if connection.waiting:
            connection.waiting.append(LastWords(encoded))
        else:
            self._send(connection, encoded)
            self._close(connection)

    def _send(self, connection: Connection, encoded: bytes) -> None:
        out = connection.out
        if not out:
            self.announcer.dirty.append(connection)
        out.append(encoded)

    def _close(self, connection: Connection) -> None:
        """Nothing more is read from it; what stands in its output is still sent."""
        if connection.closing:
            return
        connection.closing = True
        self.announcer.dirty.append(connection)
        self._let_go(connection)

    def _let_go(self, connection: Connection) -> None:
        self.readable.data_watches.forget(connection)
        self.readable.child_watches.forget(connection)
        session = connection.session
        if session is not None and session.connection is connection:
            session.connection = None

    def _quota_exceeded(self, exceeded: Exceeded) -> None:
        """A limit was met; each is told once a second at most."""
        key = (exceeded.path, exceeded.what)
        if self.now_ms - self._quota_told_ms.get(key, -QUOTA_TOLD_EVERY_MS) >= QUOTA_TOLD_EVERY_MS:
            self._quota_told_ms[key] = self.now_ms
            self._fact("quota_exceeded", **exceeded._asdict())

    def _fact(self, name: str, **details: Any) -> None:
        self._facts.append(Fact(name, details))


_BEFORE_AUTHENTICATION = (ConnectRequest, requests.Auth, requests.Sasl, FourLetterWord, Violation)
