"""The same frames to two servers, one step at a time, and the first difference in what they answer.

In: steps (a connection's number and the requests it sends at once; a reconnect).  Out: per step and connection the
replies and events as tokens (`tokens.py`).
Knows the wire and nothing of what a right answer is: that is what the other server is for.

(1) A step is over when its replies are there and every connection has had a ping answered behind them: on ZooKeeper's
    one chain of processors, and on ours, no event of the step can come later.
(2) Equal are: header and body of every reply, Stats, events and their order, the end of connections.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from coordination.wire import opcodes
from coordination.wire.jute import pack_int
from coordination.wire.records import OPEN_ACL, ConnectRequest, decode_connect_response, put_acls
from coordination.wire.requests import Auth, SetWatches
from coordination.wire.requests.layout import put_fields

from .tokens import Names, Token, as_compared

# No session may expire in the middle of another program: its end takes a zxid.
SESSION_TIMEOUT_MS = 3_600_000
ANSWER_TIMEOUT_S = 20.0
CLOSED = "connection closed"


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
    ends: bool = False
    """The server closes the connection behind its answers.  That is waited for: ZooKeeper may still answer a ping that
    comes in between, or lose its answers to one that comes later."""


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


@dataclass
class Side:
    """One of the two servers: plays steps on it, and says what it told."""

    name: str
    port: int
    links: dict[int, Link] = field(default_factory=dict)
    names: Names = field(default_factory=Names)

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
        self.names.begin(int.from_bytes(link.frame()[4:12]))
        link.close()

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
            if step.ends and step.who in self.links:
                said += self._answers(step.who, link, 1)
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
                self.names.base_zxid + since if since > 0 else since,
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
                token = self.names.token(link.opcode_of, link.frame())
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
        link.session_id, link.password = response.session_id, response.password
        return link, self.names.hello(response, len(answer))

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
