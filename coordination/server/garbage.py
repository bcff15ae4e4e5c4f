"""When Python's cycle collector runs, so that a large tree is never a pause.

A server makes garbage without cycles, nearly; but a full collection looks at every znode: about half a second for a
million.  So what has grown old is moved out of the collector's sight instead of being looked at again.

(1) No collection looks at more than YOUNG_OBJECTS * ROUNDS objects (a few ms each, as they come).
(2) What was moved out is still freed when its last reference goes. Only a cycle among such objects would stay, and they
    were all alive after the process had grown by YOUNG_OBJECTS * ROUNDS objects.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG_OBJECTS = 10_000
ROUNDS = 10

_rounds = 0


@contextmanager
def loading() -> Iterator[None]:
    """Around the recovery: everything it makes stays, and nothing of it is garbage with cycles."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        settle()
        gc.enable()


def settle() -> None:
    """What is alive now will live long: do not look at it again."""
    global _rounds
    _rounds = 0
    gc.freeze()


def serve() -> None:
    """From here on, as the module says."""
    gc.set_threshold(YOUNG_OBJECTS, 2 * ROUNDS, 1000)
    if _after_each not in gc.callbacks:
        gc.callbacks.append(_after_each)


def _after_each(phase: str, info: dict[str, int]) -> None:
    global _rounds
    if phase == "stop":
        _rounds += 1
        if _rounds >= ROUNDS:
            settle()
