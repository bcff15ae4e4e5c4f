"""Random programs: what several clients might ask, sense and nonsense, from one seed.

In: a seed.  Out: a list of steps below a znode `{top}` of the program's own; the same seed gives the same steps.
Knows no server.

(1) Every opcode a client may send occurs, and every part a multi may have.
(2) What ends a connection stands at the end of its step, what ZooKeeper answers out of order (auth) in front.
(3) Nobody writes sums of quotas: such that are no numbers end ZooKeeper.
(4) No ACL is set on what the programs share (`/`, `/zookeeper` and what is in it): the tree outlives the program.
(5) No write stands behind a setACL in one step: ZooKeeper 3.9.5 judges it by the old ACL or the new, as it happens.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from coordination.auth.schemes import generate_digest
from coordination.wire import opcodes, requests
from coordination.wire.records import OPEN_ACL, READ_ACL, Acl

from .lockstep import Raw, Reconnect, Send, Step

CONNECTIONS = 4
SUPER = "super:secret"
USERS = ("alice:a", "bob:b")
STEPS = 40

_PLACES = (
    ("", 3),
    ("/a", 10),
    ("/b", 10),
    ("/c", 5),
    ("/a/x", 8),
    ("/a/y", 5),
    ("/b/x", 4),
    ("/a/x/k", 4),
    ("/a/s0000000000", 2),
    ("/s0000000001", 2),
    ("/s0000000003", 2),
    ("/none/below", 1),
    ("/é", 1),
    ("/. .", 1),
)
_ODD = (
    "/",
    "/zookeeper",
    "/zookeeper/config",
    "/zookeeper/quota",
    "/zookeeper/quota{top}",
    "/zookeeper/quota{top}/zookeeper_limits",
    "/zookeeper/nothing",
    "",
    "a",
    "nope/x",
    "//",
    "{top}/",
    "{top}//a",
    "{top}/./a",
    "{top}/..",
    "{top}/a/",
    "{top}/nul\0l",
    "{top}/\x01",
    "{top}/\x7f",
    "{top}/\ue000",
    "{top}/\ufff5",
)
_SHARED = frozenset(("/", *(path for path in _ODD if path.startswith("/zookeeper") and "{top}" not in path)))
_DATA = (b"", b"v", b"value", b"x" * 100, None)
_VERSIONS = ((-1, 12), (0, 6), (1, 4), (2, 2), (3, 1), (-2, 1), (1 << 31 - 1, 1), (-(1 << 31), 1))
_ALICE = generate_digest(USERS[0])
_ACLS: tuple[tuple[tuple[Acl, ...], int], ...] = (
    (OPEN_ACL, 40),
    (READ_ACL, 2),
    ((Acl(31, "auth", ""),), 4),
    ((Acl(31, "auth", "ignored"),), 1),
    ((Acl(31, "digest", _ALICE),), 3),
    ((Acl(31, "digest", _ALICE), Acl(1, "world", "anyone")), 3),
    ((Acl(30, "world", "anyone"),), 2),
    ((Acl(27, "world", "anyone"),), 1),
    ((Acl(23, "world", "anyone"),), 1),
    ((Acl(15, "world", "anyone"),), 1),
    ((Acl(16, "world", "anyone"), Acl(1, "digest", _ALICE)), 1),
    ((Acl(0, "world", "anyone"),), 1),
    ((Acl(31, "ip", "127.0.0.1"),), 1),
    ((Acl(31, "ip", "127.0.0.0/8"), Acl(1, "ip", "10.0.0.0/8")), 1),
    ((Acl(31, "ip", "not an address"),), 1),
    ((Acl(31, "ip", "127.0.0.1/99"),), 1),
    ((Acl(31, "world", "anyone"), Acl(31, "world", "anyone")), 1),
    ((Acl(31, "world", "anyone"), Acl(1, "world", "anyone")), 1),
    ((Acl(31, "world", "nobody"),), 1),
    ((Acl(31, "nosuch", "x"),), 1),
    ((Acl(31, "digest", "nocolon"),), 1),
    ((Acl(31, "digest", "a:b:c"),), 1),
    ((Acl(31, "super", ""),), 1),
    ((Acl(31, "sasl", "carol"),), 1),
    ((Acl(31, "x509", "CN=carol"),), 1),
    ((Acl(-1, "world", "anyone"),), 1),
    ((), 2),
)
_FLAGS = ((0, 12), (1, 6), (2, 5), (3, 3), (4, 1), (5, 1), (6, 1), (7, 1), (-1, 1))
_TTLS = ((1, 1), (100_000_000, 6), (0, 1), (-1, 1), ((1 << 40) - 1, 1), (1 << 40, 1))
_QUOTAS = (b"count=3,bytes=10", b"count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=3", b"count=5", b"")


class Maker:
    def __init__(self, seed: int, top: str) -> None:
        self.random = random.Random(seed)
        self.top = top
        self._makers: list[tuple[Callable[[], Any], int]] = [
            (self._create, 24),
            (self._create_ttl, 2),
            (self._delete, 12),
            (self._set_data, 12),
            (self._multi, 10),
            (self._set_acl, 4),
            (self._exists, 8),
            (self._get_data, 8),
            (self._get_children, 6),
            (self._get_acl, 4),
            (self._sync, 2),
            (self._ping, 1),
            (self._multi_read, 3),
            (self._get_ephemerals, 3),
            (self._all_children, 2),
            (self._add_watch, 8),
            (self._check_watches, 3),
            (self._remove_watches, 4),
            (self._who_am_i, 1),
            (self._quota, 2),
            (self._reconfig, 1),
        ]

    def program(self, steps: int = STEPS) -> list[Step]:
        return [self._step() for _ in range(steps)]

    def _step(self) -> Step:
        roll, who = self.random.random(), self.random.randrange(CONNECTIONS)
        if roll < 0.03:
            kind = self.random.random()
            return Reconnect(who, politely=kind < 0.5, wrong_password=kind > 0.9, zxid_ahead=0.85 < kind <= 0.9)
        if roll < 0.05:
            return Send(who, [self._auth()])
        if roll < 0.08:
            # As super: of what a client may not read ours tells nothing here, ZooKeeper 3.9.5 does (CVE-2026-59739).
            return Send(0, [requests.Auth(0, "digest", SUPER.encode()), self._set_watches(), *self._some()])
        if roll < 0.10:
            return Send(who, [*self._some(), requests.CloseSession(0)])
        if roll < 0.105:
            return Send(who, [Raw(self._pick(((0, 1), (999, 1), (-1, 1), (10, 1), (23, 1))))], ends=True)
        return Send(who, self._some())

    def _some(self) -> list[Any]:
        count = self.random.choice((1, 1, 1, 1, 2, 3, 6))
        some = [self._of(self._makers)() for _ in range(count)]
        return sorted(some, key=lambda request: request.opcode == opcodes.SET_ACL)

    # --- choices

    def _of(self, weighted: Any) -> Any:
        values, weights = zip(*weighted, strict=True)
        return self.random.choices(values, weights)[0]

    _pick = _of

    def path(self) -> str:
        if self.random.random() < 0.07:
            return self.random.choice(_ODD).replace("{top}", self.top)
        return self.top + str(self._of(_PLACES))

    def version(self) -> int:
        return int(self._of(_VERSIONS))

    def acl(self) -> tuple[Acl, ...]:
        return tuple(self._of(_ACLS))

    def data(self) -> bytes | None:
        return self.random.choice(_DATA)

    def watch(self) -> bool:
        return self.random.random() < 0.5

    # --- requests

    def _create(self) -> Any:
        flags = int(self._of(_FLAGS))
        path = self.path()
        if flags in (2, 3) and self.random.random() < 0.8:
            path = self.random.choice((self.top, self.top + "/a")) + "/s"
        opcode = self._of(((opcodes.CREATE, 6), (opcodes.CREATE2, 4), (opcodes.CREATE_CONTAINER, 1)))
        if opcode == opcodes.CREATE_CONTAINER and self.random.random() < 0.8:
            flags = 4
        return requests.Create(0, opcode, path, self.data(), self.acl(), flags)

    def _create_ttl(self) -> Any:
        flags, ttl_ms = self._of(((5, 6), (6, 3), (0, 1), (4, 1))), self._of(_TTLS)
        if flags < 5:
            ttl_ms = 1  # with -1 it is a znode whose owner ZooKeeper cannot write down
        return requests.CreateTtl(0, self.path(), self.data(), self.acl(), flags, ttl_ms)

    def _delete(self) -> Any:
        return requests.Delete(0, self.path(), self.version())

    def _set_data(self) -> Any:
        return requests.SetData(0, self.path(), self.data(), self.version())

    def _set_acl(self) -> Any:
        path = self.path()
        return requests.SetAcl(0, self.top if path in _SHARED else path, self.acl(), self.version())

    def _check(self) -> Any:
        return requests.CheckVersion(0, self.path(), self.version())

    def _multi(self) -> Any:
        makers = (
            (self._create, 6),
            (self._create_ttl, 1),
            (self._delete, 3),
            (self._set_data, 3),
            (self._check, 3),
        )
        count = self.random.choice((0, 1, 2, 2, 3, 4, 5))
        return requests.Multi(0, [self._of(makers)() for _ in range(count)])

    def _multi_read(self) -> Any:
        makers = ((lambda: replace(self._get_data()), 1), (self._plain_children, 1))
        return requests.MultiRead(0, [self._of(makers)() for _ in range(self.random.randrange(4))])

    def _exists(self) -> Any:
        return requests.Exists(0, self.path(), self.watch())

    def _get_data(self) -> Any:
        return requests.GetData(0, self.path(), self.watch())

    def _plain_children(self) -> Any:
        return requests.GetChildren(0, self.path(), self.watch())

    def _get_children(self) -> Any:
        kind = self.random.choice((requests.GetChildren, requests.GetChildren2))
        return kind(0, self.path(), self.watch())

    def _get_acl(self) -> Any:
        return requests.GetAcl(0, self.path())

    def _sync(self) -> Any:
        return requests.Sync(0, self.path())

    def _ping(self) -> Any:
        return requests.Ping(opcodes.XID_PING)

    def _get_ephemerals(self) -> Any:
        return requests.GetEphemerals(0, self.random.choice((self.path(), "/", "", self.top + "/a")))

    def _all_children(self) -> Any:
        path = self.path()
        return requests.GetAllChildrenNumber(0, path)

    def _add_watch(self) -> Any:
        return requests.AddWatch(0, self.path(), self._of(((0, 6), (1, 6), (2, 1), (-1, 1))))

    def _check_watches(self) -> Any:
        return requests.CheckWatches(0, self.path(), self.random.choice((1, 2, 3, 4, 5, 5, 0, 6)))

    def _remove_watches(self) -> Any:
        return requests.RemoveWatches(0, self.path(), self.random.choice((1, 2, 3, 3, 4, 5, 0, 6)))

    def _paths(self) -> list[str]:
        return [self.path() for _ in range(self.random.choice((0, 0, 1, 2)))]

    def _set_watches(self) -> Any:
        since = self.random.choice((0, 1, 5, 20, -1, 1 << 40))
        both = self.random.random() < 0.5
        return requests.SetWatches(
            self.random.choice((0, opcodes.XID_SET_WATCHES)),
            opcodes.SET_WATCHES2 if both else opcodes.SET_WATCHES,
            since,
            self._paths(),
            self._paths(),
            self._paths(),
            self._paths() if both else [],
            self._paths() if both else [],
        )

    def _who_am_i(self) -> Any:
        return requests.WhoAmI(0)

    def _quota(self) -> Any:
        """One step of what sets a quota; the steps come in any order."""
        below = self.random.choice(("", "/a"))
        where = f"/zookeeper/quota{self.top}{below}" + self.random.choice(("", "/zookeeper_limits", "/zookeeper_stats"))
        if self.random.random() < 0.15:
            return requests.Delete(0, where, -1)
        if self.random.random() < 0.15:
            return requests.GetData(0, where, True)
        data = self.random.choice(_QUOTAS) if where.endswith("limits") else b""
        create = requests.Create(0, opcodes.CREATE, where, data, OPEN_ACL, 0)
        return (
            requests.Multi(
                0,
                [
                    requests.Create(0, opcodes.CREATE, f"/zookeeper/quota{self.top}{below}", b"", OPEN_ACL, 0),
                    requests.Create(
                        0,
                        opcodes.CREATE,
                        f"/zookeeper/quota{self.top}{below}/zookeeper_limits",
                        self.random.choice(_QUOTAS),
                        OPEN_ACL,
                        0,
                    ),
                    requests.Create(
                        0, opcodes.CREATE, f"/zookeeper/quota{self.top}{below}/zookeeper_stats", b"", OPEN_ACL, 0
                    ),
                ],
            )
            if self.random.random() < 0.5
            else create
        )

    def _reconfig(self) -> Any:
        return requests.Reconfig(0, None, None, "server.1=localhost:1:2;3", -1)

    def _auth(self) -> Any:
        scheme, credential = self._of(
            (
                (("digest", USERS[0].encode()), 6),
                (("digest", USERS[1].encode()), 3),
                (("digest", SUPER.encode()), 2),
                (("digest", b"super:wrong"), 1),
                (("digest", b"nocolon"), 1),
                (("digest", b""), 1),
                (("ip", b""), 1),
                (("nosuch", b"x"), 1),
                (("world", b"anyone"), 1),
                (("sasl", b"carol"), 1),
            )
        )
        return requests.Auth(0, scheme, credential)
