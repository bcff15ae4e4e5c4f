"""A request on its way: whoever sent it waits for its reply, or for the reason why there is none.

In: the reply's bytes, or an error, once, from the connection's thread.  Out: the same, in the thread that waits.
Knows no socket and no session.  Answers to the Packet of ZooKeeper's ClientCnxn.
"""

import threading
from typing import NamedTuple

from coordination import errors
from coordination.errors import OperationTimeoutError


class Reply(NamedTuple):
    zxid: int
    buffer: bytes
    start: int
    end: int


class Pending:
    """A request on its way."""

    def __init__(self, path: str, watch: tuple[str, str] | None = None) -> None:
        self.watch = watch
        """(kind, path for the server) of the watch that the request sets, if any."""
        self._done = threading.Event()
        self._path = path
        self._reply: Reply | None = None
        self._error: Exception | None = None

    def settle(self, reply: Reply | None = None, error: Exception | None = None) -> None:
        self._reply, self._error = reply, error
        self._done.set()

    def settle_code(self, code: int) -> None:
        self.settle(error=errors.from_code(code, self._path))

    def wait(self, timeout_s: float | None = None) -> Reply:
        """The reply; raises what the server or the network said instead, OperationTimeoutError when nobody did."""
        if not self._done.wait(timeout_s):
            raise OperationTimeoutError(
                self._path, f"no answer within {timeout_s:g} s; the operation may have been executed"
            )
        if self._error is not None:
            raise self._error
        assert self._reply is not None
        return self._reply
