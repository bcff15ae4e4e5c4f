"""What a server begins with: the directory of its settings opened, the newest snapshot loaded, the log replayed.

In: a Config.  Out: the open store; a pipeline that knows everything acknowledged; facts for the journal.
Blocking, before anybody is served.  Answers to ZooKeeper's ZKDatabase.loadDataBase and FileTxnSnapLog.restore.
"""

import time
from pathlib import Path

import trio

from coordination.errors import RemoteProtocolError
from coordination.server.config import Config, ConfigError
from coordination.server.journal import Journal
from coordination.server.readings import Disk
from coordination.server.snapshots import write_first
from coordination.state.pipeline import Pipeline
from coordination.storage import StorageError, TxnSnapLog
from coordination.storage.log_refusals import repair_command
from coordination.storage.txn_log import VERSION_DIRECTORY


def open_store(config: Config) -> TxnSnapLog:
    """The files of `config.data_dir`, which is set.  StorageError; ConfigError: they must be there and are not."""
    assert config.data_dir is not None
    if not config.directory_autocreate:
        _must_be_there(config.data_dir, config.data_log_dir or config.data_dir)
    return TxnSnapLog.open(
        config.data_dir,
        config.data_log_dir,
        prealloc_bytes=config.prealloc_bytes,
        retain_count=config.snap_retain_count,
        log_bytes_max=config.log_bytes_max,
        compression=config.snapshot_compression,
    )


def recover(pipeline: Pipeline, store: TxnSnapLog, journal: Journal, disk: Disk) -> None:
    """Bring the pipeline to where the files say it was; a fresh directory gets its first snapshot.  StorageError."""
    begin = time.monotonic()
    for repair in store.repairs:
        journal.write("log_repaired", what=str(repair))
    count = 0
    with store.restore() as restored:
        for damaged in restored.passed_over:
            journal.write("snapshot_passed_over", what=str(damaged))
        if restored.snapshot is not None:
            pipeline.load(restored.snapshot.sessions, restored.snapshot.acls, restored.snapshot.nodes(), restored.zxid)
            pipeline.promised(restored.snapshot.digest)
            disk.snapshot_load_ms.observe(int((time.monotonic() - begin) * 1000))
        loaded = time.monotonic()
        for zxid, payload in restored.txns():
            try:
                pipeline.replay(payload)
            except RemoteProtocolError as error:
                raise _unreadable(zxid, error, store) from error
            count += 1
        for gap in store.log.gaps:
            journal.write("log_gap", what=str(gap))
        fresh = restored.fresh
        if not fresh:
            disk.txns_loaded.observe(count)
            disk.txns_load_ms.observe(int((time.monotonic() - loaded) * 1000))
    if fresh:
        written = time.monotonic()
        write_first(pipeline, store)
        disk.snapshot_ms.observe(int((time.monotonic() - written) * 1000))
    # A session has its full timeout from now on: reading a long log may have taken longer than that.
    pipeline.at(int(trio.current_time() * 1000), time.time_ns() // 1_000_000)
    pipeline.recovered()
    took_ms = round((time.monotonic() - begin) * 1000, 1)
    disk.init_ms.observe(int(took_ms))
    journal.write(
        "recovered",
        zxid=pipeline.tree.last_zxid,
        txns=count,
        znodes=len(pipeline.tree.nodes),
        sessions=len(pipeline.sessions),
        took_ms=took_ms,
    )


def _unreadable(zxid: int, error: RemoteProtocolError, store: TxnSnapLog) -> StorageError:
    return StorageError(
        f"the txn 0x{zxid:x} in {store.log.directory} is whole and cannot be read: {error}. Whatever wrote it is newer "
        "than this server, or another program. Nothing was changed. Start the server that wrote it; or, if losing this "
        "txn and all behind it is acceptable: keep a copy of the directory, then cut the log with "
        f"`{repair_command(zxid - 1, store.directory.parent, store.log.directory.parent)}`."
    )


def _must_be_there(*directories: Path) -> None:
    for directory in directories:
        if not (directory / VERSION_DIRECTORY).is_dir():
            raise ConfigError(
                f"datadir.autocreate=false and there is no {directory / VERSION_DIRECTORY}. "
                "Make it, mount what belongs there, or remove the line."
            )
