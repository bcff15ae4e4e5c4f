"""Sessions: who is alive, by a clock that is handed in.

In: track, touch, expired(now_ms).  Out: the sessions whose time is over.  A session's password follows from its id.
Knows nothing of the tree and of sockets.  Answers to ZooKeeper's SessionTrackerImpl and ExpiryQueue.

(1) A session expires at the first bucket boundary at or after last_heard + timeout, never before; a bucket has
    EXPIRY_BUCKET_MS.
(2) touch() costs one store: a session is moved to its later bucket only when the old one comes due.
(3) An id is never given twice, also over restarts: ids start at the wall clock and above every id seen in the log.
(4) A session that is closing is tracked until its closeSession txn is applied, and accepts nothing meanwhile.
(5) One look costs a bounded time, but for a single session: where ten thousand come due at once, or some with a
    thousand ephemerals each, the rest comes due in the next one.
(6) A session stands in one bucket, its `due_ms`; where it stood before it is dropped when that comes due.
"""

import heapq
from collections.abc import Callable

EXPIRY_BUCKET_MS = 20
LOOKED_AT_MAX = 500
"""Sessions that come due in one look; to end one takes some 30 us, and 15 for each of its ephemerals, during which
nobody else is served."""
_MASK48 = (1 << 48) - 1
_JAVA_MULTIPLIER = 0x5DEECE66D
# ZooKeeper derives passwords with this constant; with another one a data directory could not be carried over.
_PASSWORD_SEED = 0xB3415C00


class Session:
    """One session.  `connection` is whoever serves it now, opaque here."""

    __slots__ = ("closing", "connection", "due_ms", "id", "last_heard_ms", "timeout_ms")

    def __init__(self, id_: int, timeout_ms: int, now_ms: int) -> None:
        self.id = id_
        self.timeout_ms = timeout_ms
        self.last_heard_ms = now_ms
        self.due_ms = -1  # when it is looked at next
        self.connection: object | None = None
        self.closing = False

    def __repr__(self) -> str:
        return f"<session 0x{self.id:x} {self.timeout_ms} ms{' closing' if self.closing else ''}>"


class SessionTable:
    def __init__(self, first_id: int) -> None:
        self.by_id: dict[int, Session] = {}
        self._next_id = first_id
        self._buckets: dict[int, list[Session]] = {}
        self._due: list[int] = []  # heap of the keys of _buckets

    def __len__(self) -> int:
        return len(self.by_id)

    def get(self, id_: int) -> Session | None:
        return self.by_id.get(id_)

    def new_id(self) -> int:
        id_ = self._next_id
        self._next_id += 1
        return id_

    def track(self, id_: int, timeout_ms: int, now_ms: int) -> Session:
        """Start to watch over a session; one that is known keeps its object and gets the new timeout, a full one."""
        if id_ >= self._next_id:
            self._next_id = id_ + 1
        session = self.by_id.get(id_)
        if session is None:
            session = self.by_id[id_] = Session(id_, timeout_ms, now_ms)
        session.timeout_ms = timeout_ms
        session.last_heard_ms = now_ms
        self._put(session)  # a shorter timeout than before must be able to come due earlier
        return session

    def forget(self, id_: int) -> Session | None:
        return self.by_id.pop(id_, None)  # its bucket entry is dropped when it comes due

    def next_deadline(self) -> int | None:
        """When expired() has something to look at, in ms of the clock handed in."""
        return self._due[0] if self._due else None

    def expired(self, now_ms: int, burden: Callable[[Session], int] = lambda session: 0) -> list[Session]:
        """Sessions whose time is over, marked closing, in the order their time ran out; at most LOOKED_AT_MAX.

        `burden`: as how many sessions more than itself one counts that is over.  If more may be over, `next_deadline`
        says so: it has passed.
        """
        over: list[Session] = []
        room = LOOKED_AT_MAX
        while self._due and self._due[0] <= now_ms and room > 0:
            due_ms = heapq.heappop(self._due)
            bucket = self._buckets.pop(due_ms)
            for looked_at, session in enumerate(bucket):
                if room <= 0:
                    self._buckets[due_ms] = bucket[looked_at:]
                    heapq.heappush(self._due, due_ms)
                    break
                room -= 1
                if session.due_ms != due_ms or session.closing or self.by_id.get(session.id) is not session:
                    continue
                if session.last_heard_ms + session.timeout_ms > now_ms:
                    self._put(session)
                else:
                    session.closing = True
                    over.append(session)
                    room -= burden(session)
        return over

    def give_all_a_full_timeout(self, now_ms: int) -> None:
        """After a restart nobody is to blame for the time the server was away."""
        for session in self.by_id.values():
            session.last_heard_ms = now_ms
            self._put(session)

    def _put(self, session: Session) -> None:
        deadline = session.last_heard_ms + session.timeout_ms
        key = -(-deadline // EXPIRY_BUCKET_MS) * EXPIRY_BUCKET_MS
        if session.due_ms == key:
            return
        session.due_ms = key
        bucket = self._buckets.get(key)
        if bucket is None:
            self._buckets[key] = [session]
            heapq.heappush(self._due, key)
        else:
            bucket.append(session)


def first_session_id(wall_ms: int, server_id: int = 0) -> int:
    """Where ids start: the clock in the middle, the server in the top byte (source: SessionTrackerImpl)."""
    return ((wall_ms << 24) & ((1 << 64) - 1)) >> 8 | (server_id << 56)


def password_of(session_id: int) -> bytes:
    """16 bytes that follow from the id: java.util.Random's first numbers, seeded with it (source: ZooKeeperServer)."""
    state = ((session_id ^ _PASSWORD_SEED) ^ _JAVA_MULTIPLIER) & _MASK48
    out = bytearray()
    for _ in range(4):
        state = (state * _JAVA_MULTIPLIER + 0xB) & _MASK48
        out += (state >> 16).to_bytes(4, "little")
    return bytes(out)
