"""The digest of the tree: one number that two servers with the same znodes agree on, written behind every txn.

In: each txn when it is decided, before it is applied; at start, what snapshot and log say the digest was.
Out: the digest after that txn; how often the tree turned out to be another one than was promised.
Changes no znode, and the tree knows nothing of it: without digests a write pays nothing.
Answers to ZooKeeper's DigestCalculator, AdHash, and the precalculated digests of PrepRequestProcessor.

    digest of the tree  = sum of the digests of its znodes, as a long
    digest of a znode   = crc32(path + data + czxid mzxid pzxid ctime mtime version creations aversion owner)
    left out            = everything below /zookeeper/, whose sums and configuration each server keeps for itself

(1) The log gets the digest before the tree has the txn, so znodes that txns under way have changed are looked up in
    `_recent` first.  Every change passes through here: what stands there is right also after it was applied.
(2) Over a fuzzy snapshot nothing can be compared before the txn its digest belongs to; then the tree is counted anew.
(3) A mismatch is counted and told, and nothing else: as in ZooKeeper it is a finding, not a verdict on which is right.
(4) `foresee` says what `apply` will do to stats, and the two must agree: the digest is always `digest_of` the tree.
"""

from collections import deque
from collections.abc import Iterable
from struct import Struct
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

from coordination.state.data_tree import DataTree
from coordination.state.quotas import QUOTA_ROOT
from coordination.state.txn import (
    TXN_DIGEST,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    TxnBody,
    TxnDigest,
    TxnHeader,
)
from coordination.state.znode import CONTAINER_OWNER, Node, StoredStat, owner_of_ttl, wrap32

DIGEST_VERSION = 2
HISTORY_EVERY, HISTORY_MAX = 128, 1024
"""Every how many zxids `hash` remembers a digest, and how many of them."""

_LEFT_OUT = "/zookeeper/"
_LONG = (1 << 64) - 1
_RECENT_MAX = 4096
_STAT = Struct(">qqqqqiiiq")

Stat: TypeAlias = tuple[int, int, int, int, int, int, int, int, int]
"""czxid, mzxid, pzxid, ctime, mtime, version, creations, aversion, owner"""
Foreseen: TypeAlias = tuple[int, int, int | None, bytes | None, Stat | None]
"""zxid of the change, digest after it, crc32 of the path (None: left out), data, stat (None: there is no such znode)"""

assert QUOTA_ROOT.startswith(_LEFT_OUT)


class ZxidDigest(NamedTuple):
    """The digest of the tree after the txn `zxid`."""

    zxid: int
    digest: int
    version: int = DIGEST_VERSION

    @property
    def signed(self) -> int:
        """The digest as Java prints it."""
        return self.digest - (1 << 64) if self.digest >> 63 else self.digest


class Mismatch(NamedTuple):
    """After txn `zxid` the tree's digest is `found`, where `promised` was written down."""

    zxid: int
    promised: int
    found: int


def _path_crc(path: str) -> int | None:
    if path.startswith(_LEFT_OUT):
        return None
    return crc32(path.encode()) if path != "/" else 0


def _znode_digest(path_crc: int | None, data: bytes | None, stat: Stat) -> int:
    if path_crc is None:
        return 0
    return crc32(_STAT.pack(*stat), crc32(data, path_crc) if data else path_crc)


def znode_digest(path: str, data: bytes | None, stat: Stat) -> int:
    return _znode_digest(_path_crc(path), data, stat)


def stat_of(node: Node) -> Stat:
    return (
        node.czxid,
        node.mzxid,
        node.pzxid,
        node.ctime_ms,
        node.mtime_ms,
        node.version,
        node.creations,
        node.aversion,
        node.owner,
    )


def digest_stat(stored: StoredStat) -> Stat:
    """What a snapshot keeps of a Stat, in the order of digests."""
    czxid, mzxid, ctime_ms, mtime_ms, version, creations, aversion, owner, pzxid = stored
    return czxid, mzxid, pzxid, ctime_ms, mtime_ms, version, creations, aversion, owner


def digest_of(nodes: Iterable[tuple[str, Node]]) -> int:
    """The digest of these znodes, each looked at."""
    return sum(znode_digest(path, node.data, stat_of(node)) for path, node in nodes) & _LONG


