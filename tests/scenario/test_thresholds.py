"""Thresholds as a table: what is read, what is refused, what comes of it."""

import math

import pytest

from brokerdemo.durations import format_ms, parse_ms
from brokerdemo.scenario.thresholds import (
    Sample,
    ThresholdError,
    judge,
    nearest_rank,
    parse_all,
    parse_flag,
    parse_threshold,
    summary,
)

TEN = [Sample(float(v), run=v) for v in range(1, 11)]


@pytest.mark.parametrize(
    ("expr", "value", "passed"),
    [
        ("min<2", 1, True),
        ("min>1", 1, False),
        ("avg==5.5", 5.5, True),
        ("med<=5.5", 5.5, True),
        ("max<10", 10, False),
        ("max <= 10", 10, True),
        ("count>=10", 10, True),
        ("count!=10", 10, False),
        ("p(50)<6", 5, True),
        ("p(95)<10", 10, False),
        ("p( 90 )<=9", 9, True),
        ("p(99.9)<1e3", 10, True),
    ],
)
def test_expressions(expr: str, value: float, passed: bool) -> None:
    verdict = judge(parse_threshold("recovery_ms", expr), TEN, "ms")
    assert (verdict.value, verdict.passed, verdict.n) == (value, passed, 10)


@pytest.mark.parametrize(
    ("expr", "says"),
    [
        ("", "AGGREGATION OPERATOR NUMBER"),
        ("200", "'p(95)<200'"),
        ("<200", "AGGREGATION OPERATOR NUMBER"),
        ("p95<200", "p(N)"),
        ("median<200", "min avg med max count rate p(N)"),
        ("max=200", "is not a threshold"),
        ("max<2s", "write 2000"),
        ("max<250ms", "write 250"),
        ("max<soon", "write a plain number"),
        ("p(0)<1", "p(0) does not exist"),
        ("p(101)<1", "p(101) does not exist"),
    ],
)
def test_refused_expressions(expr: str, says: str) -> None:
    with pytest.raises(ThresholdError) as refused:
        parse_threshold("recovery_ms", expr)
    assert says in str(refused.value)


def test_an_unknown_metric_is_an_error_before_the_run() -> None:
    with pytest.raises(ThresholdError, match="nothing records this metric") as refused:
        parse_all({"recvoery_ms": "max<1"}, metrics={})
    assert "recovery_ms" in str(refused.value)  # the list of those that exist


def test_a_declared_metric_is_known() -> None:
    (threshold,) = parse_all({"stale": "rate==0"}, metrics={"stale": "rate"})
    assert judge(threshold, [Sample(0.0), Sample(1.0)], "rate").value == 0.5


def test_rate_needs_a_rate() -> None:
    with pytest.raises(ThresholdError, match="share of true values"):
        parse_all({"recovery_ms": "rate<1"}, metrics={})


def test_several_expressions_and_flags_add_up() -> None:
    found = parse_all({"recovery_ms": ["med<100", "max<500"]}, ["detect_ms:max<50"], metrics={})
    assert [(t.metric, t.expr) for t in found] == [
        ("recovery_ms", "med<100"),
        ("recovery_ms", "max<500"),
        ("detect_ms", "max<50"),
    ]


@pytest.mark.parametrize("text", ["max<1", ":max<1", "recovery_ms"])
def test_a_flag_names_its_metric(text: str) -> None:
    with pytest.raises(ThresholdError, match="METRIC:EXPRESSION"):
        parse_flag(text)


def test_nothing_measured_fails() -> None:
    verdict = judge(parse_threshold("recovery_ms", "max<1"), [], "ms")
    assert (verdict.passed, verdict.value, verdict.note) == (False, None, "nothing in the run measured it")


def test_a_counters_count_is_its_total() -> None:
    verdict = judge(parse_threshold("leader_moves", "count==0"), [Sample(0.0), Sample(0.0)], "count")
    assert (verdict.passed, verdict.value) == (True, 0)


def test_few_samples_say_that_p95_is_the_maximum() -> None:
    assert judge(parse_threshold("recovery_ms", "p(95)<99"), TEN[:5], "ms").note == "p(95) of 5 = max"


def test_the_worst_sample_is_named() -> None:
    worst = judge(parse_threshold("recovery_ms", "max<9"), TEN, "ms").worst
    assert worst is not None
    assert worst.run == 10


@pytest.mark.parametrize("expr", ["max<5", "max<=5", "min>5", "min>=5", "count==10", "avg!=0"])
def test_an_impossible_threshold_never_passes(expr: str) -> None:
    assert not judge(parse_threshold("recovery_ms", expr).impossible(), TEN, "ms").passed


@pytest.mark.parametrize(("percentile", "rank"), [(1, 1), (5, 1), (50, 10), (95, 19), (96, 20), (100, 20)])
def test_nearest_rank_of_twenty(percentile: float, rank: int) -> None:
    assert nearest_rank([float(v) for v in range(20, 0, -1)], percentile) == rank


def test_summary_has_its_unit() -> None:
    row = summary(TEN, "ms")
    assert row == {"n": 10, "min": 1, "med": 5.5, "p95": 10, "max": 10, "unit": "ms"}
    assert summary([], "ms") == {"n": 0, "unit": "ms"}
    assert summary([Sample(2.0), Sample(3.0)], "count")["total"] == 5
    assert math.isclose(float(str(summary([Sample(1.0), Sample(0.0)], "rate")["rate"])), 0.5)


@pytest.mark.parametrize(
    ("text", "ms"),
    [("250ms", 250), ("2s", 2_000), ("1m", 60_000), ("1h", 3_600_000), ("1.5s", 1_500), ("1m30s", 90_000)],
)
def test_durations(text: str, ms: int) -> None:
    assert parse_ms(text) == ms
    assert parse_ms(format_ms(ms)) == ms


@pytest.mark.parametrize(
    ("text", "says"),
    [("1500", "write 1500ms or 1500s"), ("soon", "250ms, 2s or 1m"), ("", "250ms"), ("2 s", "250ms"), ("-1s", "250ms")],
)
def test_a_bare_number_is_refused_with_a_hint(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"duration|unit") as refused:
        parse_ms(text)
    assert says in str(refused.value)
