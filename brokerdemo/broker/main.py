"""One broker process: binds its port, becomes a member, stands for controller, does what /topics says, until stopped.

In:  `BrokerOptions`.  Out: an exit code; everything else goes over the channel, the log and the znodes. Knows how the
parts are put together and nothing of what they decide. Answers to Kafka's KafkaServer.

    process: port, voice, clock, signals
      session: certificate handed over; everything below is made anew when it expires
        registration: /workers/<id> under this czxid; roles, live settings, standing for controller

(1) The port is bound before the broker registers; the certificate is handed over before anything the session creates.
(2) SIGTERM, SIGINT or `stop` on the channel: the session is closed, so the ephemerals go at once, and the exit is 0.
(3) An expired session is never survived silently: broker_fenced, then a new session and a new broker epoch.
(4) Exit codes: 0 stopped, 4 the id belongs to another broker, 7 the surroundings do not allow it (port, directory).
"""

import signal
import sys
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import trio

import coordination
from brokerdemo import znodes
from brokerdemo.broker import listener
from brokerdemo.broker.channel import Channel
from brokerdemo.broker.config_watch import ConfigWatch, LiveSettings
from brokerdemo.broker.controller_loop import Candidate
from brokerdemo.broker.membership import UNKNOWN, Fence, IdTakenError, register, watch_clock, watch_registration
from brokerdemo.broker.options import BrokerOptions
from brokerdemo.broker.partitions_watch import PartitionsWatch, Roles
from brokerdemo.broker.settings import Settings
from brokerdemo.observe import logs
from brokerdemo.znodes import MasterEpoch, Worker

# Replies cross from the client's thread to trio's; with CPython's 5 ms each crossing may wait so long for a thread that
# is only busy. Measured on a busy 2-core machine: reading the controller's view took 8.4 ms with 5 ms and 5 ms so.
SWITCH_INTERVAL_S = 0.0005

EXIT_STOPPED = 0
EXIT_CONFLICT = 4
EXIT_SURROUNDINGS = 7

OWNER_FILE = "owner"


def run(options: BrokerOptions) -> int:
    """Run one broker in this process until it is stopped; the exit code. Callable in a forked child."""
    if options.log_file is not None:
        logs.set_up(process=f"broker {options.broker_id}", file=options.log_file)
    channel = Channel(options.broker_id, options.channel_fd)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        return trio.run(_process, options, channel)
    finally:
        channel.flush_log()


async def _process(options: BrokerOptions, channel: Channel) -> int:
    stop = trio.Event()
    code = EXIT_STOPPED
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.drain)
            nursery.start_soon(channel.listen, stop)

            async def on_signal() -> None:
                async for _ in signals:
                    stop.set()

            nursery.start_soon(on_signal)
            code = await Broker(options, channel).run(stop)
            nursery.cancel_scope.cancel()
    return code


def owner_of(options: BrokerOptions) -> str:
    """The stable id of this broker's data directory: given, read, or made and kept. OSError if it cannot be kept."""
    if options.owner is not None:
        return options.owner
    if options.data_dir is None:
        return str(uuid.uuid4())
    path = Path(options.data_dir) / OWNER_FILE
    try:
        kept = path.read_text().strip()
    except FileNotFoundError:
        kept = ""
    if kept:
        return kept
    path.parent.mkdir(parents=True, exist_ok=True)
    made = str(uuid.uuid4())
    # Written beside and renamed: a broker killed here finds the whole id or none.
    beside = path.with_suffix(".new")
    beside.write_text(made + "\n")
    beside.rename(path)
    return made


