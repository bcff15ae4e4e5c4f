"""The time of the event under way, as the shell handed it in; nothing in this room reads a clock.

In: both times, before each event.  Out: the same to whoever needs them.  Knows nothing else.
"""


class Clock:
    """`now_ms` is monotonic, for deadlines; `wall_ms` counts since 1970, for Stats and txn headers."""

    __slots__ = ("now_ms", "wall_ms")

    def __init__(self, wall_ms: int) -> None:
        self.now_ms = 0
        self.wall_ms = wall_ms
