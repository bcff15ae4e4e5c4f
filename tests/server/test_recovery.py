"""What a server begins with: sessions keep their whole timeout however long the recovery took."""

from pathlib import Path

import pytest
from trio.testing import MockClock

from coordination.server.journal import Journal
from coordination.server.readings import Disk
from coordination.server.recovery import recover
from coordination.state.pipeline import Pipeline
from coordination.state.ready import Settings
from coordination.state.txn import CloseSessionTxn, decode
from coordination.storage import StorageError, TxnSnapLog
from coordination.storage.log_format import TXN_HEADER_BYTES

SESSION_ID, TIMEOUT_MS = 0x1000, 4000


def a_directory_with_a_session(directory: Path) -> None:
    store = TxnSnapLog.open(directory)
    tree = Pipeline(Settings(), 0).tree
    store.begin_snapshot(0, {SESSION_ID: TIMEOUT_MS}, tree.acl_table(), tree.dump()).write_all()
    store.close()


async def test_a_recovery_longer_than_the_timeout_expires_nobody(tmp_path: Path, mock_clock: MockClock) -> None:
    a_directory_with_a_session(tmp_path)
    pipeline = Pipeline(Settings(), 0)
    pipeline.at(0, 0)
    store = TxnSnapLog.open(tmp_path)
    mock_clock.jump(100)  # as long as a large log takes to read
    recover(pipeline, store, Journal(), Disk())
    store.close()
    pipeline.at(100_000 + TIMEOUT_MS - 1000, 0)
    pipeline.tick()
    assert not pipeline.take().persist
    pipeline.at(100_000 + 2 * TIMEOUT_MS, 0)
    pipeline.tick()
    assert len(pipeline.take().persist) == 1


async def test_an_ephemeral_whose_session_nobody_knows_goes(tmp_path: Path) -> None:
    """As such files of ZooKeeper are: it kills the session when it has loaded them."""
    store, tree = TxnSnapLog.open(tmp_path), Pipeline(Settings(), 0).tree
    ghost = ("/ghost", b"", -1, (1, 1, 0, 0, 0, 0, 0, SESSION_ID, 1))
    store.begin_snapshot(3, {}, tree.acl_table(), [*tree.dump(), ghost]).write_all()
    pipeline = Pipeline(Settings(min_session_timeout_ms=TIMEOUT_MS), 0)
    recover(pipeline, store, Journal(), Disk())
    store.close()
    pipeline.at(pipeline.now_ms + 2 * TIMEOUT_MS, 0)
    pipeline.tick()
    (payload,) = pipeline.take().persist
    assert decode(payload)[1] == CloseSessionTxn(["/ghost"])
    assert decode(payload)[0].client_id == SESSION_ID


async def test_a_txn_nobody_here_knows_is_refused_with_the_way_out(tmp_path: Path) -> None:
    store, tree = TxnSnapLog.open(tmp_path), Pipeline(Settings(), 0).tree
    head = (0).to_bytes(12) + (5).to_bytes(8) + (0).to_bytes(8) + (777).to_bytes(4)
    assert len(head) == TXN_HEADER_BYTES
    store.begin_snapshot(4, {}, tree.acl_table(), tree.dump()).write_all()
    store.log.append([head])
    with pytest.raises(StorageError, match=r"0x5 in .* unknown type 777.* log truncate --after 0x4 ") as refused:
        recover(Pipeline(Settings(), 0), store, Journal(), Disk())
    assert str(tmp_path) in str(refused.value)
    store.close()
