"""Durable history: what the server writes so that nothing acknowledged is ever lost. Blocking file I/O, no trio.

In:  txn payloads (opaque bytes that carry their zxid) and plain iterables of sessions, ACLs and znodes.
Out: the same, after a crash, in the same order; or a precise refusal.
The files are Apache ZooKeeper's own (`version-2/log.<zxid>`, `version-2/snapshot.<zxid>`): its tools and its server
read ours, we read its.

`txn_log` the log (`log_file` and `log_format` read it, `log_refusals` says why not) · `memory_log` its volatile twin ·
`snapshot` one snapshot file · `txn_snap_log` both together, restore and retention · `directory_lock` one server per
directory · `api` the protocol and the errors.
"""

from coordination.storage.api import (
    DirectoryLockedError,
    LogDamagedError,
    LogWriteError,
    Repair,
    SnapshotDamagedError,
    StorageError,
    TransactionLog,
)
from coordination.storage.memory_log import MemoryLog
from coordination.storage.snapshot import Snapshot, SnapshotWriter
from coordination.storage.txn_log import TxnLog
from coordination.storage.txn_snap_log import Restored, TxnSnapLog

__all__ = [
    "DirectoryLockedError",
    "LogDamagedError",
    "LogWriteError",
    "MemoryLog",
    "Repair",
    "Restored",
    "Snapshot",
    "SnapshotDamagedError",
    "SnapshotWriter",
    "StorageError",
    "TransactionLog",
    "TxnLog",
    "TxnSnapLog",
]
