"""Requests that set, ask for and remove watches.  Fields only."""

from dataclasses import dataclass, field
from typing import ClassVar

from coordination.wire import opcodes
from coordination.wire.requests.layout import INT, LONG, STRING, STRINGS, Layout

SET_WATCHES: Layout = (LONG, STRINGS, STRINGS, STRINGS)
SET_WATCHES2: Layout = (*SET_WATCHES, STRINGS, STRINGS)


@dataclass(slots=True)
class SetWatches:
    """setWatches (101) and setWatches2 (105); the old one has no persistent watches."""

    xid: int
    opcode: int
    relative_zxid: int
    data: list[str]
    exist: list[str]
    child: list[str]
    persistent: list[str] = field(default_factory=list)
    persistent_recursive: list[str] = field(default_factory=list)

    @property
    def layout(self) -> Layout:
        return SET_WATCHES2 if self.opcode == opcodes.SET_WATCHES2 else SET_WATCHES


@dataclass(slots=True)
class AddWatch:
    """`mode`: opcodes.MODE_PERSISTENT or MODE_PERSISTENT_RECURSIVE."""

    xid: int
    path: str
    mode: int
    opcode: ClassVar[int] = opcodes.ADD_WATCH
    layout: ClassVar[Layout] = (STRING, INT)


@dataclass(slots=True)
class CheckWatches:
    """`kind`: one of opcodes.WATCHES_..."""

    xid: int
    path: str
    kind: int
    opcode: ClassVar[int] = opcodes.CHECK_WATCHES
    layout: ClassVar[Layout] = (STRING, INT)


@dataclass(slots=True)
class RemoveWatches:
    """`kind`: one of opcodes.WATCHES_..."""

    xid: int
    path: str
    kind: int
    opcode: ClassVar[int] = opcodes.REMOVE_WATCHES
    layout: ClassVar[Layout] = (STRING, INT)
