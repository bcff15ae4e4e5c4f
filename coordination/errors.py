"""Every way the coordination service says no: one class per wire code, named for who must act.

In: a wire code (`from_code`) or a local finding.  Out: an exception with `.code`, the integer in a ReplyHeader.
Knows nothing of sockets, trees or sessions.  Answers to ZooKeeper's KeeperException; the spellings are kazoo's.

(1) A code has exactly one class, and a class exactly one code.
(2) `KeeperError` is an answer of the service.  `RemoteProtocolError` closes a connection: the other side broke the
    protocol.  `LocalProtocolError` is a mistake of the caller's own code.  `InternalError` is a bug of ours and stops
    the server.
(3) `ConnectionLossError` and `OperationTimeoutError` mean *unknown*: the request may have been executed.
"""

from typing import ClassVar


class CoordinationError(Exception):
    """Everything this package raises on purpose."""


class RemoteProtocolError(CoordinationError):
    """The other side sent bytes that are not the protocol; its connection is closed, nobody else is harmed."""


class LocalProtocolError(CoordinationError):
    """Our own side asked for something the protocol has no way to say."""


class InternalError(CoordinationError):
    """This is our bug: an invariant of the server does not hold.  The server stops rather than guess."""


class KeeperError(CoordinationError):
    """An answer of the coordination service other than success.

    `path` is the znode concerned, where there is one.
    """

    code: ClassVar[int] = 0
    what: ClassVar[str] = "an error of the coordination service"

    def __init__(self, path: str = "", message: str = "") -> None:
        self.path = path
        text = message or self.what
        super().__init__(f"{text}: {path}" if path else text)


class SystemZookeeperError(KeeperError):
    code = -1
    what = "the server had a system error"


class RuntimeInconsistencyError(KeeperError):
    code = -2
    what = "not tried, because an operation before it in the same multi failed"


class DataInconsistencyError(KeeperError):
    code = -3
    what = "data inconsistency found by the server"


class ConnectionLossError(KeeperError):
    """The connection went away before the answer came: the operation may or may not have been executed."""

    code = -4
    what = "connection lost before the answer came; the operation may have been executed"


class MarshallingError(KeeperError):
    code = -5
    what = "the request could not be decoded"


class UnimplementedError(KeeperError):
    code = -6
    what = "this server does not do that"


class OperationTimeoutError(KeeperError):
    """No answer in time: the operation may or may not have been executed."""

    code = -7
    what = "no answer in time; the operation may have been executed"


class BadArgumentsError(KeeperError):
    code = -8
    what = "arguments refused (a path that is not valid?)"


class UnknownSessionError(KeeperError):
    code = -12
    what = "the server does not know this session"


class NewConfigNoQuorumError(KeeperError):
    code = -13
    what = "no quorum of the new configuration is connected"


class ReconfigInProcessError(KeeperError):
    code = -14
    what = "another reconfiguration is under way"


class APIError(KeeperError):
    code = -100
    what = "API error"


class NoNodeError(KeeperError):
    code = -101
    what = "no such znode"


class NoAuthError(KeeperError):
    code = -102
    what = "not allowed by the znode's ACL"


class BadVersionError(KeeperError):
    code = -103
    what = "the version given is not the znode's version"


class NoChildrenForEphemeralsError(KeeperError):
    code = -108
    what = "ephemeral znodes have no children"


class NodeExistsError(KeeperError):
    code = -110
    what = "the znode exists already"


class NotEmptyError(KeeperError):
    code = -111
    what = "the znode has children"


class SessionExpiredError(KeeperError):
    code = -112
    what = "the session has expired"


class InvalidCallbackError(KeeperError):
    code = -113
    what = "invalid callback"


class InvalidACLError(KeeperError):
    code = -114
    what = "the ACL is empty or has an unknown scheme or id"


class AuthFailedError(KeeperError):
    code = -115
    what = "authentication failed"


class SessionMovedError(KeeperError):
    code = -118
    what = "the session has moved to another server"


class NotReadOnlyCallError(KeeperError):
    code = -119
    what = "a read-only server does not write"


class EphemeralOnLocalSessionError(KeeperError):
    code = -120
    what = "a local session has no ephemeral znodes"


class NoWatcherError(KeeperError):
    code = -121
    what = "no such watch is set"


class RequestTimeoutError(KeeperError):
    code = -122
    what = "the request timed out"


class ReconfigDisabledError(KeeperError):
    code = -123
    what = "reconfiguration is not enabled"


class SessionClosedRequireSaslAuthError(KeeperError):
    code = -124
    what = "the server requires SASL authentication"


class QuotaExceededError(KeeperError):
    code = -125
    what = "a quota would be exceeded"


class ThrottledOpError(KeeperError):
    code = -127
    what = "the server is too busy; the operation was not executed"


BY_CODE: dict[int, type[KeeperError]] = {error.code: error for error in KeeperError.__subclasses__()}


def from_code(code: int, path: str = "") -> KeeperError:
    """The error a wire code stands for; an unknown code keeps its number in the text (source: KeeperException.Code)."""
    known = BY_CODE.get(code)
    return known(path) if known is not None else SystemZookeeperError(path, f"unknown error code {code}")
