"""Who cost much waits until those who cost little were served: clients that rest, and whose turn comes next.

In: what serving one client took.  Out: whether it rests now; one client a round that may go on.
Knows no bytes and no request.  Answers to what a thread per core does for ZooKeeper's other clients.

(1) A client rests after a turn of more than COSTLY_NS, or one that ended with its output full; nothing is read from it
    and nothing sent to it until its turn comes.
(2) One client goes on per round, who has rested longest: a round costs the others one costly turn, however many ask for
    one.
"""

from collections import deque

from coordination.server.client import Client

COSTLY_NS = 10_000_000


class Turns:
    def __init__(self) -> None:
        self._resting: deque[Client] = deque()

    def __bool__(self) -> bool:
        return bool(self._resting)

    def judge(self, client: Client, took_ns: int) -> bool:
        """It was served and that took so long: does it rest now?"""
        if client.resting or (took_ns < COSTLY_NS and not client.connection.stalled):
            return False
        client.resting = True
        self._resting.append(client)
        return True

    def next(self) -> Client | None:
        """Who may go on (it may be closed by now)."""
        if not self._resting:
            return None
        client = self._resting.popleft()
        client.resting = False
        return client
