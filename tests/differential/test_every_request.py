"""Requests one by one, the odd ones too: every opcode cut short, null where a value belongs, what a multi may hold,
authentication, special znodes, attaching again, a session that runs out.

Where ours differs on purpose from Apache ZooKeeper 3.9.5 is not asked here:

- deleteContainer (20) and createSession (-10) are executed there for any client; ours refuses them.
- setWatches tells of znodes there that the client may not read; ours does not.
- A write behind a setACL in the same breath may be judged by the old ACL there; by the new one in ours.
- A null path, or one that is not UTF-8, is answered there by whatever Java makes of it; ours says MarshallingError.
- createTTL with a mode without TTL and -1, limits for /zookeeper/quota itself, and sums that are no numbers end the
  whole server there.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from coordination.wire import opcodes, requests
from coordination.wire.jute import pack_int
from coordination.wire.records import OPEN_ACL, Acl
from coordination.wire.requests import (
    AddWatch,
    Auth,
    CheckVersion,
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
    SetAcl,
    SetData,
    SetWatches,
    WhoAmI,
)

from .lockstep import Pair, Raw, Reconnect, Send, Step
from .programs import SUPER

pytestmark = pytest.mark.peers

Program = Callable[[str], Sequence[Step]]
NULL = pack_int(-1)
NOTHING = pack_int(0)
SHORT = pack_int(2) + b"/a"
CLIENTS_OPCODES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 14, 15, 16, 17, 18, 19, 21, 22, 100, 101, 103, 104, 105, 106, 107)
QUOTA = "/zookeeper/quota"


def agree(pair: Pair, program: Program) -> None:
    difference = pair.first_difference(program)
    if difference is not None:
        pytest.fail(f"answers differ\n{difference}", pytrace=False)


def one(*asked: Any, who: int = 0) -> Send:
    return Send(who, asked)


def each(*asked: Any, who: int = 0) -> list[Send]:
    return [Send(who, [request]) for request in asked]


def create(path: str, flags: int = 0, opcode: int = opcodes.CREATE, data: bytes = b"", acl: Any = OPEN_ACL) -> Create:
    return Create(0, opcode, path, data, acl, flags)


def string(text: str) -> bytes:
    return pack_int(len(text)) + text.encode()


@pytest.mark.parametrize("payload", [b"", SHORT], ids=["empty", "only a path"])
@pytest.mark.parametrize("opcode", CLIENTS_OPCODES)
def test_a_request_cut_short(pair: Pair, opcode: int, payload: bytes) -> None:
    agree(pair, lambda top: [one(Raw(opcode, payload)), one(WhoAmI(0))])


@pytest.mark.parametrize("opcode", [0, -1, -2, 10, 13, 23, 50, 99, 108, 200, 1 << 30, -(1 << 31)])
def test_an_opcode_that_does_not_exist(pair: Pair, opcode: int) -> None:
    agree(pair, lambda top: [Send(0, [Raw(opcode)], ends=True), one(WhoAmI(0))])


MULTI_END = pack_int(-1) + b"\1" + NULL
BODIES: dict[str, tuple[int, bytes]] = {
    "create without an ACL": (1, string("/none") + NULL + NULL + NOTHING),
    "create with an empty ACL": (1, string("/none") + NULL + NOTHING + NOTHING),
    "create with data of length -2": (1, string("/none") + pack_int(-2) + NULL + NOTHING),
    "create with the scheme auth for nobody": (
        1,
        string("/none") + NULL + pack_int(1) + pack_int(31) + string("auth") + NULL + NOTHING,
    ),
    "create with an ACL of a null scheme and a null id": (
        1,
        string("/none") + NULL + pack_int(1) + pack_int(31) + NULL + NULL + NOTHING,
    ),
    "create with an ACL of a null scheme": (
        1,
        string("/none") + NULL + pack_int(1) + pack_int(31) + NULL + string("x") + NOTHING,
    ),
    "setACL with a null scheme": (7, string("/") + pack_int(1) + pack_int(31) + NULL + NULL + pack_int(-1)),
    **{
        f"create with an ACL of the scheme {scheme} and a null id": (
            1,
            string("/none") + NULL + pack_int(1) + pack_int(31) + string(scheme) + NULL + NOTHING,
        )
        for scheme in ("world", "digest", "ip", "x509", "sasl", "super", "nope")
    },
    "setACL with a null id": (7, string("/") + pack_int(1) + pack_int(31) + string("digest") + NULL + NULL),
    "setACL without an ACL": (7, string("/") + NULL + NULL),
    "exists without a path": (3, NULL + b"\1"),
    "getData without a path": (4, NULL + b"\1"),
    "getACL without a path": (6, NULL),
    "getChildren without a path": (8, NULL + b"\1"),
    "getEphemerals without a prefix": (103, NULL),
    "setWatches of nothing": (105, bytes(8) + NOTHING * 5),
    "setWatches without lists": (101, bytes(8) + NULL * 3),
    "setWatches2 without persistent watches": (105, bytes(8) + NOTHING * 3 + NULL + NOTHING),
    "setWatches2 without recursive watches": (105, bytes(8) + NOTHING * 4 + NULL),
    "setWatches with a path that is null": (101, bytes(8) + pack_int(1) + NULL + NOTHING + NOTHING),
    "a multi of reads": (14, pack_int(4) + b"\0" + NULL + string("/") + b"\0" + MULTI_END),
    "a multiRead of exists": (22, pack_int(3) + b"\0" + NULL + string("/") + b"\0" + MULTI_END),
    "a multi of a read and a write": (
        14,
        pack_int(4) + b"\0" + NULL + string("/") + b"\0" + pack_int(2) + b"\0" + NULL + string("/n") + NULL + MULTI_END,
    ),
    "a multi of a create with a null id": (
        14,
        pack_int(1)
        + b"\0"
        + NULL
        + string("/none")
        + NULL
        + pack_int(1)
        + pack_int(31)
        + string("ip")
        + NULL
        + NOTHING
        + MULTI_END,
    ),
    "a multi of deleteContainer": (14, pack_int(20) + b"\0" + NULL + string("/") + MULTI_END),
    "bytes behind the record": (4, string("/") + b"\0" + b"more"),
    "a ping with a body": (11, b"more"),
    "a boolean of 7": (3, string("/") + b"\7"),
    "a frame of a header alone": (107, b""),
    "auth with a null credential": (100, NOTHING + string("digest") + NULL),
    "auth with a null credential where none is needed": (100, NOTHING + string("ip") + NULL),
    "sasl without a body": (102, b""),
    "sasl with a null token": (102, NULL),
    "sasl with an empty token": (102, NOTHING),
    "sasl where nobody is known": (102, string("xx")),
}


@pytest.mark.parametrize("name", BODIES)
def test_an_odd_body(pair: Pair, name: str) -> None:
    agree(pair, lambda top: [one(Raw(*BODIES[name])), one(WhoAmI(0))])


@pytest.mark.parametrize("flags", [0, 1, 2, 3, 4, 5, 6, 7, -1])
def test_every_mode_with_every_opcode_that_creates(pair: Pair, flags: int) -> None:
    def program(top: str) -> list[Step]:
        steps: list[Step] = []
        for opcode in (opcodes.CREATE, opcodes.CREATE2, opcodes.CREATE_CONTAINER):
            path = f"{top}/{opcode}"
            steps += each(create(path, flags, opcode), Multi(0, [create(path + "m", flags, opcode)]))
            steps += each(GetChildren2(0, top, False), create(path + "/below"), create(path + "/below/below"))
        for ttl_ms in (1000, 0, 1 << 40):
            ttl = CreateTtl(0, f"{top}/ttl{ttl_ms}", b"", OPEN_ACL, flags, ttl_ms)
            steps += each(ttl, Multi(0, [ttl]), Multi(0, [Delete(0, top + "/nothing", -1), ttl]))
        return [*steps, *each(GetEphemerals(0, "/"), GetChildren2(0, top, False))]

    agree(pair, program)


def test_what_stands_behind_a_failed_part(pair: Pair) -> None:
    def program(top: str) -> list[Step]:
        bad_acl = create(top + "/b", acl=(Acl(31, "ip", "no address"),))
        return each(
            Multi(0, []),
            Multi(0, [create(top + "/a"), Delete(0, top + "/x", -1), bad_acl, SetData(0, top, b"", 9)]),
            Multi(0, [create("nope")]),
            Multi(0, [create("")]),
            Multi(0, [Delete(0, "", -1)]),
            Multi(0, [create(top + "/a"), CheckVersion(0, top + "/a", 0), SetData(0, top + "/a", b"x", 0)]),
            Multi(0, [SetData(0, top + "/a", b"y", -1), SetData(0, top + "/a", b"z", 2), Delete(0, top + "/a", 3)]),
            MultiRead(0, [GetData(0, top, True), GetChildren(0, top + "/x", True), GetData(0, "", False)]),
            SetData(0, top, b"no watch hears of it", -1),
        )

    agree(pair, program)


def test_the_root_and_its_other_name(pair: Pair) -> None:
    def program(top: str) -> list[Step]:
        other = "/other" + top[1:]
        return each(
            GetData(0, "", True),
            Exists(0, "", True),
            GetChildren(0, "", True),
            GetChildren2(0, "", False),
            GetAcl(0, ""),
            GetAllChildrenNumber(0, ""),
            AddWatch(0, "", 1),
            create(other),
            SetData(0, "/", b"x", -1),
            SetData(0, "/", b"", -1),
            SetData(0, "", b"", -1),
            SetAcl(0, "", OPEN_ACL, -1),
            CheckWatches(0, "", 3),
            RemoveWatches(0, "", 3),
            RemoveWatches(0, "", 3),
            AddWatch(0, "/", 0),
            AddWatch(0, "/", 1),
            SetData(0, "/", b"", -1),
            Delete(0, other, -1),
            SetWatches(0, opcodes.SET_WATCHES, 0, [""], [""], [""], [], []),
        )

    agree(pair, program)


ODD_CHARACTERS = (0x1F, 0x7F, 0x9F, 0xA0, 0xD7FF, 0xE000, 0xF8FF, 0xF900, 0xFFEF, 0xFFF0, 0, 0x1F600)
SPECIAL = ("", "/", "//", "a", "/a/", "/a//b", "/./a", "/..", "/zookeeper", QUOTA, "/zookeeper/config")


@pytest.mark.parametrize("path", [*SPECIAL, *(f"/{chr(each)}" for each in ODD_CHARACTERS)])
def test_a_path_that_is_none_or_special(pair: Pair, path: str) -> None:
    def program(top: str) -> list[Step]:
        asked = each(
            Exists(0, path, False),
            GetData(0, path, False),
            GetAcl(0, path),
            GetChildren2(0, path, False),
            GetAllChildrenNumber(0, path),
            SetData(0, path, b"", 77),
            SetAcl(0, path, OPEN_ACL, 77),
            Delete(0, path, 77),
            create(path + "\x01"),
            create(path, acl=()),
            create(path, flags=opcodes.PERSISTENT_SEQUENTIAL, acl=()),
            Multi(0, [CheckVersion(0, path, -1)]),
            AddWatch(0, path, 1),
            Exists(0, path, True),
        )
        return list(asked)

    agree(pair, program)


def test_authentication(pair: Pair) -> None:
    def program(top: str) -> list[Step]:
        steps: list[Step] = []
        for credential in (b"alice:a", b"", b"nocolon", b"a:b:c", b"\xff\xfe:x", b":"):
            steps += each(Auth(0, "digest", credential), create(f"{top}/{len(steps)}", acl=(Acl(31, "auth", ""),)))
            steps += each(WhoAmI(0), GetAcl(0, f"{top}/{len(steps) - 2}"), who=0)
            steps += each(GetAcl(0, f"{top}/{len(steps) - 4}"), WhoAmI(0), who=1)
        return [*steps, *each(Auth(0, "digest", SUPER.encode()), WhoAmI(0), who=1)]

    agree(pair, program)


@pytest.mark.parametrize("scheme", ["world", "auth", "super", "x509", "sasl", "", "nosuch"])
def test_a_scheme_nobody_can_prove(pair: Pair, scheme: str) -> None:
    agree(pair, lambda top: [one(Auth(0, scheme, b"x")), one(WhoAmI(0))])


def test_masked_digests_and_what_admin_may_see(pair: Pair) -> None:
    def program(top: str) -> list[Step]:
        mine, open_to_read = (Acl(31, "auth", ""),), (Acl(31, "auth", ""), Acl(1, "world", "anyone"))
        return [
            one(Auth(0, "digest", b"alice:a")),
            *each(create(top + "/mine", acl=mine), create(top + "/read", acl=open_to_read)),
            *each(GetAcl(0, top + "/mine"), GetAcl(0, top + "/read"), GetData(0, top + "/mine", True), who=1),
            *each(Exists(0, top + "/mine", True), GetChildren(0, top + "/mine", True), who=1),
            *each(AddWatch(0, top, 1), who=1),
            *each(SetData(0, top + "/mine", b"", -1), SetData(0, top + "/read", b"", -1), Delete(0, top + "/mine", -1)),
            *each(Delete(0, top + "/read", -1), create(top + "/read"), who=1),
        ]

    agree(pair, program)


def test_quotas_hard_and_soft(pair: Pair) -> None:
    def program(top: str) -> list[Step]:
        quota = QUOTA + top
        limits = b"count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=4"
        return each(
            create(quota),
            create(quota + "/zookeeper_limits", data=limits),
            create(quota + "/zookeeper_stats"),
            GetData(0, quota + "/zookeeper_stats", False),
            create(top + "/a", data=b"x" * 10),
            create(top + "/b", data=b"x" * 11),
            create(top + "/b", data=b"x" * 10),
            SetData(0, top + "/a", b"x" * 11, -1),
            SetData(0, top + "/a", b"", -1),
            GetData(0, quota + "/zookeeper_stats", False),
            create(top + "/c"),
            create(top + "/d"),
            Multi(0, [Delete(0, top + "/c", -1), create(top + "/d")]),
            Delete(0, top + "/c", -1),
            create(top + "/d"),
            SetData(0, quota + "/zookeeper_limits", b"count=1,bytes=1", -1),
            create(top + "/e", data=b"xx"),
            GetData(0, quota + "/zookeeper_stats", False),
            SetData(0, quota + "/zookeeper_limits", b"nonsense", -1),
            create(top + "/f"),
            Delete(0, quota + "/zookeeper_limits", -1),
            create(top + "/f"),
            GetData(0, quota + "/zookeeper_stats", False),
        )

    agree(pair, program)


def test_a_closing_session_takes_its_ephemerals_and_tells(pair: Pair) -> None:
    def program(top: str) -> list[Step]:
        return [
            *each(create(top + "/p"), create(top + "/p/e", 1), create(top + "/f", 1), create(top + "/q-", 3)),
            *each(GetEphemerals(0, "/"), GetEphemerals(0, top + "/p")),
            *each(Exists(0, top + "/p/e", True), GetData(0, top + "/f", True), GetChildren(0, top, True), who=1),
            *each(AddWatch(0, top, 1), who=2),
            *each(AddWatch(0, top + "/p", 0), Exists(0, top + "/f", True), who=3),
            one(create(top + "/p/late", 1), requests.CloseSession(0)),
            *each(GetChildren2(0, top, False), GetChildren2(0, top + "/p", False), GetEphemerals(0, "/"), who=1),
        ]

    agree(pair, program)


@pytest.mark.parametrize("politely", [True, False])
@pytest.mark.parametrize("wrong_password", [True, False])
@pytest.mark.parametrize("zxid_ahead", [True, False])
def test_attaching_again(pair: Pair, politely: bool, wrong_password: bool, zxid_ahead: bool) -> None:
    def program(top: str) -> list[Step]:
        return [
            *each(Auth(0, "digest", b"alice:a"), create(top + "/e", 1), GetData(0, top + "/e", True)),
            *each(GetData(0, top + "/e", True), who=1),
            Reconnect(0, politely, wrong_password, zxid_ahead),
            *each(WhoAmI(0), GetEphemerals(0, "/")),
            *each(SetData(0, top + "/e", b"new", -1), who=1),
            one(
                SetWatches(
                    opcodes.XID_SET_WATCHES, opcodes.SET_WATCHES2, 2, [top + "/e", top + "/n"], [], [top], [], []
                )
            ),
            *each(SetData(0, top + "/e", b"newer", -1), create(top + "/f"), who=1),
        ]

    agree(pair, program)


def test_watches_are_found_and_taken_off_by_kind(pair: Pair) -> None:
    def program(top: str) -> list[Step]:
        a = top + "/a"
        steps: list[Step] = list(each(create(a)))
        setters = (
            GetData(0, a, True),
            GetChildren(0, a, True),
            AddWatch(0, a, 0),
            AddWatch(0, a, 1),
            Exists(0, a, True),
        )
        for setter in setters:
            for kind in (1, 2, 3, 4, 5):
                steps += each(setter, *(CheckWatches(0, a, other) for other in (1, 2, 3, 4, 5)))
                steps += each(
                    RemoveWatches(0, a, kind), CheckWatches(0, a, 3), SetData(0, a, b"", -1), create(a + "/b")
                )
                steps += each(Delete(0, a + "/b", -1), RemoveWatches(0, a, 3))
        return steps

    agree(pair, program)


def test_reconfig_of_a_server_alone(pair: Pair) -> None:
    agree(
        pair, lambda top: each(Reconfig(0, None, None, "x", -1), Reconfig(0, "a", "b", None, 0), GetData(0, top, True))
    )
