"""The client's own ways to fail, beside the server's: not reached, closed here, and which operation of a multi.

In: an exception of kazoo's (anything with the wire's `code`).  Out: ours, with the path concerned.
Knows no sockets.  Answers to ZooKeeper's KeeperException on the client's side.

(1) `ConnectionLossError` means *unknown*; `NotConnectedError` means *certainly not executed*.
(2) A closed client and an expired session look the same to code that only wants to stop: `ConnectionClosedError` is a
    `SessionExpiredError`.
"""

from collections.abc import Sequence

from coordination.errors import ConnectionLossError, CoordinationError, KeeperError, SessionExpiredError, from_code

# The codes a failed multi gives to the operations that are not at fault: rolled back before it, not tried after it.
_NOT_AT_FAULT = (0, -2)


class NotConnectedError(ConnectionLossError):
    """No server answered within the connect timeout; nothing was executed."""

    what = "not connected"


class ConnectionClosedError(SessionExpiredError):
    """This client was closed by its own program; its session is over."""

    what = "the client is closed"


class MultiError(KeeperError):
    """A multi was refused as a whole; nothing of it happened.

    `index` is the first operation at fault (from 0), `error` what was wrong with it.
    """

    what = "the multi was refused"

    def __init__(self, index: int, error: KeeperError) -> None:
        super().__init__(error.path, f"the multi was refused, nothing of it happened: operation {index}: {error}")
        self.index = index
        self.error = error


def translate(error: BaseException, path: str) -> BaseException:
    """Our error for one of kazoo's; what is no ZooKeeper error (a TypeError, say) comes back as it is."""
    if isinstance(error, CoordinationError):
        return error
    code = getattr(error, "code", None)
    return from_code(code, path) if isinstance(code, int) else error


def multi_failure(results: Sequence[object], paths: Sequence[str]) -> MultiError | None:
    """The `MultiError` in a multi's results (one per operation, kazoo's exceptions among them), or None if it
    succeeded.
    """
    failed = [(i, r) for i, r in enumerate(results) if isinstance(r, BaseException)]
    if not failed:
        return None
    at_fault = [(i, e) for i, e in failed if getattr(e, "code", 0) not in _NOT_AT_FAULT]
    index, error = (at_fault or failed)[0]
    mine = from_code(getattr(error, "code", -1), paths[index])
    return MultiError(index, mine)
