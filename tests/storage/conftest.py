"""Payloads and damaged files for the storage tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from coordination.storage import TxnLog


def payload(zxid: int, data: bytes = b"") -> bytes:
    """A TxnHeader with this zxid, and any bytes behind it; storage never looks at the rest."""
    return (
        (7).to_bytes(8, "big")
        + (zxid & 0xFF).to_bytes(4, "big")
        + zxid.to_bytes(8, "big")
        + (1_700_000_000_000).to_bytes(8, "big")
        + (1).to_bytes(4, "big")
        + data
    )


def reopened(directory: Path) -> list[int]:
    """The zxids that a server starting on this directory reads."""
    log = TxnLog.open(directory, prealloc_bytes=0)
    try:
        return [zxid for zxid, _ in log.read()]
    finally:
        log.close()


MakeLog = Callable[..., Path]


@pytest.fixture
def make_log(tmp_path: Path) -> MakeLog:
    """Write a log of these payloads and close it; gives its directory (the one above version-2)."""

    def make(*payloads: bytes, prealloc_bytes: int = 0) -> Path:
        log = TxnLog.open(tmp_path, prealloc_bytes=prealloc_bytes)
        log.append(payloads)
        log.sync()
        log.close()
        return tmp_path

    return make
