"""One server process: settings -> storage -> recovery -> port, until SIGTERM.

In: a Config.  Out: an exit code; `ready <port>` on the descriptor given, once it serves.
The only place that knows everything; decides nothing about requests.  Answers to ZooKeeperServerMain.

(1) The port is bound before the log is read, and nobody is accepted before it is read to its end.
(2) `ready` is written after the first moment a client would be served.
(3) SIGTERM and SIGINT end it with 0: what is in the log is synced, sessions live on in it.
"""

import os
import random
import signal
import sys
import time

import trio

from coordination.server import garbage
from coordination.server.client import Listener
from coordination.server.client_listeners import close_all, open_listeners, renew_certificates
from coordination.server.client_port import ClientPort
from coordination.server.config import Config, ConfigError
from coordination.server.journal import Journal
from coordination.server.listening import PortTakenError
from coordination.server.log_writer import LogWriter
from coordination.server.operator_settings import user_name
from coordination.server.operators import OperatorPorts, operator_ports, start_http
from coordination.server.readings import Disk, Readings
from coordination.server.recovery import open_store, recover
from coordination.server.snapshots import Snapshotter
from coordination.server.words import Words
from coordination.state.audit import AUDIT, INVOKED, SERVER_START, SERVER_STOP, SUCCESS
from coordination.state.pipeline import Pipeline
from coordination.storage import LogWriteError, MemoryLog, StorageError, TransactionLog

EXIT_OK, EXIT_SETTINGS, EXIT_STORAGE, EXIT_PORT = 0, 2, 5, 6


def run(config: Config, *, ready_fd: int | None = None, journal: Journal | None = None) -> int:
    """Serve in the foreground; returns an exit code.  Must be called in the main thread (signals)."""
    assert __debug__, "invariants are asserts: do not run the server with -O"
    journal = journal or Journal()
    _raise_file_limit()
    listeners: list[Listener] = []
    try:
        listeners = open_listeners(config)
        operators = operator_ports(config)
    except PortTakenError as error:
        close_all(listeners)
        print(error, file=sys.stderr)
        return EXIT_PORT
    except ConfigError as error:
        close_all(listeners)
        print(f"Cannot use the settings: {error.located(config.places)}", file=sys.stderr)
        return EXIT_SETTINGS
    try:
        return trio.run(_serve, config, listeners, operators, ready_fd, journal)
    except (StorageError, ConfigError, BaseExceptionGroup) as failure:
        reason = _innermost(failure)
        if isinstance(reason, ConfigError):
            print(f"Cannot use the settings: {reason.located(config.places)}", file=sys.stderr)
            return EXIT_SETTINGS
        if not isinstance(reason, StorageError):
            raise
        # A write that cannot be made safe ends the server: what was acknowledged is in the log, what was not is not.
        journal.write("log_write_failed" if isinstance(reason, LogWriteError) else "storage_failed", what=str(reason))
        print(reason, file=sys.stderr)
        return EXIT_STORAGE
    finally:
        close_all(listeners)
        operators.close()


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _raise_file_limit() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(
    config: Config, listeners: list[Listener], operators: OperatorPorts, ready_fd: int | None, journal: Journal
) -> int:
    pipeline = Pipeline(config.pipeline, time.time_ns() // 1_000_000, random.random)
    pipeline.at(int(trio.current_time() * 1000), time.time_ns() // 1_000_000)
    _tell_what_has_no_effect(config, journal)
    store = snapshots = None
    disk = Disk()
    log: TransactionLog = MemoryLog()
    if config.data_dir is not None:
        store = open_store(config)
        log = store.log
        with garbage.loading():
            recover(pipeline, store, journal, disk)
    garbage.serve()
    writer = LogWriter(
        log,
        pipeline.persisted,
        sync=config.force_sync,
        slow_sync_ms=config.slow_sync_ms,
        slow=lambda took_ms: journal.write("slow_sync", took_ms=took_ms),
    )
    words: Words
    port = ClientPort(
        pipeline,
        listeners,
        journal,
        lambda word, connection: words.answer(word, connection),
        connections_per_host_max=config.max_client_connections,
        connections_max=config.max_connections,
        outstanding_max=config.outstanding_max,
        sessionless_ms=config.sessionless_ms,
        handshakes_max=config.handshakes_max,
        keep_alive=config.keep_alive,
    )
    numbers = [each.sock.getsockname()[1] for each in listeners]
    readings = Readings(
        config,
        pipeline,
        port,
        writer,
        client_port=None if config.port is None else numbers[0],
        secure_client_port=None if config.secure_port is None else numbers[-1],
        disk=disk,
    )
    words = Words(readings)
    try:
        async with trio.open_nursery() as nursery:
            if store is not None:
                snapshots = Snapshotter(
                    pipeline,
                    store,
                    writer,
                    journal,
                    disk,
                    snap_count=config.snap_count,
                    snap_log_bytes=config.snap_log_bytes,
                )
                port.after_commit = snapshots.committed
                nursery.start_soon(snapshots.run)
                if config.purge_interval_h > 0:
                    nursery.start_soon(snapshots.purge_every, config.purge_interval_h)
            if config.certificates_reloaded and any(each.context is not None for each in listeners):
                nursery.start_soon(renew_certificates, listeners, config, journal)
            # Before anybody is told that it serves: who is told may end it at once.
            await nursery.start(_end_at_signal, nursery.cancel_scope)
            start_http(nursery, config, operators, readings, snapshots, journal)
            number = numbers[0]
            journal.write("serving", host=config.host, port=number, data=str(config.data_dir or "in memory"))
            if config.port is not None and config.port_unification:
                journal.write("serving_tls", host=config.host, port=number)
            if config.secure_port is not None:
                journal.write("serving_tls", host=config.secure_host, port=numbers[-1])
            if config.audit is not None:
                journal.write(AUDIT, user=user_name(), operation=SERVER_START, result=SUCCESS)
            if ready_fd is not None:
                os.write(ready_fd, f"ready {number}\n".encode())
                os.close(ready_fd)
            nursery.start_soon(port.run, writer)
    finally:
        if config.audit is not None:
            journal.write(AUDIT, user=user_name(), operation=SERVER_STOP, result=INVOKED)
        writer.close()
        if store is not None:
            store.close()
    return EXIT_OK


def _tell_what_has_no_effect(config: Config, journal: Journal) -> None:
    for key in config.ignored:
        meant = {"did_you_mean": config.meant[key]} if key in config.meant else {}
        journal.write("config_unknown_key", key=key, **meant)
    for warning in config.warnings:
        journal.write("config_without_effect", what=warning)
    if config.without_effect:
        journal.write("config_keys_without_effect", keys=list(config.without_effect))


async def _end_at_signal(scope: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
            return
