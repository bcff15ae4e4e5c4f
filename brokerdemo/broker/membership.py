"""Being a member: registering under /workers, taking back one's own id, and knowing when one is no member any more.

In:  a session, what to register.  Out: the broker epoch (czxid); `Fence`, which says whether this broker may act.
Answers to Kafka's KafkaZkClient.registerBroker and BrokerLifecycleManager.

(1) An id is taken over only from the same owner (data directory), in one multi; another owner's is refused.
(2) A broker that did not hear the coordination service for 2/3 of its session timeout, or whose clock shows that it
    stood still that long, is fenced: it says so before anything else, and serves nothing.
(3) A fence is lifted only by proof: a read, answered after the fence, that shows this very registration; or a new one.
(4) A registration that vanished or belongs to another incarnation ends this one's work: the newer process is right.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import trio

import coordination
from brokerdemo import znodes
from brokerdemo.znodes import Worker, ZnodeValueError

# What part of the session timeout may pass in silence (ZooKeeper's clients use the same part as their read timeout).
SILENCE = 2 / 3
# How often the clock is looked at: so often in the silence allowed, and at least at this pace whatever is allowed now,
# so that a session timeout set much shorter does not find a clock that was looked at too long ago.
TICKS_PER_SILENCE = 5
TICK_MAX_S = 0.05


# A write that ended so may have been executed: look before doing it again.
UNKNOWN = (coordination.ConnectionLossError, coordination.OperationTimeoutError)


class IdTakenError(Exception):
    """Another broker is registered under this id. The process cannot go on."""


@dataclass(frozen=True, slots=True)
class Registration:
    """`epoch` is the czxid of /workers/<id>; `replaced`: a stale registration of our own had to go first."""

    epoch: int
    replaced: bool


async def register(zk: "coordination.Client", broker_id: int, worker: Worker, *, patience_s: float) -> Registration:
    """Create /workers/<id>. Takes it back at once from a stale session of the same owner.

    A registration of another owner gets `patience_s` to go away (it may be the last of a dead process), then
    `IdTakenError`. Raises `SessionExpiredError` if this session ends meanwhile.
    """
    path = znodes.worker_path(broker_id)
    deadline = trio.current_time() + patience_s
    replaced = False
    while True:
        try:
            _, stat = await zk.create2(path, worker.encode(), ephemeral=True)
            return Registration(stat.czxid, replaced)
        except coordination.NodeExistsError:
            pass
        except coordination.NoNodeError:
            await zk.ensure_path(znodes.WORKERS)  # deleted by hand
            continue
        except UNKNOWN:
            await zk.wait_for(coordination.ConnectionState.CONNECTED)  # it may be there now; look
        try:
            value, stat = await zk.get(path)
        except coordination.NoNodeError:
            continue
        if stat.ephemeral_owner == zk.session_id:
            return Registration(stat.czxid, replaced)
        if _owner(value, path) == worker.owner:
            replaced = True
            await _replace(zk, path, worker, stat.version)
        elif not await _gone(zk, path, deadline):
            raise IdTakenError(_taken(broker_id, value, path))


async def _replace(zk: "coordination.Client", path: str, worker: Worker, version: int) -> None:
    try:
        await zk.multi([coordination.Delete(path, version), coordination.Create(path, worker.encode(), ephemeral=True)])
    except coordination.MultiError:
        pass  # it changed meanwhile; look again
    except UNKNOWN:
        await zk.wait_for(coordination.ConnectionState.CONNECTED)


async def _gone(zk: "coordination.Client", path: str, deadline: float) -> bool:
    with trio.move_on_at(deadline):
        async with zk.watch_exists(path) as changes:
            async for stat in changes:
                if stat is None:
                    return True
    return False


def _owner(value: bytes, path: str) -> str | None:
    try:
        return Worker.decode(value, path).owner
    except ZnodeValueError:
        return None


def _taken(broker_id: int, value: bytes, path: str) -> str:
    try:
        other = Worker.decode(value, path)
        who = f"owner {other.owner} at {other.host}:{other.port}"
    except ZnodeValueError as error:
        who = str(error)
    return (
        f"broker id {broker_id} is taken: {path} belongs to another broker ({who}), which is alive. "
        f"Stop that broker, start this one with another id, or give it the other one's data directory"
    )


class Fence:
    """Whether this broker may act. `check()` is called before every event and by `watch_over`'s clock."""

    def __init__(self, say: Callable[[str], None], *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self.now_s = now_s
        self._zk: coordination.Client | None = None
        self._looked_s = now_s()
        self.fenced = False
        self._lifted = trio.Event()
        self._fell = trio.Event()

    def attach(self, zk: "coordination.Client") -> None:
        """A new registration under a live session: the fence is lifted."""
        self._zk = zk
        self.lift()

    def detach(self) -> None:
        self._zk = None

    @property
    def limit_s(self) -> float:
        """How long it may stay silent."""
        return SILENCE * self._zk.session_timeout_ms / 1000 if self._zk is not None else float("inf")

    def check(self) -> None:
        """Fence now if there is a reason. Never looks at the network, so a paused process finds out at once."""
        if self.fenced or self._zk is None:
            return
        now_s, limit_s = self.now_s(), self.limit_s
        stood_still_s, silent_s = now_s - self._looked_s, now_s - self._zk.last_heard()
        timeout_ms = self._zk.session_timeout_ms
        if stood_still_s > limit_s:
            self._fence(f"stood still for {stood_still_s * 1000:.0f} ms (paused?), session timeout {timeout_ms} ms")
        elif self._zk.state is coordination.ConnectionState.LOST:
            self._fence("the session expired")
        elif silent_s > limit_s:
            self._fence(f"coordination service not heard for {silent_s * 1000:.0f} ms, session timeout {timeout_ms} ms")

    def fence(self, reason: str) -> None:
        """Fence for a reason found elsewhere; the first reason is the one told."""
        self.check()
        if not self.fenced:
            self._fence(reason)

    def _fence(self, reason: str) -> None:
        self.fenced = True
        self._lifted = trio.Event()
        self._fell.set()
        self._say(reason)

    def lift(self) -> None:
        self._looked_s = self.now_s()
        self.fenced = False
        self._fell = trio.Event()
        self._lifted.set()

    def tick(self) -> None:
        self.check()
        self._looked_s = self.now_s()

    async def until_lifted(self) -> None:
        """Returns at once when not fenced."""
        while self.fenced:
            await self._lifted.wait()

    async def until_fenced(self) -> None:
        """Returns at once when fenced."""
        while not self.fenced:
            await self._fell.wait()


async def watch_clock(fence: Fence) -> None:
    """Looks at the clock often enough that standing still shows. Runs as long as the process."""
    while True:
        fence.tick()
        await trio.sleep(min(fence.limit_s / TICKS_PER_SILENCE, TICK_MAX_S))


async def watch_registration(
    zk: "coordination.Client", fence: Fence, path: str, epoch: int, owner: str, unfenced: Callable[[], None]
) -> None:
    """Returns when this registration is no more (by hand, or a foreign session), so that it can be made again.

    Raises `IdTakenError` if somebody else has the id. Lifts the fence by proof meanwhile.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_prove, zk, fence, path, epoch, unfenced)
        async with zk.watch_exists(path) as changes:
            async for stat in changes:
                if stat is not None and stat.czxid == epoch:
                    continue
                fence.fence(f"{path} is not this registration any more")
                if stat is not None:
                    try:
                        value, _ = await zk.get(path)
                    except coordination.NoNodeError:
                        value = b""
                    if value:
                        whose = "a newer start of this broker" if _owner(value, path) == owner else "another broker"
                        raise IdTakenError(f"{path} was taken over by {whose}; this process ends")
                nursery.cancel_scope.cancel()


async def _prove(zk: "coordination.Client", fence: Fence, path: str, epoch: int, unfenced: Callable[[], None]) -> None:
    while True:
        await fence.until_fenced()
        asked_s = fence.now_s()
        stat = await zk.exists(path)
        if stat is None or stat.czxid != epoch:
            return  # the watch on the registration sees to it
        # An answer that lay unread while this process was paused proves nothing.
        if fence.now_s() - asked_s <= fence.limit_s:
            fence.lift()
            unfenced()
