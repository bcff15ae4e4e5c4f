"""The same frames to two servers, one step at a time, and what each answered in a form that can be compared.

In: steps (a connection's number and the requests it sends at once; a reconnect).  Out: per step and connection the
replies and events, with the names of sessions and the zxids since the start in place of what must differ.
Knows the wire and nothing of what a right answer is: that is what the other server is for.

(1) A step is over when its replies are there and every connection has had a ping answered behind them: on ZooKeeper's
    one chain of processors, and on ours, no event of the step can come later.
(2) Equal are: header and body of every reply, Stats, events and their order, the end of connections.  Sets that
    ZooKeeper answers in the order of its hash table (names of children, paths of ephemerals, identities) are compared
    as sets, and so are the deletions of one closeSession.
(3) zxids are counted from the start of the program.  A time is compared by what it belongs to: one txn has one time.
"""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from coordination.errors import RemoteProtocolError
from coordination.state.sessions import password_of
from coordination.wire import opcodes
from coordination.wire.jute import (
    get_bool,
    get_buffer,
    get_int,
    get_nullable_string,
    get_string,
    get_strings,
    get_vector,
    pack_int,
)
from coordination.wire.records import (
    OPEN_ACL,
    ConnectRequest,
    decode_connect_response,
    get_acls,
    get_stat,
    put_acls,
)
from coordination.wire.requests import Auth, SetWatches
from coordination.wire.requests.layout import put_fields

# No session may expire in the middle of another program: its end takes a zxid.
SESSION_TIMEOUT_MS = 3_600_000
ANSWER_TIMEOUT_S = 20.0
CLOCK_SLACK_MS = 3_600_000
CLOSED = "connection closed"

Token = Any
"""A frame as it is compared: a tuple of plain values."""


@dataclass(slots=True)
class Raw:
    """A request given as bytes: whatever a client can send."""

    opcode: int
    payload: bytes = b""
    xid: int = 0


@dataclass(slots=True)
class Send:
    """One connection sends these at once."""

    who: int
    requests: Sequence[Any]


@dataclass(slots=True)
class Reconnect:
    """Connection `who` attaches to its session again.  `politely`: the old connection is closed first."""

    who: int
    politely: bool = True
    wrong_password: bool = False
    zxid_ahead: bool = False


Step = Send | Reconnect


class Ended(Exception):
    """The server closed the connection."""


