"""How a session begins, passes from one connection to another, and ends.

In: ConnectRequests, closeSession, the time.  Out: proposals to create and close sessions; welcomes and refusals.
Knows nothing of znodes but that a session's ephemerals go with it.  Answers to the session half of ZooKeeper's
ZooKeeperServer (processConnectRequest, finishSessionInit, expire); the table itself is `sessions`.

    ConnectRequest --no id--> proposed --committed--> welcome
          `--------- id and password --> attached --> welcome, or refused: never a silent new session

(1) A connection belongs to at most one session and a session to at most one connection.
(2) A session ends by a committed closeSession and by nothing else; from its proposal on it accepts nothing.
"""

from coordination.errors import InternalError
from coordination.state.clock import Clock
from coordination.state.connection import CONNECTING, ESTABLISHED, NEW, Connection
from coordination.state.connection_throttle import ConnectionThrottle
from coordination.state.data_tree import DataTree
from coordination.state.outbox import Outbox
from coordination.state.prep import Prep
from coordination.state.proposals import Proposal, Proposals
from coordination.state.ready import Counters, Settings
from coordination.state.sessions import Session, SessionTable, password_of
from coordination.state.txn import CreateSessionTxn
from coordination.wire import opcodes, requests
from coordination.wire.records import PASSWORD_BYTES, ConnectRequest, ConnectResponse
from coordination.wire.replies import frame


class SessionKeeper:
    def __init__(
        self,
        settings: Settings,
        sessions: SessionTable,
        tree: DataTree,
        prep: Prep,
        proposals: Proposals,
        outbox: Outbox,
        counters: Counters,
        clock: Clock,
        throttle: ConnectionThrottle,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._tree = tree
        self._prep = prep
        self._proposals = proposals
        self._outbox = outbox
        self._counters = counters
        self._clock = clock
        self._throttle = throttle

    # --- beginning

    def connect(self, connection: Connection, request: ConnectRequest) -> None:
        if connection.phase != NEW:
            raise InternalError("two ConnectRequests on one connection")
        throttle = self._throttle
        if not throttle.admits(self._clock.now_ms, renews=request.session_id != 0):
            self._counters.connections_throttled += 1
            reason = "too many ConnectRequests at once (connection_throttle_tokens)"
            self._outbox.tell("connection_refused", host=connection.host, reason=reason)
            self._outbox.close(connection)
            return
        self._counters.token_deficit.observe(throttle.deficit)
        self._counters.connect_requests += 1
        connection.legacy = request.read_only is None
        if request.last_zxid_seen > self._tree.last_zxid:
            # It has seen a future this server does not have: any answer would take it back in time.
            self._outbox.tell("client_ahead", client_zxid=request.last_zxid_seen, zxid=self._tree.last_zxid)
            self._outbox.close(connection)
            return
        connection.phase = CONNECTING
        limits = self._settings
        timeout_ms = min(max(request.timeout_ms, limits.min_session_timeout_ms), limits.max_session_timeout_ms)
        if request.session_id == 0:
            self._create(connection, request.protocol_version, timeout_ms)
        else:
            self._resume(connection, request, timeout_ms)

    def _create(self, connection: Connection, protocol_version: int, timeout_ms: int) -> None:
        session = self._sessions.track(self._sessions.new_id(), timeout_ms, self._clock.now_ms)
        _attach(connection, session)
        body = CreateSessionTxn(timeout_ms)
        # The txn's cxid is the protocol version: the first int of the record that asked, as in ZooKeeper's log.
        self._proposals.propose(connection, session.id, protocol_version, opcodes.CREATE_SESSION, body)

    def _resume(self, connection: Connection, request: ConnectRequest, timeout_ms: int) -> None:
        session = self._sessions.get(request.session_id)
        if session is not None and isinstance(session.connection, Connection):
            # As the real one does, even before the password is looked at.
            self._outbox.close(session.connection)
        if session is None or session.closing or request.password != password_of(request.session_id):
            self._refuse(connection)
            return
        self._counters.revalidations += 1
        self._sessions.track(session.id, timeout_ms, self._clock.now_ms)
        _attach(connection, session)
        self.welcome(connection)

    def welcome(self, connection: Connection) -> None:
        """Its session exists: say so, unless it is ending already."""
        session = connection.session
        assert session is not None
        if session.closing:
            self._refuse(connection)
            return
        connection.phase = ESTABLISHED
        read_only = None if connection.legacy else False
        response = ConnectResponse(0, session.timeout_ms, session.id, password_of(session.id), read_only)
        self._outbox.send(connection, frame(response.encode()))

    def _refuse(self, connection: Connection) -> None:
        """A session that does not exist (any more): said plainly."""
        read_only = None if connection.legacy else False
        response = ConnectResponse(0, 0, 0, bytes(PASSWORD_BYTES), read_only)
        self._outbox.send(connection, frame(response.encode()))
        self._outbox.close(connection)

    # --- ending

    def close(self, connection: Connection, request: requests.CloseSession) -> None:
        session = connection.session
        if session is None:
            return
        session.closing = True
        self._outbox.tell("session_closing", session_id=session.id)
        self._propose_close(connection, session, request.xid)

    def expire(self) -> None:
        """End the sessions nobody has heard of for longer than their timeout."""
        ephemerals = self._tree.ephemerals

        def burden(session: Session) -> int:
            return len(ephemerals.get(session.id, ())) // 2

        for session in self._sessions.expired(self._clock.now_ms, burden):
            self._counters.sessions_expired += 1
            self._outbox.tell("session_expired", session_id=session.id, timeout_ms=session.timeout_ms)
            self._propose_close(None, session, 0)

    def _propose_close(self, connection: Connection | None, session: Session, xid: int) -> None:
        body = self._prep.close_session(session.id, self._proposals.zxid + 1)
        self._proposals.propose(connection, session.id, xid, opcodes.CLOSE_SESSION, body)

    def ended(self, proposal: Proposal) -> None:
        """Its closeSession is committed; a connection that did not ask for it is closed without an answer."""
        session = self._sessions.forget(proposal.header.client_id)
        if session is None:
            return
        connection = session.connection
        if isinstance(connection, Connection) and connection is not proposal.connection:
            self._outbox.close(connection)


def _attach(connection: Connection, session: Session) -> None:
    session.connection = connection
    connection.session = session
    connection.session_id = session.id
