"""What cannot be served, and how that is said: a record that cannot be read, an operation not for clients, bytes that
are no protocol.

In: the events of `wire.server_connection` that are no request.  Out: an error and mostly the end of the connection.
Knows no znode and no session.  Answers to the failure paths of ZooKeeper's PrepRequestProcessor,
FinalRequestProcessor and NIOServerCnxn.

(1) A refusal harms its own connection only, and leaves a fact that says why.
"""

from coordination.errors import MarshallingError, UnimplementedError
from coordination.state.connection import Connection
from coordination.state.data_tree import DataTree
from coordination.state.outbox import Outbox
from coordination.state.proposals import Proposals
from coordination.state.ready import Counters
from coordination.state.txn import ErrorTxn
from coordination.wire import opcodes
from coordination.wire.replies import error_reply
from coordination.wire.server_connection import Malformed, UnknownOperation, Violation


class Refusals:
    def __init__(self, tree: DataTree, proposals: Proposals, outbox: Outbox, counters: Counters) -> None:
        self._tree = tree
        self._proposals = proposals
        self._outbox = outbox
        self._counters = counters

    def malformed(self, connection: Connection, request: Malformed) -> None:
        opcode = request.opcode
        self._outbox.tell("request_malformed", opcode=opcode, reason=request.reason, session_id=connection.session_id)
        if opcode in (opcodes.AUTH, opcodes.SASL):  # not answered (source: ZooKeeperServer.processPacket)
            self.violation(connection, Violation(request.reason))
        elif opcode == opcodes.MULTI:  # takes a zxid before it is looked at (source: PrepRequestProcessor)
            body = ErrorTxn(MarshallingError.code)
            self._proposals.propose(connection, connection.session_id, request.xid, opcode, body)
        else:
            encoded = error_reply(request.xid, self._tree.last_zxid, MarshallingError.code)
            self._outbox.send_in_order(connection, encoded)

    def unknown(self, connection: Connection, request: UnknownOperation) -> None:
        """Answered in its turn, as the last."""
        if connection.waiting:
            connection.waiting.append(request)
        else:
            self.refuse(connection, request)

    def refuse(self, connection: Connection, request: UnknownOperation) -> None:
        """Its turn has come."""
        self._outbox.tell("operation_refused", opcode=request.opcode, session_id=connection.session_id)
        self._outbox.say_last(connection, error_reply(request.xid, -1, UnimplementedError.code))

    def violation(self, connection: Connection, violation: Violation) -> None:
        """The end, behind the answers to what came before: the welcome of a session that is only being created, too."""
        self._counters.violations += 1
        self._outbox.tell("protocol_violation", reason=violation.reason, host=connection.host)
        self._outbox.send_last(connection)
