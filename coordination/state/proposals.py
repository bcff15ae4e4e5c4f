"""The order of all changes: each decision gets the next zxid, goes to the log, and waits there for its commit.

In: decisions, in the order they were made.  Out: payloads to persist; the proposals under way, oldest first.
Decides nothing and applies nothing.  Answers to ZooKeeper's ProposalRequestProcessor and to the zxids of
ZooKeeperServer.getNextZxid.

(1) zxids rise by one per proposal; the payloads have exactly those zxids, in order.
(2) The connection a write came from waits for it from here on.
"""

from collections import deque

from coordination.state.clock import Clock
from coordination.state.connection import Connection
from coordination.state.tree_digest import TreeDigest
from coordination.state.txn import (
    HEADER,
    CreateTxn,
    ErrorTxn,
    SetDataTxn,
    TxnBody,
    TxnHeader,
    create_payload,
    set_data_payload,
)
from coordination.wire import opcodes


class Proposal:
    """A decision on its way through the log.  `request_opcode`: what was asked, also where it was refused."""

    __slots__ = ("body", "connection", "header", "received_ms", "request_opcode", "xid")

    def __init__(
        self,
        header: TxnHeader,
        body: TxnBody,
        connection: Connection | None,
        xid: int,
        request_opcode: int,
        received_ms: int,
    ) -> None:
        self.header = header
        self.body = body
        self.connection = connection
        self.xid = xid
        self.request_opcode = request_opcode
        self.received_ms = received_ms


class Proposals:
    def __init__(self, clock: Clock, digest: TreeDigest | None = None) -> None:
        """`digest`: what goes behind each txn; None: nothing does."""
        self._clock = clock
        self.digest = digest
        self.zxid = 0
        """Of the newest proposal, or of what was recovered."""
        self.under_way: deque[Proposal] = deque()
        self._payloads: list[bytes] = []

    def propose(
        self, connection: Connection | None, session_id: int, xid: int, request_opcode: int, body: TxnBody
    ) -> None:
        """`connection` None: the server's own wish, nobody waits for the answer."""
        zxid = self.zxid = self.zxid + 1
        clock = self._clock
        type_ = opcodes.ERROR if type(body) is ErrorTxn else request_opcode
        header = TxnHeader(session_id, xid, zxid, clock.wall_ms, type_)
        proposal = Proposal(header, body, connection, xid, request_opcode, clock.now_ms)
        self.under_way.append(proposal)
        kind = type(body)
        if kind is SetDataTxn and body.data is not None:  # type: ignore[union-attr]
            payload = set_data_payload(header, body, body.data)  # type: ignore[arg-type, union-attr]
        elif kind is CreateTxn and body.data is not None:  # type: ignore[union-attr]
            payload = create_payload(header, body, body.data)  # type: ignore[arg-type, union-attr]
        else:
            payload = HEADER.pack(*header) + body.encode()
        if self.digest is not None:
            payload += self.digest.foresee(header, body)
        self._payloads.append(payload)
        if connection is not None:
            connection.waiting.append(proposal)

    @property
    def has_payloads(self) -> bool:
        """Would `take` give something?"""
        return bool(self._payloads)

    def take(self) -> list[bytes]:
        """What is to be persisted and was not taken yet."""
        payloads, self._payloads = self._payloads, []
        return payloads
