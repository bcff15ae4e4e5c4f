"""Auth and ACLs, the same story on ours and on Apache ZooKeeper: every code, ACL, identity and event equal.

A story is a list of steps; what each step gave is compared as data. Session ids, times and zxids are not: only
whether a
zxid is 0.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from coordination.auth.sasl_digest_md5 import client_response
from coordination.auth.schemes import generate_digest
from coordination.secret import Secret
from coordination.testing import apache, server
from coordination.wire import opcodes, requests
from coordination.wire.jute import get_buffer, get_string, get_vector, unpack_int
from coordination.wire.opcodes import PERM_ALL, PERM_CREATE, PERM_READ
from coordination.wire.records import OPEN_ACL, READ_ACL, Acl, ConnectRequest, get_acls
from coordination.wire.replies import decode_event, decode_header, frame

pytestmark = pytest.mark.peers

JAAS = """Server {
    org.apache.zookeeper.server.auth.DigestLoginModule required
    user_super="super_secret"
    user_bob="b";
};"""
SETTINGS = {"authProvider.1": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"}
PROPERTIES = {
    "zookeeper.DigestAuthenticationProvider.superDigest": generate_digest("super:secret"),
    "zookeeper.extendedTypesEnabled": "true",
    "zookeeper.enforceQuota": "true",
}
EXTRA = {
    "default": {},
    "sasl required": {"zookeeper.sessionRequireClientSASLAuth": "true"},
    "digest required": {"zookeeper.enforce.auth.enabled": "true", "zookeeper.enforce.auth.schemes": "digest"},
    "failed sasl may stay": {"zookeeper.allowSaslFailedClients": "true"},
    "skipACL": {"zookeeper.skipACL": "yes"},
    "SHA-256": {
        "zookeeper.DigestAuthenticationProvider.digestAlg": "SHA-256",
        "zookeeper.DigestAuthenticationProvider.superDigest": generate_digest("super:secret", "SHA-256"),
    },
    "any sasl user": {"zookeeper.letAnySaslUserDoX": "readers"},
    "sasl super user": {"zookeeper.superUser": "bob"},
}


@contextmanager
def both(tmp_path: Path, extra: dict[str, str]) -> Iterator[list[int]]:
    """Ours and the real one with the same settings: their ports."""
    reason = apache.why_unavailable()
    if reason:
        pytest.skip(reason)
    jaas = tmp_path / "jaas.conf"
    jaas.write_text(JAAS)
    properties = {**PROPERTIES, "java.security.auth.login.config": str(jaas), **extra}
    (tmp_path / "props").write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    (tmp_path / "zoo.cfg").write_text("".join(f"{key}={value}\n" for key, value in SETTINGS.items()))
    options = ["--config", str(tmp_path / "zoo.cfg"), "--props", str(tmp_path / "props")]
    with ExitStack() as stack:
        ours = stack.enter_context(server.serve(options=options))
        flags = [f"-D{key}={value}" for key, value in properties.items()]
        real = stack.enter_context(apache.standalone(settings=SETTINGS, jvm=[*apache.QUICK_JVM, *flags]))
        yield [ours.port, int(real.connect.rpartition(":")[2])]


class Client:
    """A session over a blocking socket; answers as comparable data."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        self.file = self.sock.makefile("rb")
        self.sock.sendall(frame(ConnectRequest(0, 0, 20_000, 0, bytes(16)).encode()))
        self._frame()

    def close(self) -> None:
        self.file.close()
        self.sock.close()

    def _frame(self) -> bytes | None:
        try:
            head = self.file.read(4)
            return self.file.read(unpack_int(head, 0)[0]) if len(head) == 4 else None
        except ConnectionError:
            return None

    def ask(self, request: requests.Request) -> list[Any]:
        """Everything that came until the answer: events, then the answer; or that the connection ended."""
        try:
            self.sock.sendall(requests.encode(request))
        except OSError:
            return ["closed"]
        out: list[Any] = []
        while True:
            data = self._frame()
            if data is None:
                return [*out, "closed"]
            header, pos = decode_header(data, 0, len(data))
            if header.xid == opcodes.XID_NOTIFICATION:
                event = decode_event(data, pos, len(data))
                out.append((event.type, event.path))
                continue
            return [*out, (header.xid, header.zxid == 0, header.err, _body(request, header.err, data, pos))]

    def sasl(self, user: str, password: bytes) -> list[Any]:
        self.sock.sendall(requests.encode(requests.Sasl(1, b"")))
        first = self._frame()
        assert first is not None
        header, pos = decode_header(first, 0, len(first))
        challenge = get_buffer(first, pos, len(first))[0] if pos < len(first) else None
        if not challenge:
            return [header.err, challenge]
        names = [part.partition(b"=")[0] for part in challenge.split(b",")]
        response, proof = client_response(challenge, user=user, password=Secret(password), cnonce="c" * 20)
        self.sock.sendall(requests.encode(requests.Sasl(2, response)))
        last = self._frame()
        assert last is not None
        header, pos = decode_header(last, 0, len(last))
        token = get_buffer(last, pos, len(last))[0] if pos < len(last) else b"no body"
        return [sorted(names), header.zxid == 0, header.err, token == proof if token else token]


