"""Every operation of ZooKeeper's protocol as a blocking call, on paths under the chroot of the connect string.

In:  paths, values, versions.  Out: values and Stats, or a `KeeperError`.
Knows no socket (`connection` does) and no command line.  Answers to ZooKeeper's ZooKeeper and ZooKeeperAdmin classes.

(1) A path is checked before it is sent (`LocalPathError` carries ZooKeeper's words for what is wrong with it).
(2) A watch is noted only once the server has taken it, and before it can fire.
(3) Paths in results, events and errors are the caller's: without the chroot.
"""

import ssl
from collections.abc import Callable, Sequence
from typing import Self

from coordination.errors import KeeperError, LocalProtocolError, NoNodeError, NoWatcherError
from coordination.tools import answers
from coordination.tools.answers import ReadResult, WriteResult
from coordination.tools.connect_string import ConnectString
from coordination.tools.connection import Connection, State
from coordination.tools.pending import Pending
from coordination.tools.watch_table import Event
from coordination.wire import opcodes
from coordination.wire.records import OPEN_ACL, Acl, Stat
from coordination.wire.requests import (
    AddWatch,
    CheckWatches,
    Create,
    CreateTtl,
    Delete,
    Exists,
    GetAcl,
    GetAllChildrenNumber,
    GetChildren,
    GetChildren2,
    GetData,
    GetEphemerals,
    Multi,
    MultiRead,
    Reconfig,
    RemoveWatches,
    Request,
    SetAcl,
    SetData,
    Sync,
    WhoAmI,
    WriteOperation,
)

CONFIG_PATH = "/zookeeper/config"
ANY_VERSION = -1
# How long one call may stay unanswered: as long as ZooKeeper's shell waits for a sync.
CALL_TIMEOUT_S = 30.0


class LocalPathError(LocalProtocolError):
    """A string that is no znode path."""


def check_path(path: str, sequential: bool = False) -> str:
    """`path` itself, or `LocalPathError` in the words of ZooKeeper's PathUtils."""
    wrong = path_fault(path + "1" if sequential else path)
    if wrong:
        raise LocalPathError(wrong)
    return path


def path_fault(path: str) -> str:
    """What PathUtils.validatePath says of `path`; empty if it is a znode path."""
    if not path:
        return "Path length must be > 0"
    if path[0] != "/":
        return "Path must start with / character"
    if path == "/":
        return ""
    if path[-1] == "/":
        return "Path must not end with / character"
    reason = ""
    at = 1
    for at, char in enumerate(path[1:], 1):
        code = ord(char)
        name = path[path.rfind("/", 0, at) + 1 : at + 1]
        closes = at + 1 == len(path) or path[at + 1] == "/"
        if code == 0:
            reason = "null character not allowed"
        elif char == "/" and path[at - 1] == "/":
            reason = "empty node name specified"
        elif name in (".", "..") and closes:
            reason = "relative paths not allowed"
        elif code <= 0x1F or 0x7F <= code <= 0x9F or 0xD800 <= code <= 0xF8FF or 0xFFF0 <= code <= 0xFFFF:
            reason = "invalid character"
        if reason:
            return f'Invalid path string "{path}" caused by {reason} @{at}'
    return ""


