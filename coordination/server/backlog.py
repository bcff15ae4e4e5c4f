"""What clients have not taken yet: held for them, counted, and who must go for it.

In: what a socket did not take, and what stands in the output behind it.  Out: which clients hold too much, or take too
long over their last answer.
Sends nothing and closes nobody.  Answers to the outgoing buffers of ZooKeeper's NIOServerCnxn, which have no limit.

(1) A client is sent `unsent`, then `behind`, then its connection's `out`.
(2) One that lets OUTPUT_BYTES_MAX pile up behind what it was being sent is too slow: a single answer may be larger.
(3) All that is held is at most UNSENT_BYTES_MAX: whoever keeps his waiting longest goes.
(4) Who does not take its last answer within FAREWELL_MS goes without it.
(5) Keeping one more event costs the same however many are kept.
"""

from collections.abc import Iterator

from coordination.server.client import Client

OUTPUT_BYTES_MAX = 16 << 20
UNSENT_BYTES_MAX = 256 << 20
FAREWELL_MS = 10_000


class Backlog:
    def __init__(self) -> None:
        self._held_bytes = 0
        self._slow: dict[Client, None] = {}  # who has something here, the longest waiting first
        self._leaving: dict[Client, int] = {}  # when those are due that close; the first is due first

    def keep(self, client: Client, rest: bytes, now_ms: int) -> None:
        """Its socket did not take `rest`; what stands in its output comes behind that."""
        out = client.connection.out
        if out:
            client.behind += b"".join(out)
            out.clear()
        self._hold(client, rest)
        if client.connection.closing:
            self._leaving.setdefault(client, now_ms + FAREWELL_MS)

    def taken(self, client: Client) -> None:
        """Its socket took everything."""
        self._hold(client, b"")

    def forget(self, client: Client) -> None:
        self._leaving.pop(client, None)
        client.behind.clear()
        self._hold(client, b"")

    def too_slow(self, client: Client) -> Iterator[Client]:
        """Who must go, now that more is kept for `client`; each is to be forgotten before the next is asked for."""
        if client.held_bytes - len(client.unsent) > OUTPUT_BYTES_MAX:
            yield client
        while self._held_bytes > UNSENT_BYTES_MAX:
            yield next(iter(self._slow))

    def next_deadline(self) -> int | None:
        return next(iter(self._leaving.values()), None)

    def overdue(self, now_ms: int) -> list[Client]:
        return [client for client, due_ms in self._leaving.items() if due_ms <= now_ms]

    def _hold(self, client: Client, rest: bytes) -> None:
        client.unsent = rest
        held_bytes = len(rest) + len(client.behind)
        self._held_bytes += held_bytes - client.held_bytes
        client.held_bytes = held_bytes
        if held_bytes:
            self._slow[client] = None
        else:
            self._slow.pop(client, None)