class Link:
    """One connection to one server: frames out, frames in."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), ANSWER_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.opcode_of: dict[int, int] = {}
        self.next_xid = 1
        self.name = ""
        self.session_id = 0
        self.password = bytes(16)
        self._held = b""

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # the end of the connection is seen when the answer is read

    def frame(self) -> bytes:
        length = int.from_bytes(self._exactly(4))
        return self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        while len(self._held) < count:
            try:
                piece = self.socket.recv(65536)
            except TimeoutError:
                raise
            except OSError:
                raise Ended from None
            if not piece:
                raise Ended
            self._held += piece
        out, self._held = self._held[:count], self._held[count:]
        return out

    def close(self) -> None:
        self.socket.close()


def whole(xid: int, opcode: int, body: bytes) -> bytes:
    return pack_int(8 + len(body)) + pack_int(xid) + pack_int(opcode) + body


class Stat(NamedTuple):
    czxid: Any
    mzxid: Any
    times: Any
    version: int
    cversion: int
    aversion: int
    owner: Any
    data_length: int
    children: int
    pzxid: Any


@dataclass
class Side:
    """One of the two servers, and the names of what only it calls so."""

    name: str
    port: int
    links: dict[int, Link] = field(default_factory=dict)
    base_zxid: int = 0
    session_names: dict[int, str] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    named: int = 0

    # --- moves

    def begin(self, top: str, acl_bytes: bytes) -> None:
        """A fresh znode for the program; its zxid is where counting starts."""
        self.end()
        link, _ = self._dial(ConnectRequest(0, 0, SESSION_TIMEOUT_MS, 0, bytes(16)))
        path = top.encode()
        create = pack_int(len(path)) + path + pack_int(0) + acl_bytes + pack_int(0)
        link.send(whole(1, opcodes.CREATE, create))
        created = link.frame()
        assert created[12:16] == pack_int(0), f"{self.name} did not create {top}: {created!r}"
        link.send(whole(2, opcodes.CLOSE_SESSION, b""))
        self.base_zxid = int.from_bytes(link.frame()[4:12])
        link.close()
        self.named = 0

    def end(self) -> None:
        for link in self.links.values():
            link.close()
        self.links.clear()

    def play(self, step: Step) -> dict[int, list[Token]]:
        """What every connection was told because of `step`."""
        told: dict[int, list[Token]] = {}
        if isinstance(step, Reconnect):
            told[step.who] = [self._reconnect(step)]
        else:
            said = told[step.who] = []
            link = self.links.get(step.who)
            if link is None:
                link, hello = self._dial(ConnectRequest(0, 0, SESSION_TIMEOUT_MS, 0, bytes(16)))
                self.links[step.who] = link
                said.append(hello)
            link.send(b"".join(self._encoded(link, request) for request in step.requests))
            said += self._answers(step.who, link, len(step.requests))
        for who in sorted(self.links):
            told.setdefault(who, []).extend(self._barrier(who))
        return told

    def _encoded(self, link: Link, request: Any) -> bytes:
        if isinstance(request, Auth):
            xid = opcodes.XID_AUTH
        elif request.opcode == opcodes.PING:
            xid = opcodes.XID_PING
        elif isinstance(request, SetWatches) and request.xid == opcodes.XID_SET_WATCHES:
            xid = opcodes.XID_SET_WATCHES
        else:
            xid = link.next_xid
            link.next_xid += 1
        link.opcode_of[xid] = request.opcode
        if isinstance(request, SetWatches):
            since = request.relative_zxid
            moved = SetWatches(
                xid,
                request.opcode,
                self.base_zxid + since if since > 0 else since,
                request.data,
                request.exist,
                request.child,
                request.persistent,
                request.persistent_recursive,
            )
            return whole(xid, request.opcode, put_fields(moved))
        body = request.payload if isinstance(request, Raw) else put_fields(request)
        return whole(xid, request.opcode, body)

    def _answers(self, who: int, link: Link, count: int) -> list[Token]:
        said: list[Token] = []
        try:
            while count:
                token = self._token(link, link.frame())
                said.append(token)
                count -= token[0] != "event"
        except Ended:
            said.append(CLOSED)
            self._drop(who)
        except TimeoutError:
            raise AssertionError(f"{self.name} did not answer within {ANSWER_TIMEOUT_S:g} s, said {said}") from None
        return said

    def _barrier(self, who: int) -> list[Token]:
        link = self.links.get(who)
        if link is None:
            return []
        link.opcode_of[opcodes.XID_PING] = opcodes.PING
        link.send(whole(opcodes.XID_PING, opcodes.PING, b""))
        said = self._answers(who, link, 1)
        return [token for token in said if token[0] != "ping"]

    def _drop(self, who: int) -> None:
        self.links.pop(who).close()

    def _dial(self, hello: ConnectRequest) -> tuple[Link, Token]:
        link = Link(self.port)
        body = hello.encode()
        link.send(pack_int(len(body)) + body)
        try:
            answer = link.frame()
        except Ended:
            return link, ("hello", CLOSED)
        response = decode_connect_response(answer, 0, len(answer))
        if response.session_id not in self.session_names and response.session_id:
            self.session_names[response.session_id] = f"session {self.named}"
            self.named += 1
        link.session_id, link.password = response.session_id, response.password
        expected = password_of(response.session_id) if response.session_id else bytes(16)
        return link, (
            "hello",
            response.protocol_version,
            response.timeout_ms,
            self._session(response.session_id),
            response.password == expected,
            response.read_only,
            len(answer),
        )

    def _reconnect(self, step: Reconnect) -> Token:
        old = self.links.get(step.who)
        if old is None:
            return "nothing to reconnect"
        if step.politely:
            old.close()
        ahead = 1 << 40 if step.zxid_ahead else 0
        password = b"x" * 16 if step.wrong_password else old.password
        new, hello = self._dial(ConnectRequest(0, ahead, SESSION_TIMEOUT_MS, old.session_id, password))
        new.next_xid = old.next_xid
        if new.session_id:
            self.links[step.who] = new
        else:
            new.close()
        ended = ""
        if not step.politely and not step.zxid_ahead:
            try:
                while True:
                    old.frame()
            except Ended:
                ended = CLOSED
        if not new.session_id:
            self.links.pop(step.who, None)
        old.close()
        return ("reconnect", hello, ended)

    # --- frames as tokens

    def _token(self, link: Link, frame: bytes) -> Token:
        xid, zxid, err = (
            int.from_bytes(frame[:4], signed=True),
            int.from_bytes(frame[4:12], signed=True),
            int.from_bytes(frame[12:16], signed=True),
        )
        end = len(frame)
        if xid == opcodes.XID_NOTIFICATION:
            kind, pos = get_int(frame, 16, end)
            state, pos = get_int(frame, pos, end)
            path, pos = get_string(frame, pos, end)
            return ("event", self._zxid(zxid), err, kind, state, path, frame[pos:].hex())
        opcode = link.opcode_of.get(xid)
        if xid == opcodes.XID_PING:
            return ("ping", self._zxid(zxid), err)
        try:
            body, pos = self._body(opcode, frame, 16, end) if end > 16 else (None, 16)
        except (RemoteProtocolError, KeyError, TypeError) as error:
            body, pos = f"{error!r} in {frame[16:].hex()}", end
        return ("reply", opcode, xid, self._zxid(zxid), err, body, frame[pos:].hex())

    def _body(self, opcode: int | None, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
        return _BODIES[opcode](self, buf, pos, end)  # type: ignore[index]

    def _zxid(self, zxid: int) -> Any:
        """Counted from the start of the program; what is older only has to be older."""
        if zxid <= 0:
            return zxid
        return f"+{zxid - self.base_zxid}" if zxid > self.base_zxid else "before"

    def _session(self, session_id: int) -> str:
        return self.session_names.get(session_id, "nobody" if session_id == 0 else "an unknown session")

    def _time(self, zxid: int, ms: int) -> str:
        if zxid == 0 or ms == 0:
            return f"{ms} ms"
        if abs(time.time() * 1000 - ms) > CLOCK_SLACK_MS:
            return "another age"
        known = self.times.setdefault(zxid, ms)
        return "its txn's" if known == ms else f"not its txn's: {ms - known:+} ms"

    def stat(self, buf: bytes, pos: int, end: int) -> tuple[Stat, int]:
        raw, pos = get_stat(buf, pos, end)
        return Stat(
            self._zxid(raw.czxid),
            self._zxid(raw.mzxid),
            (self._time(raw.czxid, raw.ctime), self._time(raw.mzxid, raw.mtime)),
            raw.version,
            raw.cversion,
            raw.aversion,
            self._session(raw.ephemeral_owner),
            raw.data_length,
            raw.num_children,
            self._zxid(raw.pzxid),
        ), pos

    def multi(self, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
        parts = []
        while True:
            opcode, pos = get_int(buf, pos, end)
            done, pos = get_bool(buf, pos, end)
            err, pos = get_int(buf, pos, end)
            if done:
                return [*parts, (opcode, done, err)], pos
            if opcode == opcodes.ERROR:
                again, pos = get_int(buf, pos, end)
                parts.append((opcode, done, err, again))
            elif opcode in (opcodes.DELETE, opcodes.CHECK):
                parts.append((opcode, done, err))
            else:
                body, pos = self._body(opcode, buf, pos, end)
                parts.append((opcode, done, err, body))


Decode = Callable[[Side, bytes, int, int], tuple[Any, int]]


def _path(side: Side, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    return get_string(buf, pos, end)


def _path_and_stat(side: Side, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    path, pos = get_string(buf, pos, end)
    stat, pos = side.stat(buf, pos, end)
    return (path, stat), pos


def _stat(side: Side, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    return side.stat(buf, pos, end)


def _data(side: Side, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    data, pos = get_buffer(buf, pos, end)
    stat, pos = side.stat(buf, pos, end)
    return (data, stat), pos


def _acl(side: Side, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    acls, pos = get_acls(buf, pos, end)
    stat, pos = side.stat(buf, pos, end)
    # `auth` stands for a connection's identities, which are a set in ZooKeeper.
    shown = sorted(acls) if {entry.scheme for entry in acls} == {"digest"} else list(acls)
    return (shown, stat), pos


def _names(side: Side, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    names, pos = get_strings(buf, pos, end)
    return sorted(names), pos


def _names_and_stat(side: Side, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    names, pos = get_strings(buf, pos, end)
    stat, pos = side.stat(buf, pos, end)
    return (sorted(names), stat), pos


def _int(side: Side, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    return get_int(buf, pos, end)


def _buffer(side: Side, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    return get_buffer(buf, pos, end)


def _identities(side: Side, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    def one(buf: bytes, pos: int, end: int) -> tuple[Any, int]:
        scheme, pos = get_nullable_string(buf, pos, end)
        user, pos = get_nullable_string(buf, pos, end)
        return (scheme, user), pos

    identities, pos = get_vector(buf, pos, end, one)
    return sorted(identities), pos


_BODIES: dict[int | None, Decode] = {
    opcodes.CREATE: _path,
    opcodes.CREATE2: _path_and_stat,
    opcodes.CREATE_CONTAINER: _path_and_stat,
    opcodes.CREATE_TTL: _path_and_stat,
    opcodes.EXISTS: _stat,
    opcodes.GET_DATA: _data,
    opcodes.SET_DATA: _stat,
    opcodes.GET_ACL: _acl,
    opcodes.SET_ACL: _stat,
    opcodes.GET_CHILDREN: _names,
    opcodes.GET_CHILDREN2: _names_and_stat,
    opcodes.SYNC: _path,
    opcodes.CHECK: _stat,
    opcodes.MULTI: Side.multi,
    opcodes.MULTI_READ: Side.multi,
    opcodes.RECONFIG: _data,
    opcodes.SASL: _buffer,
    opcodes.GET_EPHEMERALS: _names,
    opcodes.GET_ALL_CHILDREN_NUMBER: _int,
    opcodes.ADD_WATCH: _int,
    opcodes.WHO_AM_I: _identities,
}


def as_compared(told: list[Token]) -> list[Token]:
    """Deletions of one txn in the order of their paths: a closing session's ephemerals are a set in ZooKeeper."""
    out: list[Token] = []
    run: list[Token] = []

    def flush() -> None:
        out.extend(sorted(run, key=repr))
        run.clear()

    for token in told:
        if token[0] == "event" and (not run or run[-1][1] == token[1]) and token[1] != -1:
            run.append(token)
            continue
        flush()
        if token[0] == "event" and token[1] != -1:
            run.append(token)
        else:
            out.append(token)
    flush()
    return out


