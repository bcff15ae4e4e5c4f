"""Final: a committed txn becomes part of the tree, is told to who watches it, and is answered to who asked for it.

In: how far the log is safe.  Out: the tree changed, watch events and replies in the connections' outputs.
Decides nothing: what a txn is was decided by prep.  Answers to ZooKeeper's FinalRequestProcessor, with
CommitProcessor's rule that what a connection sent behind a write is answered behind it.

(1) Apply, then events, then the reply: a watch event precedes the reply of the write that caused it on that connection.
(2) Txns are applied in the order of their zxids; a txn that does not fit the tree is a bug and stops the server.
"""

from typing import Any

from coordination.errors import InternalError, KeeperError
from coordination.state.announcer import Announcer
from coordination.state.answers import multi_reply, reply_body
from coordination.state.clock import Clock
from coordination.state.connection import GONE, Connection
from coordination.state.data_tree import Change, PartResult
from coordination.state.outbox import LastWords, Outbox
from coordination.state.prep import Prep
from coordination.state.proposals import Proposal, Proposals
from coordination.state.reads import HANDLERS, Readable
from coordination.state.ready import Counters
from coordination.state.refusals import Refusals
from coordination.state.session_keeper import SessionKeeper
from coordination.state.txn import SetDataTxn
from coordination.wire import opcodes
from coordination.wire.opcodes import EVENT_DATA_CHANGED
from coordination.wire.records import OPEN_ACL, STAT_BYTES
from coordination.wire.replies import HEADER_BYTES, error_reply, pack_reply_head, reply
from coordination.wire.server_connection import UnknownOperation

HELD_BYTES_MAX = 16 << 20
"""So much is answered at once to what waited for one write.  It is kept below that by what is expected of the answers
(`pipeline`); who makes them much larger than they could be expected to be (names of a hundred kilobytes) loses the
connection, since a read must not see the write behind it either."""


class Final:
    def __init__(
        self,
        readable: Readable,
        announcer: Announcer,
        prep: Prep,
        proposals: Proposals,
        session_keeper: SessionKeeper,
        refusals: Refusals,
        outbox: Outbox,
        counters: Counters,
        clock: Clock,
    ) -> None:
        self._readable = readable
        self._announcer = announcer
        self._prep = prep
        self._proposals = proposals
        self._session_keeper = session_keeper
        self._refusals = refusals
        self._outbox = outbox
        self._counters = counters
        self._clock = clock

    def commit(self, zxid: int) -> None:
        """Everything up to `zxid` is agreed on."""
        under_way, tree = self._proposals.under_way, self._readable.tree
        data_watches, fire = self._readable.data_watches, self._announcer.fire
        observe = self._counters.update_latency_ms.observe
        now_ms = self._clock.now_ms
        changes: list[Change] = []
        run_ms = run_length = 0  # writes that took equally long, one after the other: most of a batch
        while under_way and under_way[0].header.zxid <= zxid:
            proposal = under_way.popleft()
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
                    self._session_keeper.ended(proposal)
            took_ms = now_ms - proposal.received_ms
            if took_ms != run_ms:
                if run_length:
                    observe(run_ms, run_length)
                run_ms, run_length = took_ms, 0
            run_length += 1
            if connection is not None and connection.phase is not GONE and connection.waiting:
                connection.last_zxid, connection.last_reply_ms = header.zxid, now_ms
                connection.last_latency_ms = took_ms
                if took_ms:
                    connection.took(took_ms, 1)
                self._answer(connection, proposal, result, stat)
        if run_length:
            observe(run_ms, run_length)
            self._prep.settled(tree.last_zxid)  # nothing was decided meanwhile
            if self._proposals.digest is not None:
                self._proposals.digest.settled(tree.last_zxid)

    def _answer(
        self, connection: Connection, proposal: Proposal, result: PartResult | list[PartResult] | None, stat: bytes
    ) -> None:
        """The reply, then those that waited behind it.  `result` None: a setData, which gave this Stat."""
        waiting = connection.waiting
        if waiting.popleft() is not proposal:
            raise InternalError(f"{connection!r} waits for another write than the one that was committed")
        if result is None:
            out = connection.out
            if not out:
                self._outbox.dirty.append(connection)
            out.append(pack_reply_head(HEADER_BYTES + STAT_BYTES, proposal.xid, proposal.header.zxid, 0))
            out.append(stat)
        else:
            self._answer_write(connection, proposal, result)
        held = self._answer_held(connection) if waiting else 0
        if held:  # they came with the write or behind it: what it took is the most that they did
            self._counters.reads += held
            if took_ms := self._clock.now_ms - proposal.received_ms:
                self._counters.late_read_latency_ms.observe(took_ms, held)
                connection.took(took_ms, held)

    def _answer_write(self, connection: Connection, proposal: Proposal, result: PartResult | list[PartResult]) -> None:
        zxid = proposal.header.zxid
        opcode = proposal.request_opcode
        if opcode == opcodes.CREATE_SESSION:
            self._session_keeper.welcome(connection)
        elif isinstance(result, list):
            self._outbox.send(connection, reply(proposal.xid, zxid, multi_reply(result)))
        elif result.type == opcodes.ERROR:
            self._outbox.send(connection, error_reply(proposal.xid, zxid, result.code))
        elif result.code:
            raise InternalError(f"txn 0x{zxid:x} did not fit the tree: code {result.code} for {result.path}")
        elif opcode == opcodes.CLOSE_SESSION:
            self._outbox.say_last(connection, reply(proposal.xid, zxid))
        else:
            self._outbox.send(connection, reply(proposal.xid, zxid, reply_body(result)))

    def _answer_held(self, connection: Connection) -> int:
        """What waited behind a write of its connection, up to the next one; how many they were."""
        waiting, out, readable = connection.waiting, connection.out, self._readable
        # Reads were accepted while the session was open: one that is closing since then still gets its answers.
        append, reads, zxid = out.append, HANDLERS, readable.tree.last_zxid
        answered = answered_bytes = 0
        while waiting:
            held = waiting[0]
            kind = type(held)
            if kind is Proposal:
                break
            if answered_bytes > HELD_BYTES_MAX:
                self._outbox.tell("answers_too_large", host=connection.host, session_id=connection.session_id)
                self._outbox.say_last(connection, b"")
                break
            waiting.popleft()
            answered += 1
            read = reads.get(kind)
            if read is None:
                self._answer_other(connection, held)
            elif not connection.closing:
                if not out:  # before the read: setWatches puts events in front of its answer
                    self._outbox.dirty.append(connection)
                try:
                    body = read(readable, connection, held)
                except KeeperError as error:
                    append(error_reply(held.xid, zxid, error.code))
                else:
                    append(pack_reply_head(HEADER_BYTES + len(body), held.xid, zxid, 0))
                    append(body)
                    answered_bytes += len(body)
        return answered

    def _answer_other(self, connection: Connection, held: Any) -> None:
        """What waited and is no read: bytes are an answer that was ready before."""
        if type(held) is bytes:
            self._outbox.send(connection, held)
        elif connection.closing:
            return
        elif type(held) is LastWords:
            self._outbox.say_last(connection, held.encoded)
        elif type(held) is UnknownOperation:
            self._refusals.refuse(connection, held)
        else:
            raise InternalError(f"{connection!r} was kept waiting for {held!r}, which nobody answers")
