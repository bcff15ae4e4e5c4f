"""A coordination service that speaks Apache ZooKeeper's interfaces, and an async client for it and for ZooKeeper.

    async with coordination.connect("127.0.0.1:2181") as zk:
        await zk.create("/lock", b"mine", ephemeral=True)

Importing this package imports nothing else: trio and kazoo come in when a client name is first used, so that the
server, a fork server or a command line may import it for its errors alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coordination.client.certificate import CloseOutcome, close_session
    from coordination.client.client import Client, connect
    from coordination.client.connection_state import ConnectionState, StateChanges
    from coordination.client.failures import ConnectionClosedError, MultiError, NotConnectedError
    from coordination.client.operations import Check, Create, Delete, Set, Stat
    from coordination.client.watches import WatchStream
    from coordination.errors import (
        AuthFailedError,
        BadArgumentsError,
        BadVersionError,
        ConnectionLossError,
        CoordinationError,
        KeeperError,
        LocalProtocolError,
        NoAuthError,
        NoChildrenForEphemeralsError,
        NodeExistsError,
        NoNodeError,
        NotEmptyError,
        OperationTimeoutError,
        RemoteProtocolError,
        SessionExpiredError,
        UnimplementedError,
    )
    from coordination.secret import Secret

# Public name -> the module that has it. The imports above say the same to type checkers; a test compares the two.
_HOME = {
    "CloseOutcome": "client.certificate",
    "close_session": "client.certificate",
    "Client": "client.client",
    "connect": "client.client",
    "ConnectionState": "client.connection_state",
    "StateChanges": "client.connection_state",
    "ConnectionClosedError": "client.failures",
    "MultiError": "client.failures",
    "NotConnectedError": "client.failures",
    "Check": "client.operations",
    "Create": "client.operations",
    "Delete": "client.operations",
    "Set": "client.operations",
    "Stat": "client.operations",
    "Secret": "secret",
    "WatchStream": "client.watches",
    "AuthFailedError": "errors",
    "BadArgumentsError": "errors",
    "BadVersionError": "errors",
    "ConnectionLossError": "errors",
    "CoordinationError": "errors",
    "KeeperError": "errors",
    "LocalProtocolError": "errors",
    "NoAuthError": "errors",
    "NoChildrenForEphemeralsError": "errors",
    "NodeExistsError": "errors",
    "NoNodeError": "errors",
    "NotEmptyError": "errors",
    "OperationTimeoutError": "errors",
    "RemoteProtocolError": "errors",
    "SessionExpiredError": "errors",
    "UnimplementedError": "errors",
}

__all__ = [
    "AuthFailedError",
    "BadArgumentsError",
    "BadVersionError",
    "Check",
    "Client",
    "CloseOutcome",
    "ConnectionClosedError",
    "ConnectionLossError",
    "ConnectionState",
    "CoordinationError",
    "Create",
    "Delete",
    "KeeperError",
    "LocalProtocolError",
    "MultiError",
    "NoAuthError",
    "NoChildrenForEphemeralsError",
    "NoNodeError",
    "NodeExistsError",
    "NotConnectedError",
    "NotEmptyError",
    "OperationTimeoutError",
    "RemoteProtocolError",
    "Secret",
    "SessionExpiredError",
    "Set",
    "Stat",
    "StateChanges",
    "UnimplementedError",
    "WatchStream",
    "close_session",
    "connect",
]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'coordination' has no attribute {name!r}")
    value = getattr(import_module(f"coordination.{home}"), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