@dataclass
class Difference:
    at: int
    step: Step
    who: int
    told: dict[str, list[Token]]
    before: Sequence[Step]

    def __str__(self) -> str:
        lines = [f"  {step}" for step in self.before] + [f"  {self.step}  <- here connection {self.who} was told"]
        for name, tokens in self.told.items():
            lines.append(f"  by {name}:")
            lines += [f"    {token}" for token in tokens]
        return "\n".join(lines)


@dataclass
class Pair:
    """Ours and the real one."""

    sides: tuple[Side, Side]
    programs: Iterator[int]

    def first_difference(self, program: Callable[[str], Sequence[Step]]) -> Difference | None:
        """Plays `program`, given a znode of its own, on both."""
        top = f"/p{next(self.programs)}"
        for side in self.sides:
            side.begin(top, put_acls(OPEN_ACL))
        try:
            steps = program(top)
            for at, step in enumerate(steps):
                ours, theirs = (side.play(step) for side in self.sides)
                ends_session = any(
                    getattr(request, "opcode", 0) == opcodes.CLOSE_SESSION for request in getattr(step, "requests", ())
                )
                for who in sorted(ours.keys() | theirs.keys()):
                    pair = [ours.get(who, []), theirs.get(who, [])]
                    if ends_session:
                        pair = [as_compared(told) for told in pair]
                    if pair[0] != pair[1]:
                        names = (side.name for side in self.sides)
                        return Difference(at, step, who, dict(zip(names, pair, strict=True)), steps[:at])
        finally:
            for side in self.sides:
                side.end()
        return None


def shrunk(first: Difference, steps: int, fails: Callable[[list[int]], Difference | None]) -> Difference:
    """A difference that fewer steps show: they are left out in halves, quarters, ... one by one, while it stays."""
    kept, found = list(range(min(first.at + 1, steps))), first
    size = max(1, len(kept) // 2)
    while True:
        at = 0
        while at < len(kept):
            fewer = kept[:at] + kept[at + size :]
            difference = fails(fewer) if fewer else None
            if difference is None:
                at += size
            else:
                kept, found = fewer[: difference.at + 1], difference
        if size == 1:
            return found
        size //= 2
