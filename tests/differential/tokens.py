"""What a server told, in a form that can be compared with what another one told.

In: frames, and the opcodes they answer.  Out: tokens, which are plain values; the names of sessions and the zxids since
the start of the program stand in place of what must differ.
Knows the wire and nothing of what a right answer is, and no socket.

(1) zxids are counted from the start of the program.  A time is compared by what it belongs to: one txn has one time.
(2) Sets that ZooKeeper answers in the order of its hash table (names of children, paths of ephemerals, identities) are
    sorted, and so are the deletions of one closeSession (`as_compared`).
(3) What cannot be decoded is compared byte by byte.
"""

import time
from collections.abc import Callable, Mapping
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
)
from coordination.wire.records import ConnectResponse, get_acls, get_stat

CLOCK_SLACK_MS = 3_600_000

Token = Any
"""A frame as it is compared: a tuple of plain values."""


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
class Names:
    """What only one server calls so, and what it is called here."""

    base_zxid: int = 0
    session_names: dict[int, str] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    named: int = 0

    def begin(self, base_zxid: int) -> None:
        """A program starts: it counts from here."""
        self.base_zxid = base_zxid
        self.named = 0

    # --- frames

    def hello(self, response: ConnectResponse, length: int) -> Token:
        """The answer to a ConnectRequest, `length` bytes long."""
        if response.session_id not in self.session_names and response.session_id:
            self.session_names[response.session_id] = f"session {self.named}"
            self.named += 1
        expected = password_of(response.session_id) if response.session_id else bytes(16)
        return (
            "hello",
            response.protocol_version,
            response.timeout_ms,
            self.session(response.session_id),
            response.password == expected,
            response.read_only,
            length,
        )

    def token(self, opcode_of: Mapping[int, int], frame: bytes) -> Token:
        """An event, the answer to a ping, or a reply; `opcode_of`: what was asked with which xid."""
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
            return ("event", self.zxid(zxid), err, kind, state, path, frame[pos:].hex())
        opcode = opcode_of.get(xid)
        if xid == opcodes.XID_PING:
            return ("ping", self.zxid(zxid), err)
        try:
            body, pos = self._body(opcode, frame, 16, end) if end > 16 else (None, 16)
        except (RemoteProtocolError, KeyError, TypeError) as error:
            body, pos = f"{error!r} in {frame[16:].hex()}", end
        return ("reply", opcode, xid, self.zxid(zxid), err, body, frame[pos:].hex())

    def _body(self, opcode: int | None, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
        return _BODIES[opcode](self, buf, pos, end)  # type: ignore[index]

    # --- what is in them

    def zxid(self, zxid: int) -> Any:
        """Counted from the start of the program; what is older only has to be older."""
        if zxid <= 0:
            return zxid
        return f"+{zxid - self.base_zxid}" if zxid > self.base_zxid else "before"

    def session(self, session_id: int) -> str:
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
            self.zxid(raw.czxid),
            self.zxid(raw.mzxid),
            (self._time(raw.czxid, raw.ctime), self._time(raw.mzxid, raw.mtime)),
            raw.version,
            raw.cversion,
            raw.aversion,
            self.session(raw.ephemeral_owner),
            raw.data_length,
            raw.num_children,
            self.zxid(raw.pzxid),
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


Decode = Callable[[Names, bytes, int, int], tuple[Any, int]]


def _path(names: Names, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    return get_string(buf, pos, end)


def _path_and_stat(names: Names, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    path, pos = get_string(buf, pos, end)
    stat, pos = names.stat(buf, pos, end)
    return (path, stat), pos


def _stat(names: Names, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    return names.stat(buf, pos, end)


def _data(names: Names, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    data, pos = get_buffer(buf, pos, end)
    stat, pos = names.stat(buf, pos, end)
    return (data, stat), pos


def _acl(names: Names, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    acls, pos = get_acls(buf, pos, end)
    stat, pos = names.stat(buf, pos, end)
    # `auth` stands for a connection's identities, which are a set in ZooKeeper.
    shown = sorted(acls) if {entry.scheme for entry in acls} == {"digest"} else list(acls)
    return (shown, stat), pos


def _names(names: Names, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    found, pos = get_strings(buf, pos, end)
    return sorted(found), pos


def _names_and_stat(names: Names, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    found, pos = get_strings(buf, pos, end)
    stat, pos = names.stat(buf, pos, end)
    return (sorted(found), stat), pos


def _int(names: Names, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    return get_int(buf, pos, end)


def _buffer(names: Names, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
    return get_buffer(buf, pos, end)


def _identities(names: Names, buf: bytes, pos: int, end: int) -> tuple[Any, int]:
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
    opcodes.MULTI: Names.multi,
    opcodes.MULTI_READ: Names.multi,
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
