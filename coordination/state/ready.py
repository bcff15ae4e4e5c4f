"""What the pipeline is told and what it hands out: its settings; what the shell must do; what is counted on the way.

In and out: fields.  Knows nothing of how they are made.  Answers to etcd's Ready, and to ZooKeeper's ServerStats and
ServerMetrics.

(1) `Ready` is carried out in the order of its fields: persist first, then send.
"""

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from coordination.auth.settings import AuthSettings
from coordination.state.connection import Connection
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
    digest_enabled: bool = False
    """The digest of the tree is written behind each txn and at the end of each snapshot, and checked at start."""


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
    """What srvr and mntr tell (source: ServerStats, ServerMetrics).  A read is answered at once: latencies are those of
    writes.
    """

    received: int = 0
    update_latency_ms: Summary = field(default_factory=Summary)
    connect_requests: int = 0
    revalidations: int = 0
    sessions_expired: int = 0
    auth_failed: int = 0
    violations: int = 0
    events_sent: int = 0
    watch_bytes: int = 0
    told_created: Summary = field(default_factory=Summary)
    told_deleted: Summary = field(default_factory=Summary)
    told_changed: Summary = field(default_factory=Summary)
    told_children: Summary = field(default_factory=Summary)

    def reset(self) -> None:
        """What `srst` sets to zero."""
        fresh = Counters()
        for each in fields(self):
            setattr(self, each.name, getattr(fresh, each.name))