class TreeDigest:
    def __init__(self, tree: DataTree) -> None:
        self._tree = tree
        self._recent: dict[str, Foreseen] = {}
        self._under_way: deque[tuple[int, int]] = deque()  # zxid, digest
        self._digest: int | None = None  # after every txn decided; None: not counted yet
        self._promised: ZxidDigest | None = None  # by a fuzzy snapshot, for a txn still to come
        self._settled = 0, 0
        self._history: deque[tuple[int, int]] = deque(maxlen=HISTORY_MAX)
        self.mismatches = 0
        self.first_mismatch: Mismatch | None = None

    # --- recovery

    def loaded(self, zxid: int, promised: ZxidDigest | None) -> None:
        """The tree is what a snapshot named for `zxid` holds, and this is the digest in it."""
        self._forget()
        if promised is not None and promised.zxid and promised.zxid >= zxid:
            self._promised = promised
            self._keep_promise(zxid)

    def replaying(self, header: TxnHeader, body: TxnBody) -> None:
        """A txn of the log is about to be applied."""
        if self._digest is not None:
            self.foresee(header, body)

    def replayed(self, zxid: int, logged: TxnDigest | None) -> None:
        """It was applied; `logged` stands behind it in the log."""
        if self._promised is not None:
            self._keep_promise(zxid)
            if self._promised is not None:
                return
        if self._digest is not None:
            self.settled(zxid)
        if logged is not None and logged.version == DIGEST_VERSION:
            self._compare(zxid, logged.digest)

    def recovered(self) -> list[tuple[str, dict[str, Any]]]:
        """Snapshot and log are read: from here on the digest is known.  Gives what is worth a line in the log."""
        found: list[tuple[str, dict[str, Any]]] = []
        if self.first_mismatch is not None:
            found.append(("digest_mismatch", {**self.first_mismatch._asdict(), "mismatches": self.mismatches}))
        if self._promised is not None:
            found.append(("snapshot_ahead_of_log", {"zxid": self._promised.zxid, "log_zxid": self._tree.last_zxid}))
        self._promised = None
        self._settled = self._tree.last_zxid, self._counted()
        return found

    def _keep_promise(self, zxid: int) -> None:
        """Compare with the digest of the snapshot, if this is the txn it belongs to."""
        promised = self._promised
        if promised is None or zxid < promised.zxid:
            return
        self._promised = None
        if zxid == promised.zxid and promised.version == DIGEST_VERSION:
            self._compare(zxid, promised.digest)

    def _compare(self, zxid: int, promised: int) -> None:
        found = self._counted()
        if found != promised & _LONG:
            self.mismatches += 1
            self.first_mismatch = self.first_mismatch or Mismatch(zxid, promised & _LONG, found)

    def _counted(self) -> int:
        if self._digest is None:
            self._digest = digest_of(self._tree.nodes.items())
        return self._digest & _LONG

    def _forget(self) -> None:
        self._recent.clear()
        self._under_way.clear()
        self._history.clear()
        self._digest = self._promised = None

    # --- serving

    def foresee(self, header: TxnHeader, body: TxnBody) -> bytes:
        """The TxnDigest to be written behind this txn; an error txn has none, as in ZooKeeper."""
        kind = type(body)
        if kind is SetDataTxn:
            self._set_data(header, body)  # type: ignore[arg-type]
        elif kind is not ErrorTxn:
            self._foresee_other(header, body)
        zxid, digest = header.zxid, self._digest & _LONG  # type: ignore[operator]
        self._under_way.append((zxid, digest))
        if zxid % HISTORY_EVERY == 0:
            self._history.append((zxid, digest))
        return b"" if kind is ErrorTxn else TXN_DIGEST.pack(DIGEST_VERSION, digest)

    def settled(self, zxid: int) -> None:
        """The tree holds everything up to `zxid` now."""
        under_way = self._under_way
        while under_way and under_way[0][0] <= zxid:
            self._settled = under_way.popleft()
        if len(self._recent) > _RECENT_MAX:
            self._recent = {path: each for path, each in self._recent.items() if each[0] > zxid}

    def latest(self) -> ZxidDigest:
        """Of the last txn applied."""
        return ZxidDigest(*self._settled)

    def history(self) -> list[ZxidDigest]:
        """One of each HISTORY_EVERY zxids, oldest first; nothing that is not committed."""
        return [ZxidDigest(*each) for each in self._history if each[0] <= self._settled[0]]

    # --- what a txn does to digests

    def _foresee_other(self, header: TxnHeader, body: TxnBody) -> None:
        match body:
            case CreateTxn(path, data, _, ephemeral, parent_cversion):
                self._create(header, path, data, header.client_id if ephemeral else 0, parent_cversion)
            case DeleteTxn(path):
                self._delete(header.zxid, path)
            case SetAclTxn(path, _, version):
                found = self._find(path)
                if found[4] is not None:
                    self._change(header.zxid, path, found, found[3], (*found[4][:7], version, found[4][8]))
            case CreateContainerTxn(path, data, _, parent_cversion):
                self._create(header, path, data, CONTAINER_OWNER, parent_cversion)
            case CreateTtlTxn(path, data, _, parent_cversion, ttl_ms):
                self._create(header, path, data, owner_of_ttl(ttl_ms), parent_cversion)
            case CloseSessionTxn(paths):
                for path in paths or ():
                    self._delete(header.zxid, path)
                for path in self._tree.ephemerals.get(header.client_id, ()):  # left over, as in `apply`
                    if self._find(path)[4] is not None:
                        self._delete(header.zxid, path)
            case MultiTxn(parts):
                if not any(type(part) is ErrorTxn for _, part in parts):
                    for _, part in parts:
                        self._foresee_other(header, part)
            case SetDataTxn():
                self._set_data(header, body)

    def _set_data(self, header: TxnHeader, txn: SetDataTxn) -> None:
        found = self._find(txn.path)
        stat = found[4]
        if stat is not None:
            zxid = header.zxid
            czxid, _, pzxid, ctime, _, _, creations, aversion, owner = stat
            after = (czxid, zxid, pzxid, ctime, header.time_ms, txn.version, creations, aversion, owner)
            self._change(zxid, txn.path, found, txn.data, after)

    def _create(self, header: TxnHeader, path: str, data: bytes | None, owner: int, parent_cversion: int) -> None:
        zxid, time_ms = header.zxid, header.time_ms
        parent_path = path[: path.rfind("/")] or "/"
        parent = self._find(parent_path)
        stat = parent[4]
        if stat is None:
            return
        czxid, mzxid, _, ctime, mtime, version, creations, aversion, its_owner = stat
        if parent_cversion == -1:
            parent_cversion = wrap32(creations + 1)
        if parent_cversion > creations:
            after = (czxid, mzxid, zxid, ctime, mtime, version, parent_cversion, aversion, its_owner)
            self._change(zxid, parent_path, parent, parent[3], after)
        found = self._find(path)
        if found[4] is None:
            self._change(zxid, path, found, data, (zxid, zxid, zxid, time_ms, time_ms, 0, 0, 0, owner))

    def _delete(self, zxid: int, path: str) -> None:
        parent_path = path[: path.rfind("/")] or "/"
        parent = self._find(parent_path)
        stat = parent[4]
        if stat is not None and zxid > stat[2]:
            self._change(zxid, parent_path, parent, parent[3], (*stat[:2], zxid, *stat[3:]))
        found = self._find(path)
        if found[4] is not None:
            self._change(zxid, path, found, None, None)

    def _find(self, path: str) -> Foreseen:
        """A znode as the txns under way leave it."""
        recent = self._recent.get(path)
        if recent is not None:
            return recent
        node = self._tree.nodes.get(path)
        path_crc = _path_crc(path)
        if node is None:
            return 0, 0, path_crc, None, None
        stat = stat_of(node)
        return 0, _znode_digest(path_crc, node.data, stat), path_crc, node.data, stat

    def _change(self, zxid: int, path: str, before: Foreseen, data: bytes | None, stat: Stat | None) -> None:
        path_crc = before[2]
        digest = 0 if stat is None else _znode_digest(path_crc, data, stat)
        self._digest += digest - before[1]  # type: ignore[operator]
        self._recent[path] = zxid, digest, path_crc, data, stat
