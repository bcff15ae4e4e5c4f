"""What the pipeline is told and what it hands out: its settings; what the shell must do; what is counted on the way.

In and out: fields.  Knows nothing of how they are made.  Answers to etcd's Ready, and to ZooKeeper's ServerStats and
ServerMetrics.

(1) `Ready` is carried out in the order of its fields: persist first, then send.
"""

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from coordination.auth.settings import AuthSettings
from coordination.state.connection import Connection
from coordination.state.connection_throttle import ThrottleSettings
from coordination.state.summary import Summary
from coordination.wire.frames import FRAME_BYTES_MAX
from coordination.wire.server_connection import FourLetterWord


@dataclass(frozen=True, slots=True)
class Settings:
    """What the machine must be told; times in ms, sizes in bytes (defaults: Apache ZooKeeper's)."""

    tick_time_ms: int = 2000
    min_session_timeout_ms: int = 4000
    max_session_timeout_ms: int = 40_000
    frame_bytes_max: int = FRAME_BYTES_MAX
    container_check_ms: int = 60_000
    extended_types: bool = False
    enforce_quota: bool = False
    auth: AuthSettings = field(default_factory=AuthSettings)
    reconfig_enabled: bool = False
    awaits_trace_mask: bool = True
    """The four letter word stmk is answered when its argument has come; False: it is not in the whitelist."""
    digest_enabled: bool = False
    """The digest of the tree is written behind each txn and at the end of each snapshot, and checked at start."""
    container_never_used_ms: int = 0
    """A container that never had a child goes after so long; 0: it stays."""
    containers_per_minute: int = 10_000
    """At most so many containers and TTL nodes are removed in a minute."""
    connection_throttle: ThrottleSettings = field(default_factory=ThrottleSettings)
    audit_as: str | None = None
    """Every change is told of as a fact, the server's own as this user's; None: none is."""


class Fact(NamedTuple):
    """Something worth a line in the log."""

    name: str
    details: dict[str, Any]


class Ready(NamedTuple):
    """What the shell must do now, in this order: persist (then say `persisted`), send, answer words, log."""

    persist: list[bytes]
    last_zxid: int
    dirty: list[Connection]
    words: list[tuple[Connection, FourLetterWord]]
    facts: list[Fact]


@dataclass(slots=True)
class Counters:
    """What srvr and mntr tell (source: ServerStats, ServerMetrics)."""

    received: int = 0
    reads: int = 0
    late_read_latency_ms: Summary = field(default_factory=Summary)
    """Of those reads that took a millisecond or more; the others took none."""
    update_latency_ms: Summary = field(default_factory=Summary)
    connect_requests: int = 0
    connections_throttled: int = 0
    token_deficit: Summary = field(default_factory=Summary)
    revalidations: int = 0
    sessions_expired: int = 0
    auth_failed: int = 0
    quota_refused: dict[str, int] = field(default_factory=dict)
    """By the first part of the paths."""
    violations: int = 0
    events_sent: int = 0
    watch_bytes: int = 0
    told_created: Summary = field(default_factory=Summary)
    told_deleted: Summary = field(default_factory=Summary)
    told_changed: Summary = field(default_factory=Summary)
    told_children: Summary = field(default_factory=Summary)

    def read_latency_ms(self) -> Summary:
        """Of all reads."""
        late = self.late_read_latency_ms
        every = late.copy()
        if self.reads > late.count:
            every.observe(0, self.reads - late.count)
        return every

    def reset(self) -> None:
        """What `srst` sets to zero."""
        fresh = Counters()
        for each in fields(self):
            setattr(self, each.name, getattr(fresh, each.name))
