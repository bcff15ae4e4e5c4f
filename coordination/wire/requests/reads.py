"""Requests that look at znodes.  Fields only; what they are answered stands in `state.reads`."""

from dataclasses import dataclass
from typing import ClassVar

from coordination.wire import opcodes
from coordination.wire.requests.layout import BOOL, STRING, STRING_OR_EMPTY, Layout


@dataclass(slots=True)
class Exists:
    xid: int
    path: str
    watch: bool
    opcode: ClassVar[int] = opcodes.EXISTS
    layout: ClassVar[Layout] = (STRING, BOOL)


@dataclass(slots=True)
class GetData:
    xid: int
    path: str
    watch: bool
    opcode: ClassVar[int] = opcodes.GET_DATA
    layout: ClassVar[Layout] = (STRING, BOOL)


@dataclass(slots=True)
class GetChildren:
    xid: int
    path: str
    watch: bool
    opcode: ClassVar[int] = opcodes.GET_CHILDREN
    layout: ClassVar[Layout] = (STRING, BOOL)


@dataclass(slots=True)
class GetChildren2:
    """With the Stat of the parent."""

    xid: int
    path: str
    watch: bool
    opcode: ClassVar[int] = opcodes.GET_CHILDREN2
    layout: ClassVar[Layout] = (STRING, BOOL)


@dataclass(slots=True)
class GetAcl:
    xid: int
    path: str
    opcode: ClassVar[int] = opcodes.GET_ACL
    layout: ClassVar[Layout] = (STRING,)


@dataclass(slots=True)
class GetAllChildrenNumber:
    """How many znodes are below one, at any depth."""

    xid: int
    path: str
    opcode: ClassVar[int] = opcodes.GET_ALL_CHILDREN_NUMBER
    layout: ClassVar[Layout] = (STRING,)


@dataclass(slots=True)
class GetEphemerals:
    """The paths of the session's own ephemerals that begin with `prefix`."""

    xid: int
    prefix: str
    opcode: ClassVar[int] = opcodes.GET_EPHEMERALS
    layout: ClassVar[Layout] = (STRING_OR_EMPTY,)


@dataclass(slots=True)
class Sync:
    xid: int
    path: str
    opcode: ClassVar[int] = opcodes.SYNC
    layout: ClassVar[Layout] = (STRING,)
