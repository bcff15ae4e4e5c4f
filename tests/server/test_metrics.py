"""The numbers behind the figures: summaries against the list they stand for, slow syncs, Host headers taken apart."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.server.http_guard import split_host
from coordination.server.log_writer import LogWriter
from coordination.state.summary import Summary
from coordination.storage import MemoryLog


@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(1, 5)), max_size=50), st.floats(0.01, 1.0))
def test_a_summary_says_what_the_whole_list_would(runs: list[tuple[int, int]], share: float) -> None:
    summary = Summary()
    values: list[int] = []
    for value, times in runs:
        summary.observe(value, times)
        values += [value] * times
    values.sort()
    assert summary.count == len(values)
    assert summary.total == sum(values)
    assert summary.least == (values[0] if values else 0)
    assert summary.most == (values[-1] if values else 0)
    assert summary.average == (round(sum(values) / len(values), 4) if values else 0.0)
    if values:
        exact = values[max(math.ceil(share * len(values) - 1e-9), 1) - 1]
        assert exact * (1 - 1 / 64) <= summary.percentile(share) <= exact
    else:
        assert summary.percentile(share) == 0


def test_a_summary_stays_small() -> None:
    summary = Summary()
    for value in range(0, 10_000_000, 997):
        summary.observe(value)
    assert len(summary._spread) < 1500


def test_a_slow_sync_is_told_and_counted() -> None:
    told: list[int] = []
    writer = LogWriter(MemoryLog(), lambda zxid: None, slow_sync_ms=-1, slow=told.append)
    try:
        writer.append([bytes(19) + b"\x01" + bytes(12)], 1)
    finally:
        writer.close()
    assert len(told) == writer.slow_syncs == writer.sync_ms.count == 1
    writer.reset_statistics()
    assert writer.sync_ms.count == writer.batch_sizes.count == 0
    assert writer.slow_syncs == 1  # as fsyncThresholdExceedCount: since the start


@pytest.mark.parametrize(
    ("host", "parts"),
    [
        ("localhost:8080", ("localhost", 8080)),
        ("localhost", ("localhost", 80)),
        ("[::1]:8080", ("::1", 8080)),
        ("[::1]", ("::1", 80)),
        ("a:b", ("a", -1)),
        ("a:-1", ("a", -1)),
        ("a:1:2", ("a", -1)),
        ("a:99999999999", ("a", -1)),
        ("", ("", 80)),
        ("[::1", ("::1", 80)),
    ],
)
def test_a_host_header_is_taken_apart(host: str, parts: tuple[str, int]) -> None:
    assert split_host(host) == parts
