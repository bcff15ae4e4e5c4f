"""What leaves: answers into the connections' outputs, each in its turn; facts for the log; and a connection's end.

In: encoded frames, facts.  Out: the connections that have something to send now, and the facts, once each (`take`).
Knows no request and no txn.  Answers to ZooKeeper's NIOServerCnxn.sendResponse and close.

(1) An answer that is ready while a write of its connection is under way waits behind that write.
(2) Behind last words nothing is sent; what came in behind the request they answer is not looked at.
(3) A connection that closes hears of no watch any more and frees its session for another connection; the session lives
    on.
"""

from typing import Any, NamedTuple

from coordination.state.connection import Connection
from coordination.state.reads import Readable
from coordination.state.ready import Fact


class LastWords(NamedTuple):
    """An answer that waits behind a write; the connection ends with it.  Empty: it ends without one."""

    encoded: bytes


class Outbox:
    def __init__(self, readable: Readable) -> None:
        """`readable` holds the watches that a closing connection leaves behind."""
        self._readable = readable
        self.dirty: list[Connection] = []
        """Connections whose output was empty and is not any more, or that are closing."""
        self._facts: list[Fact] = []

    def take(self) -> tuple[list[Connection], list[Fact]]:
        dirty, facts = self.dirty, self._facts
        self.dirty, self._facts = [], []
        return dirty, facts

    def tell(self, name: str, **details: Any) -> None:
        self._facts.append(Fact(name, details))

    def send(self, connection: Connection, encoded: bytes) -> None:
        out = connection.out
        if not out:
            self.dirty.append(connection)
        out.append(encoded)

    def send_in_order(self, connection: Connection, encoded: bytes) -> None:
        if connection.waiting:
            connection.waiting.append(encoded)
        else:
            self.send(connection, encoded)

    def send_last(self, connection: Connection, encoded: bytes = b"") -> None:
        """One more answer, or none, in order, then the end."""
        connection.ending = True
        if connection.waiting:
            connection.waiting.append(LastWords(encoded))
        else:
            self.say_last(connection, encoded)

    def say_last(self, connection: Connection, encoded: bytes) -> None:
        """Its turn has come; writes behind it are carried out and not answered, as in ZooKeeper."""
        if encoded:
            self.send(connection, encoded)
        self.close(connection)
        connection.waiting.clear()

    def close(self, connection: Connection) -> None:
        """Nothing more is read from it; what stands in its output is still sent."""
        if connection.closing:
            return
        connection.closing = True
        self.dirty.append(connection)
        self.let_go(connection)

    def let_go(self, connection: Connection) -> None:
        """Forget its watches, and that it served its session."""
        self._readable.data_watches.forget(connection)
        self._readable.child_watches.forget(connection)
        session = connection.session
        if session is not None and session.connection is connection:
            session.connection = None