class Broker:
    """The parts of one broker process, put together. `channel` carries its events."""

    def __init__(self, options: BrokerOptions, channel: Channel) -> None:
        self._options = options
        self._id = options.broker_id
        self._channel = channel
        self._incarnation = str(uuid.uuid4())
        self._fence = Fence(lambda reason: channel.emit("broker_fenced", reason=reason))
        channel.before_emit = self._fence.check
        self._live = LiveSettings(Settings(session_timeout_ms=options.session_timeout_ms, rack=options.rack))
        self._candidate: Candidate | None = None
        self.roles = Roles(self._id, channel)

    @property
    def may_serve(self) -> bool:
        """Whether clients may be answered for what `roles` says. The data plane asks before every answer."""
        self._fence.check()
        return not self._fence.fenced

    async def run(self, stop: trio.Event) -> int:
        """Until `stop` is set or it cannot go on; the exit code."""
        try:
            self._owner = owner_of(self._options)
            listeners = await listener.bind(self._options.host, self._options.port)
        except OSError as error:
            return self._give_up(
                EXIT_SURROUNDINGS,
                f"broker {self._id} cannot start: {error}. "
                f"Free {self._options.host}:{self._options.port} and make {self._options.data_dir} writable, "
                f"or choose others",
            )
        self._worker = Worker(
            self._options.advertised_host or self._options.host,
            listener.port_of(listeners),
            self._options.rack,
            self._owner,
            self._incarnation,
        )
        code = EXIT_STOPPED
        async with trio.open_nursery() as nursery:

            async def on_stop() -> None:
                await stop.wait()
                if self._candidate is not None:
                    self._candidate.reason_to_end = "stopping"
                self._fence.detach()
                nursery.cancel_scope.cancel()

            nursery.start_soon(listener.serve, listeners)
            nursery.start_soon(watch_clock, self._fence)
            nursery.start_soon(on_stop)
            code = await self._sessions()
            nursery.cancel_scope.cancel()
        return code

    def _give_up(self, code: int, message: str) -> int:
        self._channel.log("error", "broker_gives_up", reason=message, exit_code=code)
        print(f"error: {message}", file=sys.stderr)
        return code

    # ---- sessions ----------------------------------------------------------------------------------------------------

    async def _sessions(self) -> int:
        """Session after session. Returns an exit code when there is no point in another one."""
        code: int | None = None
        while code is None:
            try:
                async with coordination.connect(
                    self._options.connect, session_timeout_ms=self._live.present.session_timeout_ms
                ) as zk:
                    await self._session(zk)
            except* coordination.NotConnectedError as group:
                self._channel.log("warning", "coordination_unreachable", reason=str(group.exceptions[0]))
            except* coordination.SessionExpiredError:
                self._fence.fence("the session expired")
            except* IdTakenError as group:
                code = self._give_up(EXIT_CONFLICT, str(_first(group)))
            except* (coordination.AuthFailedError, coordination.NoAuthError, coordination.RemoteProtocolError) as group:
                code = self._give_up(
                    EXIT_SURROUNDINGS,
                    f"broker {self._id} cannot use the coordination service at {self._options.connect}: "
                    f"{_first(group)}. Check the address and what runs there",
                )
            finally:
                self._fence.detach()
        return code

    async def _session(self, zk: "coordination.Client") -> None:
        self._channel.certificate(zk.session_id, zk.session_password.reveal())
        await _make_parents(zk)
        while True:
            self._worker = replace(self._worker, rack=self._live.present.rack)
            registration = await register(
                zk, self._id, self._worker, patience_s=self._live.present.session_timeout_ms / 1000
            )
            self._fence.attach(zk)
            self._channel.emit(
                "broker_registered",
                zxid=registration.epoch,
                incarnation=self._incarnation,
                host=self._worker.host,
                port=self._worker.port,
                replaced=registration.replaced,
                session_timeout_ms=zk.session_timeout_ms,
            )
            await self._registered(zk, registration.epoch)

    async def _registered(self, zk: "coordination.Client", epoch: int) -> None:
        """Everything a member does. Returns when the registration has to be made again."""
        partitions = PartitionsWatch(zk, self.roles, self._channel, self._id, epoch)
        self._candidate = Candidate(
            zk,
            broker_id=self._id,
            owner=self._owner,
            incarnation=self._incarnation,
            channel=self._channel,
            fence=self._fence,
            live=self._live,
            known=lambda: partitions.known,
        )
        config = ConfigWatch(zk, self._live, self._channel, self._id, self._applier(zk))
        path = znodes.worker_path(self._id)

        def unfenced() -> None:
            self._channel.emit("broker_unfenced", zxid=epoch)

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._candidate.run)
                nursery.start_soon(partitions.run)
                nursery.start_soon(config.run)
                await watch_registration(zk, self._fence, path, epoch, self._owner, unfenced)
                self._candidate.reason_to_end = "its registration is gone"
                nursery.cancel_scope.cancel()
        finally:
            self._candidate = None

    def _applier(self, zk: "coordination.Client") -> Callable[[Settings, Settings], Awaitable[None]]:
        async def apply(old: Settings, new: Settings) -> None:
            if new.log_level != old.log_level:
                logs.set_level(new.log_level)
            try:
                if new.session_timeout_ms != old.session_timeout_ms:
                    await zk.set_session_timeout(new.session_timeout_ms)
                    # What the server granted, which is not always what was asked for.
                    self._channel.emit("session_timeout_changed", session_timeout_ms=zk.session_timeout_ms)
                if new.rack != old.rack:
                    self._worker = replace(self._worker, rack=new.rack)
                    await zk.set(znodes.worker_path(self._id), self._worker.encode())
            except (coordination.NoNodeError, *UNKNOWN) as error:
                # The timeout is asked for again whenever the connection comes back, the rack at the next registration.
                self._channel.log("warning", "setting_applied_late", reason=str(error))

        return apply


async def _make_parents(zk: "coordination.Client") -> None:
    """The znodes everything else stands under; whoever comes first makes them, in one multi."""
    missing = [coordination.Create(path) for path in znodes.PERSISTENT_PARENTS]
    missing.append(coordination.Create(znodes.MASTER_EPOCH, MasterEpoch(0).encode()))
    if await zk.exists(znodes.MASTER_EPOCH) is not None:
        return
    try:
        await zk.multi(missing)
        return
    except (coordination.MultiError, *UNKNOWN):
        pass  # somebody made some of them; one by one then
    for create in missing:
        while await zk.exists(create.path) is None:
            try:
                await zk.create(create.path, create.value)
            except coordination.NodeExistsError:
                pass
            except UNKNOWN:
                await zk.wait_for(coordination.ConnectionState.CONNECTED)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception that is not itself a group."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
