"""Config verbs: settings read, written and watched, for the control socket. They write znodes, as any client could, and
wait for the effect.

In: scopes and settings. Out: znodes; results with the delay per broker. The znodes are the door: brokers act on what
they see there, never on a call.

(1) `config_set` merges into what is there by compare-and-set, and returns when every live broker of this host has
    answered that version, applied or refused.
"""

import time
from typing import TYPE_CHECKING, Any

import trio

import coordination
from brokerdemo import znodes
from brokerdemo.cluster.control_server import Arguments, Conversation, Verb
from brokerdemo.cluster.errors import ClusterError, Code

if TYPE_CHECKING:
    from brokerdemo.cluster.supervisor import Supervisor

ANSWER_WITHIN_MS = 10_000
_TRIES = 10


class ConfigVerbs:
    def __init__(self, supervisor: "Supervisor") -> None:
        self._sup = supervisor

    def verbs(self) -> dict[str, Verb]:
        return {"config_get": self.config_get, "config_set": self.config_set, "config_watch": self.config_watch}

    async def config_get(self, talk: Conversation, said: dict[str, Any]) -> Any:
        ask = Arguments("config_get", said)
        scope, key = ask.text("scope", "cluster"), ask.text("key", "")
        znode = znode_of(scope)
        async with self._sup.service.client("config get") as zk:
            config, version = await read_config(zk, znode)
        settings = dict(config.config)
        if key:
            if key not in settings:
                raise ClusterError(
                    Code.NOT_FOUND, f"{key} is not set for {scope}",
                    f"{znode} holds: {', '.join(settings) or 'nothing'}",
                    f"brokerdemo config set {scope} {key}=...",
                )  # fmt: skip
            settings = {key: settings[key]}
        return {"scope": scope, "znode": znode, "version": version, "config": settings}

    async def config_set(self, talk: Conversation, said: dict[str, Any]) -> Any:
        ask = Arguments("config_set", said)
        scope, settings = ask.text("scope"), ask.mapping("settings", required=True)
        within_ms = ask.ms("within_ms", ANSWER_WITHIN_MS)
        assert within_ms is not None
        znode = znode_of(scope)
        if not settings or not all(settings):
            raise ClusterError(
                Code.USAGE, "config set needs KEY=VALUE", "", f"brokerdemo config set {scope} log.level=debug"
            )
        since = self._sup.log.last_seq
        async with self._sup.service.client("config set") as zk:
            stat, written_ns = await self._write(zk, znode, settings)
        self._sup.log.emit(
            "config_written", t_ns=written_ns, znode=znode, settings=settings, scope=scope,
            version=stat.version, mzxid=stat.mzxid,
        )  # fmt: skip
        waited = {m.broker for m in self._sup.host.members.values() if m.alive and not m.paused and m.registered}
        if scope.startswith("broker:"):
            waited &= {int(scope.partition(":")[2])}
        applied: dict[int, dict[str, Any]] = {}
        rejected: dict[int, dict[str, Any]] = {}
        with trio.move_on_after(within_ms / 1000):
            records = self._sup.log.follow(since)
            while waited - applied.keys() - rejected.keys():
                event = (await anext(records)).event
                if event.get("znode") != znode or event.get("mzxid", 0) < stat.mzxid or "broker" not in event:
                    continue
                broker, delay_ms = event["broker"], round((event["t_ns"] - written_ns) / 1e6, 3)
                if event["event"] == "config_applied":
                    applied.setdefault(broker, {"broker": broker, "delay_ms": delay_ms})
                elif event["event"] == "config_rejected":
                    rejected.setdefault(
                        broker,
                        {
                            "broker": broker,
                            "delay_ms": delay_ms,
                            **{k: event.get(k) for k in ("key", "value", "reason")},
                        },
                    )
        result = {
            "scope": scope, "znode": znode, "version": stat.version, "settings": settings,
            "applied": [applied[b] for b in sorted(applied)], "rejected": [rejected[b] for b in sorted(rejected)],
        }  # fmt: skip
        if silent := sorted(waited - applied.keys() - rejected.keys()):
            raise ClusterError(
                Code.TIMED_OUT, f"{znode} is written, but brokers {silent} did not answer within {within_ms:.0f} ms",
                "they may be cut off from the coordination service", "brokerdemo status", result=result,
            )  # fmt: skip
        return result

    async def _write(
        self, zk: coordination.Client, znode: str, settings: dict[str, Any]
    ) -> tuple[coordination.Stat, int]:
        """Merge and write; the new stat, and the instant before the write. A value of None takes the key out."""
        for _ in range(_TRIES):
            config, version = await read_config(zk, znode)
            merged = {**config.config, **{k: as_text(v) for k, v in settings.items() if v is not None}}
            for key in (k for k, v in settings.items() if v is None):
                merged.pop(key, None)
            value = znodes.Config(merged, config.extra).encode()
            before_ns = time.monotonic_ns()
            try:
                if version is None:
                    await zk.create(znode, value, makepath=True)
                    stat = await zk.exists(znode)
                    if stat is None:
                        continue
                    return stat, before_ns
                return await zk.set(znode, value, version), before_ns
            except (coordination.BadVersionError, coordination.NodeExistsError, coordination.NoNodeError):
                continue
        raise ClusterError(
            Code.CONFLICT, f"{znode} changes too often", "somebody else writes it in a loop", "try again later"
        )

    async def config_watch(self, talk: Conversation, said: dict[str, Any]) -> Any:
        scope = Arguments("config_watch", said).text("scope", "cluster")
        znode = znode_of(scope)
        async with self._sup.service.client("config watch") as zk, zk.watch_data(znode) as changes:
            async for found in changes:
                try:
                    config = dict(znodes.Config.decode(found[0], znode).config) if found and found[0] else {}
                    answer: dict[str, Any] = {
                        "znode": znode,
                        "config": config,
                        "version": found[1].version if found else None,
                    }
                except znodes.ZnodeValueError as error:
                    answer = {"znode": znode, "error": str(error)}
                talk.say({"event": {"event": "config", "t_ns": time.monotonic_ns(), "source": "supervisor", **answer}})
        return {}


def znode_of(scope: str) -> str:
    """`cluster`, `broker:3` or `topic:orders` as a path; ClusterError (usage) otherwise."""
    kind, _, name = scope.partition(":")
    if kind == "cluster" and not name:
        return znodes.CONFIG_CLUSTER
    if kind == "broker" and znodes.parse_id(name) is not None:
        return znodes.broker_config_path(int(name))
    if kind == "topic" and name:
        try:
            znodes.check_topic_name(name)
        except ValueError as error:
            raise ClusterError(Code.USAGE, str(error), "", "brokerdemo config get topic:demo") from None
        return znodes.topic_config_path(name)
    raise ClusterError(
        Code.USAGE,
        f"{scope!r} is not a scope",
        "a scope is cluster, broker:3 or topic:demo",
        "brokerdemo config get cluster",
    )


def as_text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


async def read_config(zk: coordination.Client, znode: str) -> tuple[znodes.Config, int | None]:
    """The settings and the data version; None when there is no such znode.

    A value that cannot be read counts as empty: it is about to be replaced."""
    try:
        value, stat = await zk.get(znode)
    except coordination.NoNodeError:
        return znodes.Config({}), None
    try:
        return (znodes.Config.decode(value, znode) if value else znodes.Config({})), stat.version
    except znodes.ZnodeValueError:
        return znodes.Config({}), stat.version