class Client:
    """A session and its operations. `start` it first; a context manager closes it."""

    def __init__(
        self,
        connect: ConnectString,
        *,
        session_timeout_ms: int = 30_000,
        read_only: bool = False,
        tls: ssl.SSLContext | None = None,
        on_event: Callable[[Event], None] | None = None,
        call_timeout_s: float | None = CALL_TIMEOUT_S,
    ) -> None:
        self.connect = connect
        self._told = on_event
        self.call_timeout_s = call_timeout_s
        self.connection = Connection(
            connect, session_timeout_ms=session_timeout_ms, read_only=read_only, tls=tls, on_event=self._event
        )

    def start(self, timeout_s: float = 10.0) -> "Client":
        """Attach a session; ConnectionLossError with the reason when no server takes it within `timeout_s`."""
        self.connection.start(timeout_s)
        return self

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def state(self) -> State:
        return self.connection.state

    # -- reading

    def exists(self, path: str, watch: bool = False) -> Stat | None:
        request = Exists(0, self._checked(path), watch)
        try:
            return answers.stat(*self._ask(request, path, "exist" if watch else ""))
        except NoNodeError:
            return None

    def get(self, path: str, watch: bool = False) -> tuple[bytes | None, Stat]:
        request = GetData(0, self._checked(path), watch)
        return answers.data(*self._ask(request, path, "data" if watch else ""))

    def children(self, path: str, watch: bool = False) -> tuple[list[str], Stat]:
        """The names, in the server's order, and the Stat (getChildren2)."""
        request = GetChildren2(0, self._checked(path), watch)
        return answers.children_and_stat(*self._ask(request, path, "child" if watch else ""))

    def child_names(self, path: str, watch: bool = False) -> list[str]:
        """The names alone (getChildren, the older operation)."""
        return self.names_of(self.submit_children(path, watch))

    def submit_children(self, path: str, watch: bool = False) -> Pending:
        """`child_names` without waiting; `names_of` reads its reply."""
        server_path = self._checked(path)
        request = GetChildren(0, server_path, watch)
        return self.connection.submit(request, path, ("child", server_path) if watch else None)

    def names_of(self, pending: Pending) -> list[str]:
        """The names that `submit_children` asked for."""
        return answers.children(*_parts(pending, self.call_timeout_s))

    def get_acl(self, path: str) -> tuple[tuple[Acl, ...], Stat]:
        return answers.acl(*self._ask(GetAcl(0, self._checked(path)), path))

    def get_config(self, watch: bool = False) -> tuple[bytes | None, Stat]:
        """The ensemble's configuration; its path knows no chroot."""
        return answers.data(*self._ask(GetData(0, CONFIG_PATH, watch), CONFIG_PATH, "data" if watch else ""))

    def ephemerals(self, prefix: str = "/") -> list[str]:
        """Paths of this session's ephemeral znodes under `prefix`."""
        found = answers.children(*self._ask(GetEphemerals(0, self._checked(prefix)), prefix))
        return [self.connect.client_path(each) for each in found]

    def all_children_number(self, path: str) -> int:
        return answers.number(*self._ask(GetAllChildrenNumber(0, self._checked(path)), path))

    def who_am_i(self) -> list[tuple[str, str]]:
        return answers.identities(*self._ask(WhoAmI(0), ""))

    def multi_read(self, operations: Sequence[GetData | GetChildren]) -> list[ReadResult]:
        """Several reads in one request; each is answered for itself."""
        sent = [type(each)(0, self._checked(each.path), each.watch) for each in operations]
        results = answers.multi_read(*self._ask(MultiRead(0, sent), ""))
        for operation, result in zip(sent, results, strict=True):
            if operation.watch and not isinstance(result, KeeperError):
                self.connection.watches.add("data" if isinstance(operation, GetData) else "child", operation.path)
        return results

    # -- writing

    def create(
        self, path: str, value: bytes | None, acl: tuple[Acl, ...] = OPEN_ACL, flags: int = 0, ttl_ms: int | None = None
    ) -> tuple[str, Stat]:
        """Create a znode of the kind `flags` say (opcodes.PERSISTENT ...); its path as created, and its Stat."""
        sequential = flags in (
            opcodes.PERSISTENT_SEQUENTIAL,
            opcodes.EPHEMERAL_SEQUENTIAL,
            opcodes.PERSISTENT_SEQUENTIAL_WITH_TTL,
        )
        check_path(path, sequential)
        server_path = self.connect.server_path(path)
        request: Create | CreateTtl
        if ttl_ms is not None:
            request = CreateTtl(0, server_path, value, acl, flags, ttl_ms)
        else:
            opcode = opcodes.CREATE_CONTAINER if flags == opcodes.CONTAINER else opcodes.CREATE2
            request = Create(0, opcode, server_path, value, acl, flags)
        created, stat = answers.path_and_stat(*self._ask(request, path))
        return self.connect.client_path(created), stat

    def set(self, path: str, value: bytes | None, version: int = ANY_VERSION) -> Stat:
        return answers.stat(*self._ask(SetData(0, self._checked(path), value, version), path))

    def delete(self, path: str, version: int = ANY_VERSION) -> None:
        self._ask(Delete(0, self._checked(path), version), path)

    def set_acl(self, path: str, acl: tuple[Acl, ...], version: int = ANY_VERSION) -> Stat:
        return answers.stat(*self._ask(SetAcl(0, self._checked(path), acl, version), path))

    def multi(self, operations: Sequence[WriteOperation]) -> list[WriteResult]:
        """All or nothing: a KeeperError among the results says that nothing was done, and which one was refused."""
        return answers.multi(*_parts(self.submit_multi(operations), self.call_timeout_s))

    def submit_multi(self, operations: Sequence[WriteOperation]) -> Pending:
        """`multi` without waiting; `answers.multi` reads its reply."""
        for each in operations:
            each.path = self._checked(each.path)
        return self.connection.submit(Multi(0, list(operations)))

    def sync(self, path: str) -> None:
        """Afterwards this server has applied every write acknowledged before the call."""
        answers.path(*self._ask(Sync(0, self._checked(path)), path))

    def reconfigure(
        self, joining: str | None, leaving: str | None, members: str | None, from_version: int = ANY_VERSION
    ) -> tuple[bytes | None, Stat]:
        return answers.data(*self._ask(Reconfig(0, joining, leaving, members, from_version), ""))

    def add_auth(self, scheme: str, credential: bytes) -> None:
        self.connection.add_auth(scheme, credential)

    # -- watches

    def add_watch(self, path: str, recursive: bool) -> None:
        mode = opcodes.MODE_PERSISTENT_RECURSIVE if recursive else opcodes.MODE_PERSISTENT
        server_path = self._checked(path)
        self._ask(AddWatch(0, server_path, mode), path, "recursive" if recursive else "persistent")

    def check_watches(self, path: str, kind: int) -> None:
        """NoWatcherError unless this session has a watch of the wire kind on `path`."""
        self._ask(CheckWatches(0, self._checked(path), kind), path)

    def remove_watches(self, path: str, kind: int = opcodes.WATCHES_ANY, local: bool = False) -> None:
        """Remove this session's watches; with `local` the client forgets them even when the server cannot be told."""
        server_path = self._checked(path)
        try:
            self._ask(RemoveWatches(0, server_path, kind), path)
        except KeeperError:
            if not local:
                raise
        removed = self.connection.watches.remove(server_path, kind)
        for event in removed:
            self.connection.emit(Event(event, "SyncConnected", server_path))
        if not removed:
            raise NoWatcherError(path)

    # -- inside

    def _checked(self, path: str) -> str:
        return self.connect.server_path(check_path(path))

    def _ask(self, request: Request, path: str, watch_kind: str = "") -> tuple[bytes, int, int]:
        watch = (watch_kind, CONFIG_PATH if path == CONFIG_PATH else self.connect.server_path(path))
        return _parts(self.connection.submit(request, path, watch if watch_kind else None), self.call_timeout_s)

    def _event(self, event: Event) -> None:
        if self._told is None:
            return
        if event.path is not None:
            event = event._replace(path=self.connect.client_path(event.path))
        self._told(event)


def _parts(pending: Pending, timeout_s: float | None) -> tuple[bytes, int, int]:
    reply = pending.wait(timeout_s)
    return reply.buffer, reply.start, reply.end
