"""`async with coordination.connect(hosts) as zk`: a coordination service for trio programs.

In: paths and values.  Out: created paths, values with their stats, streams of changes; errors named as the service
names them.
Knows nothing of kazoo's threads (bridge.py does) nor of what the znodes mean.  Answers to ZooKeeper's ZooKeeper class
and KazooClient.

(1) Every method may be cancelled at any await; the client stays usable. A write that was cancelled may have been
    executed.
(2) `ConnectionLossError` from a write means it may have been executed; reads are repeated by themselves (see retry.py).
(3) While SUSPENDED a call waits for the connection; the caller's cancel scope is its deadline.
(4) After the session is over every call and every watch raises why, until `new_session()`.
(5) Leaving the `async with` closes the session, so its ephemerals go at once, and takes at most `close_timeout_ms` if
    the server is gone.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import trio
from kazoo.security import ACL, Id

from coordination import paths
from coordination.client import watches
from coordination.client.bridge import Bridge
from coordination.client.connection_state import ConnectionState, StateBoard, StateChanges
from coordination.client.failures import multi_failure
from coordination.client.operations import ANY_VERSION, Acl, Check, Create, Delete, Operation, Result, Set, Stat
from coordination.client.retry import until_answered
from coordination.client.watches import WatchStream, WatchTable
from coordination.errors import NodeExistsError, NoNodeError
from coordination.secret import Secret

T = TypeVar("T")


@asynccontextmanager
async def connect(
    hosts: str,
    *,
    session_timeout_ms: int = 10_000,
    connect_timeout_ms: int = 15_000,
    close_timeout_ms: int = 1_000,
    auth: Sequence[tuple[str, str]] = (),
    read_only: bool = False,
) -> AsyncIterator["Client"]:
    """A connected client; its session is closed at the end of the block.

    `hosts` is ZooKeeper's connect string, `host:port,host:port[/chroot]`. The server may grant another session timeout
    than the one asked for. `auth` holds (scheme, credential) pairs. Raises `NotConnectedError` when nothing answers
    within `connect_timeout_ms`.
    """
    client = Client(
        hosts,
        session_timeout_ms=session_timeout_ms,
        connect_timeout_ms=connect_timeout_ms,
        close_timeout_ms=close_timeout_ms,
        auth=auth,
        read_only=read_only,
    )
    try:
        await client._open()
        yield client
    finally:
        await client.aclose()


class Client:
    """One client, one session at a time. Made by `connect`."""

    def __init__(
        self,
        hosts: str,
        *,
        session_timeout_ms: int,
        connect_timeout_ms: int,
        close_timeout_ms: int,
        auth: Sequence[tuple[str, str]],
        read_only: bool,
    ) -> None:
        self._hosts = hosts
        self._asked_timeout_ms = session_timeout_ms
        self._connect_timeout_ms = connect_timeout_ms
        self._close_timeout_ms = close_timeout_ms
        self._auth = tuple(auth)
        self._read_only = read_only
        self._board = StateBoard()
        self._watches = WatchTable()
        self._bridge = self._new_bridge()

    def __repr__(self) -> str:
        return f"<coordination client of {self._hosts}, session 0x{self.session_id:x}, {self.state.value}>"

    def _new_bridge(self) -> Bridge:
        return Bridge(
            self._hosts,
            session_timeout_ms=self._asked_timeout_ms,
            auth=self._auth,
            read_only=self._read_only,
            board=self._board,
            ended=self._watches.look_again,
        )

    async def _open(self) -> None:
        await self._bridge.open(self._connect_timeout_ms)
        if self._auth:
            await self.exists("/")  # the answer to a refused credential comes before this one's

    async def aclose(self) -> None:
        """Closes the session; safe to call twice, and from a cancelled scope."""
        await self._bridge.aclose(self._close_timeout_ms)

    async def new_session(self) -> None:
        """Ends this session if it is not over yet and starts another; watches of the old one end with
        `SessionExpiredError`.

        Ephemerals of the old session are gone or going; the caller creates its own again.
        """
        await self._bridge.aclose(self._close_timeout_ms)
        self._watches = WatchTable()
        self._bridge = self._new_bridge()
        await self._open()

    # -- the session ---------------------------------------------------------------------------------------------------

    @property
    def hosts(self) -> str:
        return self._hosts

    @property
    def session_id(self) -> int:
        return self._bridge.session_id

    @property
    def session_password(self) -> Secret:
        return self._bridge.session_password

    @property
    def session_timeout_ms(self) -> int:
        """As granted by the server."""
        return self._bridge.session_timeout_ms

    @property
    def state(self) -> ConnectionState:
        return self._board.state

    def last_heard(self) -> float:
        """`time.monotonic()` seconds when the server was last heard; pings keep it fresh on an idle connection.

        It errs on the old side (the moment the client began to wait for those bytes), so that a process that was
        stopped for a while does not take an answer from before its sleep for a fresh one. The server cannot have
        expired the session before `last_heard() + session_timeout`, less one round trip: who must stop in time compares
        this with the present.
        """
        return self._bridge.last_heard_s

    async def wait_for(self, state: ConnectionState) -> None:
        """Returns once `state` is reached, at once if it is the present one. Waiting for anything else than LOST
        raises why once LOST.
        """
        await self._board.wait_until(lambda now: now is state or now is ConnectionState.LOST)
        if self._board.state is not state:
            self._bridge.refuse_if_over()

    def states(self) -> StateChanges:
        """The present state, then every change, in order."""
        return self._board.follow()

    @contextmanager
    def while_connected(self, *, ends_on: ConnectionState = ConnectionState.SUSPENDED) -> Iterator[trio.CancelScope]:
        """A cancel scope for work that is only right while connected: `with zk.while_connected() as scope:`.

        Cancelled by SUSPENDED (the careful choice: somebody else may hold the lock before we learn it), or with
        `ends_on=LOST` only by the end of the session. `scope.cancelled_caught` says whether it was.
        """
        with self._board.scope_until(ends_on) as scope:
            yield scope

    async def set_session_timeout(self, session_timeout_ms: int) -> int:
        """Changes the timeout of the living session, and returns what the server granted (ms).

        A server reads the timeout when a session attaches, so the connection is dropped and attached again: same
        session, same ephemerals; other calls wait meanwhile, and no SUSPENDED is told. Raises `ConnectionLossError` if
        that takes longer than a third of the present timeout. In an ensemble the member that had the session may still
        report its old timeout to the leader once, so there the new one rules from the next ping on.
        """
        self._asked_timeout_ms = session_timeout_ms
        return await self._bridge.reattach(session_timeout_ms, within_ms=max(self.session_timeout_ms // 3, 100))

    # -- reading -------------------------------------------------------------------------------------------------------

    async def get(self, path: str) -> tuple[bytes, Stat]:
        """A znode's value and stat. Raises `NoNodeError`, `NoAuthError`."""
        value, stat = await self._read(path, self._bridge.kazoo.get_async)
        return value or b"", Stat._make(stat)

    async def exists(self, path: str) -> Stat | None:
        """A znode's stat, None if there is none."""
        stat = await self._read(path, self._bridge.kazoo.exists_async)
        return Stat._make(stat) if stat is not None else None

    async def children(self, path: str) -> list[str]:
        """The names of the children, sorted. Raises `NoNodeError`."""
        return sorted(await self._read(path, self._bridge.kazoo.get_children_async))

    async def children_with_stat(self, path: str) -> tuple[list[str], Stat]:
        names, stat = await self._read(path, self._bridge.kazoo.get_children_async, include_data=True)
        return sorted(names), Stat._make(stat)

    async def sync(self, path: str = "/") -> None:
        """Returns once this client's server has all that was committed when it was called; reads after it are not
        older.
        """
        await self._read(path, self._bridge.kazoo.sync_async)

    # -- writing -------------------------------------------------------------------------------------------------------

    async def create(
        self,
        path: str,
        value: bytes = b"",
        *,
        ephemeral: bool = False,
        sequence: bool = False,
        acl: Sequence[Acl] | None = None,
        makepath: bool = False,
    ) -> str:
        """Creates a znode and returns its path (with the number, if sequential). `makepath` makes missing parents,
        persistent.

        Raises `NodeExistsError`, `NoNodeError` (no parent), `NoChildrenForEphemeralsError`; `ConnectionLossError`: read
        back whether it exists (its stat's `ephemeral_owner` is this session), a sequential one by its siblings.
        """
        options = {"acl": _acls(acl), "ephemeral": ephemeral, "sequence": sequence}
        return str(await self._create(path, value, options, makepath))

    async def create2(
        self,
        path: str,
        value: bytes = b"",
        *,
        ephemeral: bool = False,
        sequence: bool = False,
        acl: Sequence[Acl] | None = None,
        makepath: bool = False,
    ) -> tuple[str, Stat]:
        """As `create`, and the new znode's stat from the same txn."""
        options = {"acl": _acls(acl), "ephemeral": ephemeral, "sequence": sequence, "include_data": True}
        created, stat = await self._create(path, value, options, makepath)
        return created, Stat._make(stat)

    async def _create(self, path: str, value: bytes, options: dict[str, Any], makepath: bool) -> Any:
        paths.validate(path + "0" if options["sequence"] else path)
        while True:
            try:
                return await self._bridge.call(path, self._bridge.kazoo.create_async, path, value, **options)
            except NoNodeError:
                if not makepath:
                    raise
                await self.ensure_path(paths.parent_of(path))

    async def ensure_path(self, path: str) -> None:
        """Makes a persistent znode and its missing ancestors; what exists stays as it is."""
        paths.validate(path)
        if path == "/" or await self.exists(path) is not None:
            return
        await self.ensure_path(paths.parent_of(path))
        try:
            await self.create(path)
        except NodeExistsError:
            pass  # somebody else was quicker

    async def set(self, path: str, value: bytes, version: int = ANY_VERSION) -> Stat:
        """Sets the value, if the znode is at `version`. Raises `BadVersionError`, `NoNodeError`."""
        paths.validate(path)
        return Stat._make(await self._bridge.call(path, self._bridge.kazoo.set_async, path, value, version))

    async def delete(self, path: str, version: int = ANY_VERSION, *, recursive: bool = False) -> None:
        """Deletes a znode at `version`, with everything below it if `recursive` (one by one, children first; gone
        already is fine).
        """
        paths.validate(path)
        if recursive:
            await self._delete_below(path)
        else:
            await self._bridge.call(path, self._bridge.kazoo.delete_async, path, version)

    async def _delete_below(self, path: str) -> None:
        try:
            for name in await self.children(path):
                await self._delete_below(paths.join(path, name))
            await self.delete(path)
        except NoNodeError:
            pass

    async def multi(self, operations: Sequence[Operation]) -> list[Result]:
        """All of it in one txn, or nothing. Per operation: Create the path, Set the stat, Check and Delete True.

        Raises `MultiError` (`.index`, `.error`) when refused. An empty multi does nothing and asks nobody.
        """
        if not operations:
            return []
        transaction = self._bridge.kazoo.transaction()
        for operation in operations:
            _add(transaction, operation)
        touched = [operation.path for operation in operations]
        results = await self._bridge.call(touched[0], transaction.commit_async)
        failure = multi_failure(results, touched)
        if failure is not None:
            raise failure
        return [Stat._make(result) if isinstance(result, tuple) else result for result in results]

    # -- watching ------------------------------------------------------------------------------------------------------

    def watch_data(self, path: str) -> WatchStream[tuple[bytes, Stat]]:
        """`async with zk.watch_data(path) as changes: async for item in changes`: (value, stat), or None while there
        is no such znode.
        """
        return self._watch("data", path, watches.watch_data(self._bridge, paths.validate(path)))

    def watch_exists(self, path: str) -> WatchStream[Stat]:
        """As `watch_data`, without the value: the stat, or None."""
        return self._watch("exists", path, watches.watch_exists(self._bridge, paths.validate(path)))

    def watch_children(self, path: str) -> WatchStream[list[str]]:
        """The sorted names of the children, or None while there is no such parent."""
        return self._watch("children", path, watches.watch_children(self._bridge, paths.validate(path)))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _watch(self, kind: str, path: str, look: watches.Look[T]) -> WatchStream[T]:
        return WatchStream(self._watches, (kind, path), look, self._reconnected)

    async def _read(self, path: str, operation: Callable[..., Any], **options: Any) -> Any:
        paths.validate(path)
        bridge = self._bridge
        return await until_answered(lambda: bridge.call(path, operation, path, **options), self._reconnected)

    async def _reconnected(self) -> None:
        await self.wait_for(ConnectionState.CONNECTED)


def _acls(acl: Sequence[Acl] | None) -> list[Any] | None:
    return None if acl is None else [ACL(permissions, Id(scheme, name)) for permissions, scheme, name in acl]


def _add(transaction: Any, operation: Operation) -> None:
    """One operation onto kazoo's transaction builder."""
    match operation:
        case Create(path, value, ephemeral, sequence, acl):
            paths.validate(path + "0" if sequence else path)
            transaction.create(path, value, acl=_acls(acl), ephemeral=ephemeral, sequence=sequence)
        case Set(path, value, version):
            transaction.set_data(paths.validate(path), value, version)
        case Delete(path, version):
            transaction.delete(paths.validate(path), version)
        case Check(path, version):
            transaction.check(paths.validate(path), version)