def _body(request: requests.Request, err: int, data: bytes, pos: int) -> Any:
    if err or pos == len(data):
        return data[pos:]
    if isinstance(request, requests.GetAcl):
        return get_acls(data, pos, len(data))[0]
    if isinstance(request, requests.WhoAmI):
        return sorted(get_vector(data, pos, len(data), _info)[0])  # the real one keeps no order
    if isinstance(request, requests.GetData):
        return get_buffer(data, pos, len(data))[0]
    if isinstance(request, (requests.Multi, requests.MultiRead)):
        return data[pos:] if request.operations and isinstance(request, requests.MultiRead) else _codes(data[pos:])
    return None


def _codes(multi: bytes) -> list[int]:
    return [unpack_int(multi, at)[0] for at in (0, 5)]


def _info(buf: bytes, pos: int, end: int) -> tuple[tuple[str, str], int]:
    scheme, pos = get_string(buf, pos, end)
    user, pos = get_string(buf, pos, end)
    return (scheme, user), pos


def compare(tmp_path: Path, extra: dict[str, str], story: Any) -> None:
    with both(tmp_path, extra) as ports:
        told = []
        for port in ports:
            with ExitStack() as stack:

                def client(port: int = port, stack: ExitStack = stack) -> Client:
                    made = Client(port)
                    stack.callback(made.close)
                    return made

                told.append([(what, got) for what, got in story(client)])
        for ours, real in zip(*told, strict=True):
            assert ours == real


def create(path: str, *acl: Acl, data: bytes = b"", flags: int = 0) -> requests.Create:
    return requests.Create(5, opcodes.CREATE, path, data, acl, flags)


def auth(scheme: str, credential: bytes) -> requests.Auth:
    return requests.Auth(opcodes.XID_AUTH, scheme, credential)


MINE = Acl(PERM_ALL, "auth", "")
ALICE = Acl(PERM_ALL, "digest", generate_digest("alice:a"))
READERS = Acl(PERM_READ, "world", "anyone")

ACLS: list[tuple[Acl, ...]] = [
    (),
    OPEN_ACL,
    READ_ACL,
    (MINE,),
    (MINE, MINE),
    (ALICE, MINE),
    (ALICE, ALICE),
    (Acl(PERM_ALL, "world", "everyone"),),
    (Acl(0, "world", "anyone"),),
    (Acl(63, "world", "anyone"),),
    (Acl(PERM_ALL, "super", ""),),
    (Acl(PERM_ALL, "nonsense", "x"),),
    (Acl(PERM_ALL, "", ""),),
    *((Acl(PERM_ALL, "digest", id_),) for id_ in ("a:b", "a", "a:", ":b", "a:b:", "a:b:c", "", ":")),
    *((Acl(PERM_ALL, "sasl", id_),) for id_ in ("bob", "bob@R", "a/b@R", "a/b/c@R", "a@b@c", "a/b/c", "")),
    *((Acl(PERM_ALL, "x509", id_),) for id_ in ("CN=a", "a")),
    *(
        (Acl(PERM_ALL, "ip", id_),)
        for id_ in ("127.0.0.1", "127.0.0.0/8", "10.0.0.0/8", "0.0.0.0/0", "1.2.3.4/33", "1.2.3", "1.2.3.256", "/8", "")
    ),
]


