"""Whether the digests written down in a data directory are those of the tree that its files give.

In: a data directory.  Out: how many digests were compared, how many differ, the first that does.
Reads only; grows the tree in memory as a server would at its start.  Answers to the digest checks of ZooKeeper's
DataTree (compareDigest, compareSnapshotDigests).

(1) It begins with the oldest sound snapshot from which the log goes on: the most txns are checked that can be.
(2) Up to the txn a fuzzy snapshot's digest belongs to, nothing can be compared.
"""

from dataclasses import dataclass
from pathlib import Path

from coordination.state.data_tree import DataTree
from coordination.state.tree_digest import DIGEST_VERSION, TreeDigest, ZxidDigest
from coordination.state.txn import decode_entry
from coordination.storage.api import StorageError
from coordination.storage.snapshot import Snapshot
from coordination.tools import log_scan
from coordination.tools.log_scan import LogReport


@dataclass(frozen=True, slots=True)
class DigestCheck:
    """What was found; `first_zxid` 0: nothing differs."""

    snapshot: Path
    compared: int
    mismatches: int
    first_zxid: int

    def fields(self) -> dict[str, object]:
        return {
            "snapshot": str(self.snapshot),
            "compared": self.compared,
            "mismatches": self.mismatches,
            "first_zxid": f"0x{self.first_zxid:x}" if self.first_zxid else None,
        }


def check(place: Path, reports: list[LogReport]) -> DigestCheck | None:
    """None where there is nothing to compare: no snapshot beside the log, or no digest in either.

    `reports`: of its log files.
    """
    if place.is_file():
        return None
    files = log_scan.log_files(place)
    for path in reversed(log_scan.snapshots_in(place)):
        tree = DataTree()
        digest = TreeDigest(tree)
        try:
            with Snapshot(path) as snapshot:
                tree.load(snapshot.acls, snapshot.nodes(), snapshot.zxid)
                promised = snapshot.digest
        except StorageError:
            continue
        first = next((zxid for file in files for zxid, _, _ in log_scan.payloads(file) if zxid > tree.last_zxid), 0)
        if first >> 32 == tree.last_zxid >> 32 and first > tree.last_zxid + 1:
            continue  # the log that would follow this snapshot is gone
        if log_scan.unexplained(reports, tree.last_zxid):
            continue  # or a part of it
        digest.loaded(tree.last_zxid, None if promised is None else ZxidDigest(*promised))
        compared = int(promised is not None and promised[0] != 0)
        for file in files:
            for zxid, payload, _ in log_scan.payloads(file):
                if zxid <= tree.last_zxid:
                    continue
                header, body, logged = decode_entry(payload)
                digest.replaying(header, body)
                tree.apply(header, body, [])
                digest.replayed(zxid, logged)
                compared += logged is not None and logged.version == DIGEST_VERSION
        wrong = digest.first_mismatch
        return DigestCheck(path, compared, digest.mismatches, wrong.zxid if wrong else 0) if compared else None
    return None
