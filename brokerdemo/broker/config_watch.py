"""Live settings from the /config znodes: watched, checked, applied, acknowledged.

In:  /config/cluster, /config/brokers/<own id>, /config/topics/*.  Out: `Settings` in force, config_applied and
config_rejected events. What the keys are is `settings`. Answers to Kafka's DynamicConfigManager and its handlers.

(1) A znode that cannot be used keeps its last good settings and is told with znode, key, value and reason.
(2) config_applied is said after the settings are in force, once per version of a znode and process.
(3) A znode that is deleted takes its settings back.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

import coordination
from brokerdemo import znodes
from brokerdemo.broker.channel import Channel
from brokerdemo.broker.settings import BROKER, CLUSTER, TOPIC, Settings, Value, in_force, parse
from brokerdemo.znodes import Config, ZnodeValueError


@dataclass(slots=True)
class LiveSettings:
    """The settings of one broker process, over all of its sessions."""

    base: Settings
    znodes: dict[str, dict[str, Value]] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)
    present: Settings = field(init=False)
    changed: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        self.present = self.base

    def put(self, znode: str, values: dict[str, Value], broker_id: int) -> None:
        """One znode's settings are now these."""
        self.znodes[znode] = values
        topics = {
            path.removeprefix(znodes.CONFIG_TOPICS + "/"): values
            for path, values in self.znodes.items()
            if path.startswith(znodes.CONFIG_TOPICS + "/")
        }
        self.present = in_force(
            self.base,
            self.znodes.get(znodes.CONFIG_CLUSTER, {}),
            self.znodes.get(znodes.broker_config_path(broker_id), {}),
            topics,
        )
        self.changed.set()
        self.changed = trio.Event()


class ConfigWatch:
    """Watches for one session. `apply(old, new)` puts settings in force; it may take a round trip."""

    def __init__(
        self,
        zk: "coordination.Client",
        live: LiveSettings,
        channel: Channel,
        broker_id: int,
        apply: Callable[[Settings, Settings], Awaitable[None]],
    ) -> None:
        self._zk = zk
        self._live = live
        self._channel = channel
        self._broker_id = broker_id
        self._apply = apply
        self._one_at_a_time = trio.Lock()

    async def run(self) -> None:
        """Runs until cancelled or the session is over (`SessionExpiredError`)."""
        topics: dict[str, trio.CancelScope] = {}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, CLUSTER, znodes.CONFIG_CLUSTER, trio.CancelScope())
            nursery.start_soon(self._watch, BROKER, znodes.broker_config_path(self._broker_id), trio.CancelScope())
            async with self._zk.watch_children(znodes.CONFIG_TOPICS) as changes:
                async for names in changes:
                    present = set(names or ())
                    for name in present - topics.keys():
                        topics[name] = trio.CancelScope()
                        nursery.start_soon(self._watch, TOPIC, znodes.topic_config_path(name), topics[name])
                    for name in topics.keys() - present:
                        topics.pop(name).cancel()
                        await self._withdraw(znodes.topic_config_path(name))

    async def _watch(self, scope: str, znode: str, cancel: trio.CancelScope) -> None:
        with cancel:
            async with self._zk.watch_data(znode) as changes:
                async for item in changes:
                    if item is None:
                        await self._withdraw(znode)
                    else:
                        await self._take(scope, znode, *item)

    async def _take(self, scope: str, znode: str, value: bytes, stat: "coordination.Stat") -> None:
        if self._live.answered.get(znode) == stat.mzxid:
            return  # a new session reads what the last one had
        refused: list[ZnodeValueError]
        try:
            # An empty znode, as `create` without a value makes it, says nothing and is no mistake.
            values, refused = parse(scope, znode, Config.decode(value, znode).config if value else {})
        except ZnodeValueError as unusable:
            values, refused = {}, [unusable]
        about = {"znode": znode, "version": stat.version, "mzxid": stat.mzxid}
        if refused:
            self._live.answered[znode] = stat.mzxid
            for error in refused:
                shown = error.value if isinstance(error.value, str | int | float) else repr(error.value)
                self._channel.emit("config_rejected", **about, key=error.key, value=shown, reason=error.reason)
            return
        changed = await self._put(znode, values)
        self._live.answered[znode] = stat.mzxid
        self._channel.emit("config_applied", **about, changed=changed)

    async def _withdraw(self, znode: str) -> None:
        if self._live.answered.pop(znode, None) is None and znode not in self._live.znodes:
            return
        changed = await self._put(znode, {})
        self._live.znodes.pop(znode, None)
        self._channel.emit("config_applied", znode=znode, version=-1, changed=changed)

    async def _put(self, znode: str, values: dict[str, Value]) -> dict[str, object]:
        """Put in force; returns what changed in that znode (None = taken back)."""
        async with self._one_at_a_time:
            before, old = self._live.znodes.get(znode, {}), self._live.present
            self._live.put(znode, values, self._broker_id)
            await self._apply(old, self._live.present)
        keys = sorted(before.keys() | values.keys())
        return {key: values.get(key) for key in keys if values.get(key) != before.get(key)}
