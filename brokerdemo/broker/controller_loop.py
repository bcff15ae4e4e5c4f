"""Standing for controller, and being it: the shell around `brokerdemo.control.controller`.

In:  /master, /workers, /topics, /admin and live settings, as watches.  Out: fenced multis, and the events
controller_elected and controller_resigned with everything the core tells. Decides nothing but when to look. Answers to
Kafka's ControllerEventManager and KafkaController.elect.

(1) /master is created and /master_epoch raised in one multi, conditional on the epoch's version: two brokers that both
    believe to have won cannot both be right.
(2) Every later write checks that version. A refused check means deposed: resign, and stand again.
(3) A lost connection leaves a write unknown: everything is read again, and what is there counts.
(4) A watch only says "look": its items are never planned on, the view is read after them.
(5) While the broker is fenced it plans and writes nothing.
"""

from collections.abc import Callable, Collection, Mapping

import trio

import coordination
from brokerdemo import znodes
from brokerdemo.broker.channel import Channel
from brokerdemo.broker.config_watch import LiveSettings
from brokerdemo.broker.membership import UNKNOWN, Fence
from brokerdemo.broker.view_reader import ViewReader
from brokerdemo.control.controller import Controller
from brokerdemo.control.model import Check, Create, Delete, Fact, Multi, Operation, Set
from brokerdemo.znodes import Master, MasterEpoch, ZnodeValueError

# Refused once: somebody wrote in between. Refused again and again: something is in the way that planning cannot see (a
# foreign znode below a topic that is to be deleted); then it is said, and tried at a growing distance.
REFUSALS_AT_ONCE = 3
PAUSE_FIRST_S = 0.05
PAUSE_MAX_S = 5.0


