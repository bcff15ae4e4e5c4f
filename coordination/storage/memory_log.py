"""The log of a server that keeps nothing (`--in-memory`): same interface, no file, no promise across a restart.

In:  payloads.  Out: nothing after a restart; `read` gives nothing, since there is never anything to recover.
Payloads are checked as the durable log checks them and then dropped: keeping them would only be a leak.
"""

from collections.abc import Iterator, Sequence
from struct import Struct

_ZXID = Struct(">12xq")


class MemoryLog:
    """Satisfies `TransactionLog`; used where durability is not wanted."""

    def __init__(self) -> None:
        self.last_zxid = 0

    def read(self, after_zxid: int = 0) -> Iterator[tuple[int, bytes]]:
        return iter(())

    def append(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            (zxid,) = _ZXID.unpack_from(payload)
            assert zxid > self.last_zxid, f"zxid 0x{zxid:x} after 0x{self.last_zxid:x}"
            self.last_zxid = zxid

    def sync(self) -> None:
        pass

    def roll(self) -> None:
        pass

    def truncate(self, after_zxid: int) -> None:
        self.last_zxid = min(self.last_zxid, after_zxid)

    def close(self) -> None:
        pass
