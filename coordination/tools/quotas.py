"""Quotas: the znodes under /zookeeper/quota that hold limits and use, and the verbs that set, show and lift them.

In: a `Call`.  Out: what ZooKeeper 3.9's shell prints, and the same as JSON fields.
Answers to StatsTrack, Quotas, SetQuotaCommand, ListQuotaCommand, DelQuotaCommand.

(1) A limit of -1 is none. The text of a limit keeps the order and the odd `=` that readers before 3.5 need
    (StatsTrack.toString).
(2) A quota is refused where a parent or a child of the path has one already.
"""

from contextlib import suppress
from dataclasses import dataclass, field

from coordination.errors import NodeExistsError, NoNodeError
from coordination.paths import join, parent_of
from coordination.tools import words
from coordination.tools.client import Client
from coordination.tools.java_options import Options
from coordination.tools.verb import Call, Verb, VerbError
from coordination.tools.verbs_read import walk

ROOT = "/zookeeper/quota"
LIMIT_NODE = "zookeeper_limits"
STAT_NODE = "zookeeper_stats"
# option -> (key in the znode, smallest value, word for an error)
_LIMITS = {
    "n": ("count", 1, "the num quota must be greater than zero"),
    "b": ("bytes", 0, "the bytes quota must be greater than or equal to zero"),
    "N": ("countHardLimit", 1, "the num quota must be greater than zero"),
    "B": ("byteHardLimit", 0, "the bytes quota must be greater than or equal to zero"),
}


@dataclass(slots=True)
class Limits:
    """Counts and bytes of one path, a limit or what is used."""

    values: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes | None) -> "Limits":
        values = {}
        for pair in (data or b"").decode(errors="replace").replace(";", ",").split(","):
            key, is_pair, value = pair.partition("=")
            if is_pair:
                with suppress(ValueError):
                    values[key] = int(value.rstrip("=") or -1)
        return cls(values)

    def get(self, key: str) -> int:
        return self.values.get(key, -1)

    def __str__(self) -> str:
        text = f"count={self.get('count')},bytes={self.get('bytes')}"
        more = sorted(set(self.values) - {"count", "bytes"})
        return text + ("=" + "".join(f";{key}={self.values[key]}" for key in more) if more else "")


def _limit_path(path: str) -> str:
    return f"{ROOT}{path}/{LIMIT_NODE}"


def _stat_path(path: str) -> str:
    return f"{ROOT}{path}/{STAT_NODE}"


def _set_quota(call: Call) -> None:
    path, client = call.path, call.client
    if path.startswith(ROOT):
        raise VerbError(f"cannot set a quota under the path: {ROOT}")
    asked = Limits()
    for option, (key, least, word) in _LIMITS.items():
        value = call.integer(option, -1, "NumberFormatException happens when parsing the option value", bits=64)
        if call.has(option) and value < least:
            raise VerbError(word)
        asked.values[key] = value
    if client.exists(path) is None:
        raise VerbError(f"{path} does not exist.", words.EXIT_NO_NODE, f"make it first: create {path}")
    _check_no_other(client, path)
    _make_parents(client, path)
    limit_path, stat_path = _limit_path(path), _stat_path(path)
    if client.exists(limit_path) is None:
        client.create(limit_path, str(asked).encode())
        with suppress(NodeExistsError):
            client.create(stat_path, str(Limits({"count": 0, "bytes": 0})).encode())
        limits = asked
    else:
        limits = Limits.parse(client.get(limit_path)[0])
        limits.values.update({key: value for key, value in asked.values.items() if value > -1})
        client.set(limit_path, str(limits).encode())
    _warn(call, limits, Limits.parse(client.get(stat_path)[0]))
    call.out.put(path=path, limits=limits.values)


def _warn(call: Call, limits: Limits, used: Limits) -> None:
    for what, keys in (("count", ("count", "countHardLimit")), ("bytes", ("bytes", "byteHardLimit"))):
        if any(-1 < limits.get(key) < used.get(what) for key in keys):
            call.out.line(f"[Warning]: the {what} quota you create is less than the existing {what}:{used.get(what)}")


def _check_no_other(client: Client, path: str) -> None:
    own = ROOT + path
    with suppress(NoNodeError):
        for each in walk(client, own):
            if each != own and each.endswith(f"/{LIMIT_NODE}") and parent_of(each) != own:
                holder = parent_of(each)[len(ROOT) :]
                raise VerbError(
                    f"{path} has a child {holder} which has a quota", words.EXIT_REFUSED, f"listquota {holder}"
                )
    above = parent_of(path)
    while above != "/":
        if client.exists(_limit_path(above)) is not None:
            raise VerbError(f"{path} has a parent {above} which has a quota", words.EXIT_REFUSED, f"listquota {above}")
        above = parent_of(above)


def _make_parents(client: Client, path: str) -> None:
    at = ROOT
    for name in path.split("/")[1:]:
        at = join(at, name)
        if client.exists(at) is None:
            with suppress(NodeExistsError):
                client.create(at, None)


def _list_quota(call: Call) -> None:
    path = call.path
    if not call.out.as_json:
        call.out.note(f"absolute path is {_limit_path(path)}")
    try:
        limits = Limits.parse(call.client.get(_limit_path(path))[0])
        used = Limits.parse(call.client.get(_stat_path(path))[0])
    except NoNodeError:
        raise VerbError(f"quota for {path} does not exist.", words.EXIT_NO_NODE, f"setquota -n COUNT {path}") from None
    call.out.line(f"Output quota for {path} {limits}")
    call.out.line(f"Output stat for {path} {used}")
    call.out.put(path=path, limits=limits.values, used=used.values)


def _del_quota(call: Call) -> None:
    path, client = call.path, call.client
    limit_path = _limit_path(path)
    there = client.exists(limit_path) is not None
    call.out.put(path=path, existed=there)
    if not there:
        call.out.line(f"Quota does not exist for {path}")
        return
    lifted = [key for option, (key, _, _) in _LIMITS.items() if call.has(option)]
    if lifted:
        limits = Limits.parse(client.get(limit_path)[0])
        limits.values.update(dict.fromkeys(lifted, -1))
        client.set(limit_path, str(limits).encode())
        call.out.put(limits=limits.values)
        return
    at = ROOT + path
    for node in (LIMIT_NODE, STAT_NODE):
        with suppress(NoNodeError):
            client.delete(join(at, node))
    while at != ROOT and not client.children(at)[0]:
        client.delete(at)
        at = parent_of(at)


_FLAGS = tuple(_LIMITS)
VERBS = (
    Verb(
        "setquota",
        "-n|-b|-N|-B val path",
        _set_quota,
        Options(
            valued=_FLAGS,
            one_of=_FLAGS,
            one_needed="-n num soft quota, -b bytes soft quota, -N num hard quota, -B bytes hard quota",
        ),
        1,
    ),
    Verb("listquota", "path", _list_quota, Options(), 1),
    Verb("delquota", "[-n|-b|-N|-B] path", _del_quota, Options(flags=_FLAGS, one_of=_FLAGS), 1),
)
