"""The catalogue: what an event must carry, and how one is matched and shown."""

from brokerdemo.observe import events

LOST = {"event": "broker_lost", "t_ns": 1, "source": "broker 2", "broker": 3, "by": "certificate"}


def test_a_good_event_has_no_problems() -> None:
    assert events.problems(LOST) == []


def test_problems_are_named() -> None:
    assert events.problems({"event": "nonsense", "t_ns": 1, "source": "x"}) == ["unknown event 'nonsense'"]
    assert events.problems({**LOST, "by": "magic"}) != []
    assert "no field 't_ns'" in events.problems({"event": "controller_elected", "source": "broker 1"})
    assert "controller_elected: no field 'broker'" in events.problems(
        {"event": "controller_elected", "source": "broker 1", "t_ns": 2}
    )
    assert "t_ns is not a whole number of nanoseconds" in events.problems({**LOST, "t_ns": 1.5})


def test_unknown_fields_are_welcome() -> None:
    assert events.problems({**LOST, "colour": "blue"}) == []


def test_matches() -> None:
    assert events.matches(LOST, {})
    assert events.matches(LOST, {"broker": 3, "event": "broker_lost"})
    assert events.matches(LOST, {"broker": [2, 3]})
    assert not events.matches(LOST, {"broker": 2})
    assert not events.matches(LOST, {"topic": None})


def test_text_holds_the_events_own_fields() -> None:
    assert events.text({"seq": 7, **LOST}) == "broker=3 by=certificate"
    assert events.text({**LOST, "partitions": []}) == "broker=3 by=certificate partitions=-"
