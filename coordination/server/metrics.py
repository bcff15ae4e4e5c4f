"""The figures of `mntr` and /metrics: one catalogue, under ZooKeeper's names.

In: Readings.  Out: metrics, each a name, a kind and a value; and the same flattened, as `mntr` lists them.
Knows no output format.  Answers to ZooKeeper's ServerMetrics, MonitorCommand and DefaultMetricsProvider.

(1) A name means here what it means there, and its value was measured.  What a server of one, without Java's queues,
    has no value for is left out, not shown as zero.
"""

import os
import resource
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from coordination.errors import MarshallingError
from coordination.server.readings import VERSION_LINE, Readings
from coordination.state import quotas
from coordination.state.summary import Summary
from coordination.wire.frames import LENGTH_BYTES

GAUGE: Final = "gauge"
COUNTER: Final = "counter"
BASIC: Final = "summary"
ADVANCED: Final = "summary with percentiles"
GAUGE_SET: Final = "gauges by namespace"
COUNTER_SET: Final = "counters by namespace"
PERCENTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999))
Number: TypeAlias = int | float
LOOPBACK_V6 = "0:0:0:0:0:0:0:1"
WELCOME_BYTES = 41  # a ConnectResponse in its frame


class Metric(NamedTuple):
    name: str
    kind: str
    value: Number | Summary | dict[str, int]
    """A dict: of a set, by its keys."""


def collect(readings: Readings) -> Iterator[Metric]:
    """Every metric, with its value now."""
    for name, value in _gauges(readings):
        yield Metric(name, GAUGE, value)
    for name, value in _counters(readings):
        yield Metric(name, COUNTER, value)
    for name, values in _quotas(readings):
        yield Metric(name, GAUGE_SET, values)
    yield Metric("quota_exceeded_error_per_namespace", COUNTER_SET, readings.pipeline.counters.quota_refused)
    for name, kind, summary in _summaries(readings):
        yield Metric(name, kind, summary)


def monitor(readings: Readings) -> Iterator[tuple[str, Number | str]]:
    """What `mntr` lists, without its prefix."""
    yield "version", VERSION_LINE
    yield "server_state", "standalone"
    for name, kind, value in collect(readings):
        if isinstance(value, Summary):
            yield f"avg_{name}", value.average
            yield f"min_{name}", value.least
            yield f"max_{name}", value.most
            yield f"cnt_{name}", value.count
            yield f"sum_{name}", value.total
            if kind == ADVANCED:
                for label, share in PERCENTILES:
                    yield f"{label}_{name}", value.percentile(share)
        elif isinstance(value, dict):
            for namespace, number in value.items():
                yield f"{namespace}_{name}", number
        else:
            yield name, value


def _gauges(readings: Readings) -> Iterator[tuple[str, Number]]:
    pipeline = readings.pipeline
    tree, readable, counters = pipeline.tree, pipeline.readable, pipeline.counters
    yield "ephemerals_count", sum(map(len, tree.ephemerals.values()))
    yield "num_alive_connections", readings.port.connection_count
    yield "avg_latency", readings.latency_average_ms
    yield "min_latency", readings.latency_min_ms
    yield "max_latency", readings.latency_max_ms
    yield "outstanding_requests", pipeline.outstanding
    yield "znode_count", readings.node_count
    yield "global_sessions", len(pipeline.sessions)
    yield "local_sessions", 0
    yield "watch_count", len(readable.data_watches) + len(readable.child_watches)
    yield "approximate_data_size", tree.data_bytes
    yield "packets_sent", readings.packets_sent
    yield "packets_received", counters.received
    yield "auth_failed_count", counters.auth_failed
    yield "connection_drop_probability", pipeline.throttle.drop_probability
    yield "uptime", readings.uptime_ms
    yield "open_file_descriptor_count", _open_files()
    yield "max_file_descriptor_count", resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    local, remote = _tls_connections(readings)
    yield "non_mtls_local_conn_count", local
    yield "non_mtls_remote_conn_count", remote
    yield "outstanding_tls_handshake", readings.port.handshakes_under_way


