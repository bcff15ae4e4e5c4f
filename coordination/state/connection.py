"""What the pipeline keeps for one client's connection: its session, its identities, its queue, its output.

In and out: fields, read and written by the pipeline; the shell takes `out` and sends it.  Knows no socket.
Answers to ZooKeeper's ServerCnxn.

(1) `waiting` is not empty exactly while a write of this connection is under way and will be answered; its first entry
    is that write, then come the requests behind it.  `deferred` holds requests nobody has looked at, and only of a
    stalled connection.
(2) Bytes in `out` are complete frames in the order the client must see them.
(3) After `closing` is set nothing more is read; what is in `out` is still sent.
"""

from collections import deque
from typing import Any

from coordination.auth.connection_auth import ConnectionAuth
from coordination.auth.identity import Identities
from coordination.state.sessions import Session
from coordination.wire.server_connection import Event, ServerConnection

# What a connection is in the middle of doing; `gone` is final.
NEW, CONNECTING, ESTABLISHED, GONE = "new", "connecting", "established", "gone"


class Connection:
    __slots__ = (
        "auth",
        "closing",
        "deferred",
        "ending",
        "events_sent",
        "identities",
        "key",
        "last",
        "last_latency_ms",
        "last_reply_ms",
        "last_request",
        "last_zxid",
        "latency_max_ms",
        "latency_total_ms",
        "legacy",
        "out",
        "phase",
        "reads",
        "requests_received",
        "session",
        "session_id",
        "since_ms",
        "stalled",
        "waiting",
        "wire",
    )

    def __init__(
        self, key: int, auth: ConnectionAuth, frame_bytes_max: int, now_ms: int, *, awaits_trace_mask: bool = True
    ) -> None:
        self.key = key  # what the shell knows this connection by
        self.wire = ServerConnection(frame_bytes_max, awaits_trace_mask=awaits_trace_mask)
        self.phase = NEW
        self.session: Session | None = None
        self.session_id = 0
        self.auth = auth
        self.identities: Identities = auth.identities  # beside `auth`: every check of an ACL reads it
        self.out: list[bytes] = []
        self.waiting: deque[Any] = deque()
        self.closing = False
        self.ending = False  # its last answer waits its turn: nothing it sent behind that request is looked at
        self.stalled = False  # its output is full: what it sends is put off until the shell has sent that
        self.deferred: list[Event] = []
        self.legacy = False  # an old client whose ConnectRequest has no readOnly byte
        self.since_ms = now_ms
        self.last: Event | None = None  # what came newest
        self.last_request: Event | None = None  # the same, pings not counted
        self.last_zxid = 0  # of the newest reply, which left at last_reply_ms
        self.last_reply_ms = now_ms
        self.reset_statistics()

    def reset_statistics(self) -> None:
        """What `crst` sets to zero."""
        self.requests_received = self.events_sent = 0
        self.reads = 0  # of the batch that came last, answered at once
        self.last_latency_ms = self.latency_total_ms = self.latency_max_ms = 0

    def took(self, latency_ms: int, times: int) -> None:
        """So many of its requests were answered so long after they came."""
        self.last_latency_ms = latency_ms
        self.latency_total_ms += latency_ms * times
        if latency_ms > self.latency_max_ms:
            self.latency_max_ms = latency_ms

    @property
    def requests_under_way(self) -> int:
        return len(self.waiting) + len(self.deferred)

    @property
    def host(self) -> str:
        return self.identities[0].id

    def __repr__(self) -> str:
        return f"<connection {self.key} {self.phase} session 0x{self.session_id:x}>"
