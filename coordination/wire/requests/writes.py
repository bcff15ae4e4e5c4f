"""Requests that change znodes.  Fields only; what becomes of them is decided in `state.prep`.  `version` -1 is any."""

from dataclasses import dataclass
from typing import ClassVar

from coordination.wire import opcodes
from coordination.wire.records import Acl
from coordination.wire.requests.layout import ACLS, BUFFER, INT, LONG, NULLABLE_STRING, STRING, Layout


@dataclass(slots=True)
class Create:
    """create (1), create2 (15), createContainer (19): one record, the opcode says which."""

    xid: int
    opcode: int
    path: str
    data: bytes | None
    acl: tuple[Acl, ...]
    flags: int
    ttl_ms: ClassVar[int] = -1
    layout: ClassVar[Layout] = (STRING, BUFFER, ACLS, INT)


@dataclass(slots=True)
class CreateTtl:
    xid: int
    path: str
    data: bytes | None
    acl: tuple[Acl, ...]
    flags: int
    ttl_ms: int
    opcode: ClassVar[int] = opcodes.CREATE_TTL
    layout: ClassVar[Layout] = (*Create.layout, LONG)


@dataclass(slots=True)
class Delete:
    xid: int
    path: str
    version: int
    opcode: ClassVar[int] = opcodes.DELETE
    layout: ClassVar[Layout] = (STRING, INT)


@dataclass(slots=True)
class SetData:
    xid: int
    path: str
    data: bytes | None
    version: int
    opcode: ClassVar[int] = opcodes.SET_DATA
    layout: ClassVar[Layout] = (STRING, BUFFER, INT)


@dataclass(slots=True)
class SetAcl:
    """`version` is that of the ACL."""

    xid: int
    path: str
    acl: tuple[Acl, ...]
    version: int
    opcode: ClassVar[int] = opcodes.SET_ACL
    layout: ClassVar[Layout] = (STRING, ACLS, INT)


@dataclass(slots=True)
class CheckVersion:
    """A part of a multi, never a request of its own (source: Request.isValid)."""

    xid: int
    path: str
    version: int
    opcode: ClassVar[int] = opcodes.CHECK
    layout: ClassVar[Layout] = (STRING, INT)


@dataclass(slots=True)
class Reconfig:
    """`joining` and `leaving`, or else `new_members`: comma-separated; `from_config` -1: whatever is in force."""

    xid: int
    joining: str | None
    leaving: str | None
    new_members: str | None
    from_config: int
    opcode: ClassVar[int] = opcodes.RECONFIG
    layout: ClassVar[Layout] = (NULLABLE_STRING, NULLABLE_STRING, NULLABLE_STRING, LONG)


WriteOperation = Create | CreateTtl | Delete | SetData | CheckVersion
"""What a multi may hold."""