def _counters(readings: Readings) -> Iterator[tuple[str, int]]:
    counters, traffic = readings.pipeline.counters, readings.port.traffic
    requests = counters.reads + counters.update_latency_ms.count + readings.pipeline.outstanding
    txns = readings.writer.batch_sizes.total
    yield "bytes_received_count", traffic.bytes_received
    yield "response_bytes", _response_bytes(readings)
    yield "watch_bytes", counters.watch_bytes
    yield "connection_request_count", counters.connect_requests
    yield "connection_revalidate_count", counters.revalidations
    yield "connection_rejected", traffic.rejected + counters.connections_throttled
    yield "connection_drop_count", traffic.dropped
    yield "sessionless_connections_expired", traffic.sessionless_expired
    yield "stale_sessions_expired", counters.sessions_expired
    yield "unsuccessful_handshake", traffic.handshakes_failed
    yield "tls_handshake_exceeded", traffic.handshakes_exceeded
    # There as here everything goes past both, reads too.
    yield "prep_processor_request_queued", requests
    yield "sync_processor_request_queued", requests
    yield "request_throttle_wait_count", traffic.pauses
    yield "outstanding_changes_queued", txns
    yield "outstanding_changes_removed", txns - readings.pipeline.outstanding if txns else 0
    yield "snapshot_error_count", readings.disk.snapshot_errors
    yield "digest_mismatches_count", 0 if readings.pipeline.digest is None else readings.pipeline.digest.mismatches
    # Such an error ends this server: whoever can ask sees none.
    yield "unrecoverable_error_count", 0


def _response_bytes(readings: Readings) -> int:
    """Replies without their lengths, and neither welcomes nor events nor words."""
    counters, traffic = readings.pipeline.counters, readings.port.traffic
    replies = max(0, readings.packets_sent - counters.events_sent - counters.connect_requests)
    others = counters.watch_bytes + traffic.word_bytes + counters.connect_requests * WELCOME_BYTES
    return max(0, traffic.bytes_sent - others - replies * LENGTH_BYTES)


def _quotas(readings: Readings) -> Iterator[tuple[str, dict[str, int]]]:
    """Limits and sums by the first part of the limited paths (source: QuotaMetricsUtils); a hard limit hides the soft
    one, and -1 is none.
    """
    nodes = readings.pipeline.tree.nodes
    found: dict[str, dict[str, int]] = {}
    for path in sorted(readings.pipeline.tree.limited.paths):
        namespace = path.split("/")[1]
        for znode, what in ((quotas.limits_path(path), "limit"), (quotas.sums_path(path), "usage")):
            node = nodes.get(znode)
            try:
                numbers = quotas.parse(node.data) if node is not None else {}
            except MarshallingError:
                continue  # a limit that cannot be read refuses writes, and says so there
            for kind, hard in ((quotas.COUNT, quotas.COUNT_HARD), (quotas.BYTES, quotas.BYTES_HARD)):
                number = numbers.get(hard, -1)
                values = found.setdefault(f"quota_{kind}_{what}_per_namespace", {})
                values[namespace] = values.get(namespace, 0) + (number if number > -1 else numbers.get(kind, -1))
    yield from found.items()


def _summaries(readings: Readings) -> Iterator[tuple[str, str, Summary]]:
    counters, writer, disk = readings.pipeline.counters, readings.writer, readings.disk
    yield "fsynctime", BASIC, writer.sync_ms
    yield "sync_processor_batch_size", BASIC, writer.batch_sizes
    yield "snapshottime", BASIC, disk.snapshot_ms
    yield "dbinittime", BASIC, disk.init_ms
    yield "startup_snap_load_time", BASIC, disk.snapshot_load_ms
    yield "startup_txns_loaded", BASIC, disk.txns_loaded
    yield "startup_txns_load_time", BASIC, disk.txns_load_ms
    yield "node_created_watch_count", BASIC, counters.told_created
    yield "node_deleted_watch_count", BASIC, counters.told_deleted
    yield "node_changed_watch_count", BASIC, counters.told_changed
    yield "node_children_watch_count", BASIC, counters.told_children
    yield "connection_token_deficit", BASIC, counters.token_deficit
    yield "readlatency", ADVANCED, counters.read_latency_ms()
    yield "updatelatency", ADVANCED, counters.update_latency_ms
    # From the decision to the moment it is applied: in an ensemble of one nothing lies between the two but the log.
    yield "propagation_latency", ADVANCED, counters.update_latency_ms
    yield "sync_processor_queue_and_flush_time_ms", ADVANCED, counters.update_latency_ms


def _open_files() -> int:
    for directory in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(directory)) - 1  # the listing itself holds one
        except OSError:
            continue
    return -1


def _tls_connections(readings: Readings) -> tuple[int, int]:
    """TLS clients without a certificate, from here and from elsewhere."""
    local = remote = 0
    for client in readings.port.clients:
        if client.tls is not None and client.tls.established and client.tls.certificate is None:
            if client.host.startswith("127.") or client.host == LOOPBACK_V6:
                local += 1
            else:
                remote += 1
    return local, remote
