"""The bucket that ConnectRequests draw from, against hand-made times and chances."""

import pytest

from coordination.state.connection_throttle import ConnectionThrottle, ThrottleSettings


def throttle(chance: float = 1.0, **settings: object) -> ConnectionThrottle:
    return ConnectionThrottle(ThrottleSettings(**settings), lambda: chance, 0)  # type: ignore[arg-type]


def admitted(bucket: ConnectionThrottle, now_ms: int, tries: int, *, renews: bool = False) -> int:
    return sum(bucket.admits(now_ms, renews=renews) for _ in range(tries))


def test_without_tokens_everybody_comes_in() -> None:
    assert admitted(throttle(), 0, 1000) == 1000


def test_tokens_are_spent_and_filled_up_again() -> None:
    bucket = throttle(tokens=10, fill_ms=100, fill_count=2)
    assert admitted(bucket, 0, 20) == 10
    assert bucket.deficit == 10
    assert admitted(bucket, 100, 20) == 0
    assert admitted(bucket, 350, 20) == 7
    assert admitted(bucket, 1_000_000, 20) == 10


def test_with_weights_a_new_session_costs_more_than_one_that_comes_back() -> None:
    assert admitted(throttle(tokens=4, weighted=True), 0, 20) == 4
    assert admitted(throttle(tokens=4, weighted=True), 0, 20, renews=True) == 6


def test_a_bucket_that_stays_empty_turns_some_away_by_chance_and_then_fewer_again() -> None:
    settings = {"tokens": 2, "fill_ms": 1000, "freeze_ms": 10, "drop_increase": 0.4, "drop_decrease": 0.2}
    bucket = throttle(0.5, **settings)
    assert admitted(bucket, 0, 5) == 2
    for now_ms in (20, 40):
        assert admitted(bucket, now_ms, 1) == 0
    assert bucket.drop_probability == 0.8
    assert admitted(bucket, 3000, 1) == 0  # full again, and still too likely to be turned away
    assert bucket.drop_probability == pytest.approx(0.6)
    assert admitted(bucket, 3020, 1) == 1