class Candidate:
    """One broker's standing for controller, for one session."""

    def __init__(
        self,
        zk: "coordination.Client",
        *,
        broker_id: int,
        owner: str,
        incarnation: str,
        channel: Channel,
        fence: Fence,
        live: LiveSettings,
        known: Callable[[], Mapping[str, Collection[int]]] = dict,
    ) -> None:
        self._zk = zk
        self._broker_id = broker_id
        self._owner = owner
        self._incarnation = incarnation
        self._channel = channel
        self._fence = fence
        self._live = live
        self._known = known
        self._dirty: set[str] = set()
        self._dirty_topics: set[str] = set()
        self._wake = trio.Event()
        self._deposed = ""  # why, once it is
        self.controller_epoch: int | None = None  # while controller
        self.reason_to_end = "its session ended"

    async def run(self) -> None:
        """Runs until cancelled or the session is over (`SessionExpiredError`)."""
        while True:
            epoch, version = await self._win()
            await self._fence.until_lifted()
            self._channel.emit("controller_elected", controller_epoch=epoch)
            reason = None
            self.controller_epoch = epoch
            try:
                reason = await self._govern(epoch, version)
            finally:
                self.controller_epoch = None
                told = reason or self.reason_to_end
                self._channel.emit("controller_resigned", controller_epoch=epoch, reason=told)
            await self._step_down()

    # ---- the election ------------------------------------------------------------------------------------------------

    async def _win(self) -> tuple[int, int]:
        """Returns (controller epoch, version of /master_epoch) once this broker is the controller."""
        present = await self._epoch()
        first = True
        async with self._zk.watch_exists(znodes.MASTER) as changes:
            async for stat in changes:
                standing = True
                while standing:
                    stale = None
                    if stat is not None:
                        if not first and stat.ephemeral_owner != self._zk.session_id:
                            # Somebody else, surely by the multi that raised the epoch. A guess costs nothing: a wrong
                            # one is refused and read anew, a right one saves the loser's reads while others recover.
                            present = (present[0] + 1, present[1] + 1)
                            break
                        first = False
                        try:
                            value, stat = await self._zk.get(znodes.MASTER)
                        except coordination.NoNodeError:
                            stat = None
                            continue
                        present = await self._epoch()
                        if stat.ephemeral_owner == self._zk.session_id:
                            return present  # an earlier attempt had succeeded, its answer was lost
                        if self._owner_of(value) != self._owner:
                            break  # somebody else is it
                        stale = stat.version  # our own, of a session that still lives
                    first = False
                    won, standing = await self._try(present, stale)
                    if won is not None:
                        return won
                    if standing:
                        present = await self._epoch()
                        stat = await self._zk.exists(znodes.MASTER)
        raise AssertionError("a watch ends only by an exception")

    async def _try(self, present: tuple[int, int], stale: int | None) -> tuple[tuple[int, int] | None, bool]:
        """One attempt: (what was won, whether to try again at once)."""
        epoch, version = present[0] + 1, present[1]
        master = Master(self._broker_id, epoch, self._owner, self._incarnation)
        operations: list[coordination.Create | coordination.Set | coordination.Delete | coordination.Check] = [
            coordination.Create(znodes.MASTER, master.encode(), ephemeral=True),
            coordination.Set(znodes.MASTER_EPOCH, MasterEpoch(epoch).encode(), version),
        ]
        if stale is not None:
            operations.insert(0, coordination.Delete(znodes.MASTER, stale))
        try:
            results = await self._zk.multi(operations)
        except coordination.MultiError as refused:
            # Somebody else was quicker: the watch will tell. Anything else (a moved epoch): look and try again.
            return None, not isinstance(refused.error, coordination.NodeExistsError)
        except UNKNOWN:
            await self._zk.wait_for(coordination.ConnectionState.CONNECTED)
            return None, True
        written = results[-1]
        assert isinstance(written, coordination.Stat), "a set answers with a stat"
        return (epoch, written.version), False

    async def _epoch(self) -> tuple[int, int]:
        """The controller epoch and its znode's version. Waits while the znode is missing or cannot be used."""
        async with self._zk.watch_data(znodes.MASTER_EPOCH) as changes:
            async for item in changes:
                if item is None:
                    try:
                        await self._zk.create(znodes.MASTER_EPOCH, MasterEpoch(0).encode())
                    except (coordination.NodeExistsError, *UNKNOWN):
                        pass
                    continue
                try:
                    return MasterEpoch.decode(item[0]).epoch, item[1].version
                except ZnodeValueError as error:
                    self._refused(error)
        raise AssertionError("a watch ends only by an exception")

    def _owner_of(self, value: bytes) -> str | None:
        try:
            return Master.decode(value).owner
        except ZnodeValueError as error:
            self._refused(error)
            return None

    async def _step_down(self) -> None:
        """Deposed, and yet /master may still be ours (somebody wrote /master_epoch by hand): make room."""
        try:
            stat = await self._zk.exists(znodes.MASTER)
            if stat is not None and stat.ephemeral_owner == self._zk.session_id:
                await self._zk.delete(znodes.MASTER, stat.version)
        except (coordination.NoNodeError, coordination.BadVersionError, *UNKNOWN):
            pass  # _win looks again

    # ---- being the controller ----------------------------------------------------------------------------------------

    async def _govern(self, epoch: int, version: int) -> str:
        """Returns why it ended, if it ended otherwise than with the session."""
        controller = Controller(self._broker_id, epoch)
        reader = ViewReader(self._zk, self._refused, self._known)
        self._dirty, self._dirty_topics, self._deposed = {"urgent"}, set(), ""
        watching = False
        async with trio.open_nursery() as nursery:
            while True:
                await self._fence.until_lifted()
                await self._read(reader)
                if not self._deposed:
                    await self._act(controller, reader, version)
                if self._deposed:
                    nursery.cancel_scope.cancel()
                    break
                if not watching:
                    # After the first plan, which answers a death: nothing stands before it. What changed since then
                    # shows in each watch's first item.
                    watching = True
                    nursery.start_soon(self._watch_master)
                    nursery.start_soon(self._watch_children, znodes.WORKERS, "workers")
                    nursery.start_soon(self._watch_children, znodes.DELETE_TOPICS, "requests")
                    nursery.start_soon(self._watch_reassign)
                    nursery.start_soon(self._watch_topics, reader)
                    nursery.start_soon(self._watch_settings)
                await self._until_due(controller.next_deadline())
        return self._deposed

    async def _act(self, controller: Controller, reader: ViewReader, version: int) -> None:
        """Steps and writes until there is nothing to do, or until it is deposed."""
        refusals = 0
        while True:
            view = reader.view(version, self._live.present.controller)
            plan = controller.step(view, int(trio.current_time() * 1000))
            for fact in plan.facts:
                self._tell(fact)
            if not plan.multis:
                return
            for multi in plan.multis:
                written = await self._write(multi, reader)
                if self._deposed:
                    return
                if not written:
                    refusals += 1
                    break
                refusals = 0
            if refusals > REFUSALS_AT_ONCE:
                self._channel.log("warning", "plan_refused_again", times=refusals)
                # A change of the cluster ends the pause: a death must not wait behind a hopeless plan.
                with trio.move_on_after(min(PAUSE_FIRST_S * 2 ** (refusals - REFUSALS_AT_ONCE), PAUSE_MAX_S)):
                    self._wake = trio.Event()
                    await self._wake.wait()
            await self._fence.until_lifted()
            await self._read(reader)

    async def _write(self, multi: Multi, reader: ViewReader) -> bool:
        """One multi. False: refused or unknown, the rest of the plan no longer holds."""
        try:
            results = await self._zk.multi([_translate(operation) for operation in multi.operations])
        except coordination.MultiError as refused:
            if refused.index == 0:
                self._deposed = f"another controller was elected: {znodes.MASTER_EPOCH} moved on"
            else:
                self._channel.log("info", "plan_refused", index=refused.index, error=str(refused.error))
                self._dirty.add("everything")
            return False
        except UNKNOWN:
            self._dirty.add("everything")
            return False
        zxid = max((r.mzxid for r in results if isinstance(r, coordination.Stat)), default=None)
        if not reader.wrote(multi.operations, results):
            self._dirty |= {"topics", "requests"}
        for fact in multi.facts:
            if fact.event == "assignment_written" and zxid is not None:
                fact = Fact(fact.event, {**fact.fields, "zxid": zxid})
            self._tell(fact)
        return True

    def _tell(self, fact: Fact) -> None:
        self._channel.emit(fact.event, **dict(fact.fields))

    def _refused(self, error: ZnodeValueError) -> None:
        shown = error.value if isinstance(error.value, str | int | float) else repr(error.value)
        self._channel.emit("config_rejected", znode=error.znode, key=error.key, value=shown, reason=error.reason)

    # ---- looking -----------------------------------------------------------------------------------------------------

    async def _read(self, reader: ViewReader) -> None:
        """Read again what may have changed."""
        while self._dirty or self._dirty_topics:
            dirty, self._dirty = self._dirty, set()
            topics, self._dirty_topics = self._dirty_topics, set()
            if "everything" in dirty or "urgent" in dirty:
                await reader.everything(urgent="everything" not in dirty)
                continue
            # Deaths first: they are what somebody waits for.
            if "workers" in dirty:
                await reader.workers()
            if "requests" in dirty:
                await reader.requests()
            if "topics" in dirty:
                await reader.all_topics()
            elif topics:
                await reader.topics(topics)

    def _look(self, what: str) -> None:
        self._dirty.add(what)
        self._wake.set()

    async def _until_due(self, deadline_ms: int | None) -> None:
        if not (self._dirty or self._dirty_topics or self._deposed):
            with trio.move_on_at(float("inf") if deadline_ms is None else deadline_ms / 1000):
                await self._wake.wait()
        self._wake = trio.Event()

    async def _watch_master(self) -> None:
        async with self._zk.watch_exists(znodes.MASTER) as changes:
            async for stat in changes:
                if stat is None or stat.ephemeral_owner != self._zk.session_id:
                    self._deposed = f"{znodes.MASTER} is not its own any more"
                    self._wake.set()
                    return

    async def _watch_children(self, path: str, what: str) -> None:
        async with self._zk.watch_children(path) as changes:
            async for _ in changes:
                self._look(what)

    async def _watch_reassign(self) -> None:
        async with self._zk.watch_exists(znodes.REASSIGN_PARTITIONS) as changes:
            async for stat in changes:
                if stat is not None:
                    self._look("requests")

    async def _watch_settings(self) -> None:
        while True:
            changed = self._live.changed
            self._wake.set()
            await changed.wait()

    async def _watch_topics(self, reader: ViewReader) -> None:
        scopes: dict[str, trio.CancelScope] = {}
        async with trio.open_nursery() as nursery, self._zk.watch_children(znodes.TOPICS) as changes:
            async for names in changes:
                present = set(names or ())
                for name in present - scopes.keys():
                    scopes[name] = trio.CancelScope()
                    nursery.start_soon(self._watch_topic, name, scopes[name], reader.topic_mzxid)
                for name in scopes.keys() - present:
                    scopes.pop(name).cancel()
                    self._look("topics")

    async def _watch_topic(self, name: str, scope: trio.CancelScope, mzxid_of: Callable[[str], int | None]) -> None:
        with scope:
            async with self._zk.watch_exists(znodes.topic_path(name)) as changes:
                async for stat in changes:
                    if stat is not None and stat.mzxid != mzxid_of(name):
                        self._dirty_topics.add(name)
                        self._wake.set()


def _translate(
    operation: Operation,
) -> "coordination.Create | coordination.Set | coordination.Delete | coordination.Check":
    """The core's operation as the client's."""
    match operation:
        case Check(path, version):
            return coordination.Check(path, version)
        case Create(path, value):
            return coordination.Create(path, value)
        case Set(path, value, version):
            return coordination.Set(path, value, version)
        case Delete(path, version):
            return coordination.Delete(path, version)