def acl_story(client: Any) -> Iterator[tuple[str, Any]]:
    """Every ACL, created by a digest user, then by nobody; read back by the owner, by others; used by others."""
    alice, nobody, root = client(), client(), client()
    yield "nobody asks who it is", nobody.ask(requests.WhoAmI(1))
    yield "alice", alice.ask(auth("digest", b"alice:a"))
    yield "alice again", alice.ask(auth("digest", b"alice:a"))
    yield "alice is also carol", alice.ask(auth("digest", b"carol:c"))
    yield "ip", alice.ask(auth("ip", b""))
    yield "root", root.ask(auth("digest", b"super:secret"))
    yield "who is alice", alice.ask(requests.WhoAmI(1))
    yield "who is root", root.ask(requests.WhoAmI(1))
    for number, acl in enumerate(ACLS):
        for name, who in (("a", alice), ("n", nobody), ("r", root)):
            path = f"/{name}{number}"
            said = (name, acl)
            yield f"create {said}", who.ask(create(path, *acl))
            for other_name, other in (("a", alice), ("n", nobody), ("r", root)):
                yield f"{other_name} reads {said}", other.ask(requests.GetData(2, path, False))
                got = other.ask(requests.GetAcl(3, path))
                # `auth` stands for several identities, and the real one keeps no order among them
                yield f"{other_name} acl {said}", [sorted(got[0][3]) if got[0][2] == 0 else got]
                yield f"{other_name} writes {said}", other.ask(requests.SetData(4, path, b"x", -1))
                yield f"{other_name} creates {said}", other.ask(create(f"{path}/{other_name}", *OPEN_ACL))
                yield f"{other_name} checks {said}", other.ask(requests.Multi(6, [requests.CheckVersion(0, path, -1)]))
            for other_name, other in (("n", nobody), ("a", alice)):
                yield f"{other_name} deletes a child {said}", other.ask(requests.Delete(7, f"{path}/a", -1))
                yield f"{other_name} sets acl {said}", other.ask(requests.SetAcl(8, path, (READERS,), -1))
    for path in ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"):
        yield f"acl of {path}", nobody.ask(requests.GetAcl(3, path))
        yield f"nobody writes {path}", nobody.ask(requests.SetData(4, path, b"", -1))
    yield "nobody may not even see", nobody.ask(requests.GetData(2, "/absent", False))


def refusals_story(client: Any) -> Iterator[tuple[str, Any]]:
    for scheme, credential in (
        ("nonsense", b"x"),
        ("", b""),
        ("world", b"anyone"),
        ("auth", b""),
        ("super", b""),
        ("sasl", b"bob:b"),
        ("x509", b""),
        ("digest", b""),
        ("digest", b"alone"),
        ("digest", b"\xff\xfe:x"),
        ("digest", b"a:b:c"),
    ):
        one = client()
        yield f"auth {scheme} {credential!r}", one.ask(auth(scheme, credential))
        yield f"after {scheme} {credential!r}", one.ask(requests.GetAcl(3, "/"))
    for user, password in (("bob", b"b"), ("bob", b"wrong"), ("nobody", b"b"), ("super", b"super_secret")):
        one = client()
        yield f"sasl {user} {password!r}", one.sasl(user, password)
        yield f"who after {user} {password!r}", one.ask(requests.WhoAmI(1))
        yield f"create after {user} {password!r}", one.ask(create(f"/{user}-{password.decode()}", MINE))
    one = client()
    yield "ping first", one.ask(requests.Ping(opcodes.XID_PING))
    yield "then whoAmI", one.ask(requests.WhoAmI(1))
    two = client()
    yield "digest", two.ask(auth("digest", b"alice:a"))
    yield "then create", two.ask(create("/two", MINE))
    yield "acl", two.ask(requests.GetAcl(3, "/two"))
    yield "then super", two.ask(auth("digest", b"super:secret"))
    yield "then acl", two.ask(requests.GetAcl(3, "/two"))
    yield "for readers", two.ask(create("/readers", Acl(PERM_ALL, "sasl", "readers")))
    three = client()
    yield "sasl bob", three.sasl("bob", b"b")
    yield "readers", three.ask(requests.GetData(1, "/readers", False))
    yield "alice's", three.ask(requests.GetData(1, "/two", False))


def watches_story(client: Any) -> Iterator[tuple[str, Any]]:
    alice, nobody = client(), client()
    alice.ask(auth("digest", b"alice:a"))
    for path, acl in (("/w", OPEN_ACL), ("/w/open", OPEN_ACL), ("/w/secret", (ALICE,))):
        yield f"create {path}", alice.ask(create(path, *acl))
    yield "recursive", nobody.ask(requests.AddWatch(1, "/w", opcodes.MODE_PERSISTENT_RECURSIVE))
    yield "persistent", nobody.ask(requests.AddWatch(1, "/w/secret", opcodes.MODE_PERSISTENT))
    yield "may not set one by reading", nobody.ask(requests.GetData(1, "/w/secret", True))
    yield "nor by exists", nobody.ask(requests.Exists(1, "/w/secret", True))
    yield "one shot", nobody.ask(requests.GetData(1, "/w/open", True))
    for path in ("/w/open", "/w/secret"):
        alice.ask(requests.SetData(1, path, b"1", -1))
        alice.ask(create(f"{path}/child", ALICE))
        alice.ask(create(f"{path}/free", *OPEN_ACL))
        alice.ask(requests.Delete(1, f"{path}/child", -1))
        alice.ask(requests.Delete(1, f"{path}/free", -1))
        yield f"heard of {path}", nobody.ask(requests.Sync(2, "/"))
    alice.ask(requests.SetAcl(1, "/w/open", (ALICE, Acl(PERM_CREATE, "world", "anyone")), -1))
    alice.ask(requests.SetData(1, "/w/open", b"2", -1))
    yield "closed meanwhile", nobody.ask(requests.Sync(2, "/"))
    alice.ask(requests.Delete(1, "/w/open", -1))
    yield "gone", nobody.ask(requests.Sync(2, "/"))


