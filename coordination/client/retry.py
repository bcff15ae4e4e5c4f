"""Which failures may be tried again, and when: only what is idempotent, only once the connection is back.

In: a call and something to await for the reconnection.  Out: the call's answer, or the failure that retrying cannot
mend.
Knows nothing of kazoo.  Answers to kazoo's KazooRetry and Curator's RetryLoop; unlike both it never repeats a write.

(1) A read (get, exists, children, sync) is repeated after a lost connection until it is answered, the session is lost
    or the caller cancels. The caller's cancel scope is the deadline; there is no second one in here.
(2) A write is never repeated: after `ConnectionLossError` it may have happened, and doing it twice is not doing it once
    (a sequential create makes two znodes, a versioned set refuses itself). Only the caller knows what to read back.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from coordination.errors import ConnectionLossError, OperationTimeoutError

T = TypeVar("T")


async def until_answered(read: Callable[[], Awaitable[T]], reconnected: Callable[[], Awaitable[object]]) -> T:
    """`read()`'s answer; `reconnected` returns once there is a connection and raises if there will be none in this
    session.
    """
    while True:
        try:
            return await read()
        except (ConnectionLossError, OperationTimeoutError):
            await reconnected()