def quota_story(client: Any) -> Iterator[tuple[str, Any]]:
    one = client()

    def sums(of: str) -> list[Any]:
        got: list[Any] = one.ask(requests.GetData(9, f"/zookeeper/quota{of}/zookeeper_stats", False))
        return got

    for path in ("/q", "/q/in", "/zookeeper/quota/q"):
        yield f"create {path}", one.ask(create(path, *OPEN_ACL, data=b"12"))
    limits = "/zookeeper/quota/q/zookeeper_limits"
    yield "limits", one.ask(create(limits, *OPEN_ACL, data=b"count=4,bytes=10=;byteHardLimit=20;countHardLimit=-1"))
    yield "before the sums", one.ask(create("/q/a", *OPEN_ACL))
    yield "sums", one.ask(create("/zookeeper/quota/q/zookeeper_stats", *OPEN_ACL, data=b"count=0,bytes=0"))
    yield "counted", sums("/q")
    yield "soft", one.ask(create("/q/b", *OPEN_ACL, data=b"x" * 12))
    yield "counted", sums("/q")
    yield "hard", one.ask(create("/q/c", *OPEN_ACL, data=b"x" * 10))
    yield "hard by set", one.ask(requests.SetData(4, "/q/b", b"x" * 17, -1))
    yield "just fits", one.ask(requests.SetData(4, "/q/b", b"x" * 16, -1))
    yield "counted", sums("/q")
    yield "less is always right", one.ask(requests.SetData(4, "/q/b", b"", -1))
    yield "wrong version and too much", one.ask(requests.SetData(4, "/q/b", b"x" * 30, 77))
    yield "exists and too much", one.ask(create("/q/b", *OPEN_ACL, data=b"x" * 30))
    yield "multi", one.ask(requests.Multi(4, [create("/q/d", *OPEN_ACL, data=b"x" * 30)]))
    yield "counted", sums("/q")
    yield "delete", one.ask(requests.Delete(4, "/q/b", -1))
    yield "counted", sums("/q")
    yield "count limit", one.ask(requests.SetData(4, limits, b"count=-1,bytes=-1=;countHardLimit=3", -1))
    yield "full", one.ask(create("/q/e", *OPEN_ACL))
    yield "sequence", one.ask(create("/q/e", *OPEN_ACL, flags=opcodes.PERSISTENT_SEQUENTIAL))
    for nonsense in (b"nonsense", b"count=x", b"count=", b"", b"count=1", b"bytes=0,count=3"):
        yield f"limits {nonsense!r}", one.ask(requests.SetData(4, limits, nonsense, -1))
        yield f"create under {nonsense!r}", one.ask(create("/q/f", *OPEN_ACL, data=b"f"))
        yield f"delete under {nonsense!r}", one.ask(requests.Delete(4, "/q/f", -1))
        yield f"set under {nonsense!r}", one.ask(requests.SetData(4, "/q/in", nonsense, -1))
        yield f"counted under {nonsense!r}", sums("/q")
    yield "lifted", one.ask(requests.Delete(4, limits, -1))
    yield "free", one.ask(create("/q/g", *OPEN_ACL, data=b"x" * 100))
    yield "not counted", sums("/q")


def test_quotas(tmp_path: Path) -> None:
    compare(tmp_path, {}, quota_story)


@pytest.mark.parametrize("extra", ["default", "skipACL", "SHA-256"])
def test_acls(tmp_path: Path, extra: str) -> None:
    compare(tmp_path, EXTRA[extra], acl_story)


@pytest.mark.parametrize("extra", EXTRA)
def test_authentication(tmp_path: Path, extra: str) -> None:
    compare(tmp_path, EXTRA[extra], refusals_story)


def test_watches(tmp_path: Path) -> None:
    compare(tmp_path, {}, watches_story)
