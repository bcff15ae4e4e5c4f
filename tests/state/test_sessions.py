"""Sessions under a clock that the test moves."""

from hypothesis import given
from hypothesis import strategies as st

from coordination.state.sessions import (
    EXPIRY_BUCKET_MS,
    LOOKED_AT_MAX,
    Session,
    SessionTable,
    first_session_id,
    password_of,
)


def test_expires_after_its_timeout_and_within_a_bucket() -> None:
    table = SessionTable(1)
    session = table.track(1, 1000, 0)
    assert table.expired(999) == []
    due = table.next_deadline()
    assert due is not None
    assert 1000 <= due < 1000 + EXPIRY_BUCKET_MS
    assert table.expired(due) == [session]
    assert session.closing


def test_a_touched_session_lives_on() -> None:
    table = SessionTable(1)
    session = table.track(1, 1000, 0)
    session.last_heard_ms = 990
    assert table.expired(1500) == []
    assert table.expired(1989) == []
    assert table.expired(2000) == [session]


def test_a_shorter_timeout_at_reattachment_counts_at_once() -> None:
    table = SessionTable(1)
    session = table.track(1, 40_000, 0)
    assert table.track(1, 100, 500) is session
    assert table.expired(620) == [session]


def test_a_closing_or_forgotten_session_does_not_expire() -> None:
    table = SessionTable(1)
    table.track(1, 100, 0).closing = True
    table.track(2, 100, 0)
    table.forget(2)
    assert table.expired(10_000) == []
    assert table.next_deadline() is None


def test_a_session_that_was_attached_often_is_looked_at_once() -> None:
    table = SessionTable(1)
    for now_ms in range(0, 40 * LOOKED_AT_MAX, 20):
        ann, bob = table.track(1, 60_000, now_ms), table.track(2, 60_000, now_ms)
    assert table.expired(now_ms + 40_000) == []
    ann.last_heard_ms = bob.last_heard_ms = now_ms = now_ms + 50_000
    while (due := table.next_deadline()) is not None and due < now_ms + 60_000:
        assert table.expired(due) == []
    assert table.expired(now_ms + 60_020) == [ann, bob]
    assert table.next_deadline() is None


def test_those_that_leave_much_behind_take_turns_too() -> None:
    table = SessionTable(1)
    sessions = [table.track(i, 1000, 0) for i in range(1, 6)]
    behind = {1: 0, 2: LOOKED_AT_MAX, 3: 10 * LOOKED_AT_MAX, 4: 1, 5: 1}
    looks = []
    while table.next_deadline() is not None:
        looks.append(table.expired(1000, lambda session: behind[session.id]))
    assert looks == [sessions[:2], sessions[2:3], sessions[3:]]


def test_many_that_come_due_at_once_take_turns() -> None:
    """Whoever ends them is back among the others in between."""
    table = SessionTable(1)
    sessions = [table.track(i, 1000, 0) for i in range(1, LOOKED_AT_MAX * 2 + 11)]
    sessions[3].last_heard_ms = 500
    looks = []
    while (due := table.next_deadline()) is not None and due <= 1100:
        looks.append(table.expired(1100))
    assert [len(look) for look in looks] == [LOOKED_AT_MAX - 1, LOOKED_AT_MAX, 10]
    assert [each for look in looks for each in look] == sessions[:3] + sessions[4:]
    assert table.expired(1500) == [sessions[3]]
    assert table.next_deadline() is None


def test_after_a_restart_everybody_has_the_full_time() -> None:
    table = SessionTable(1)
    session = table.track(1, 1000, 0)
    table.give_all_a_full_timeout(5000)
    assert table.expired(5990) == []
    assert table.expired(6000) == [session]


def test_ids_are_never_given_twice() -> None:
    table = SessionTable(first_session_id(1_700_000_000_000))
    first = table.new_id()
    table.track(first + 10, 1000, 0)  # seen in the log
    assert table.new_id() == first + 11
    assert 0 < first < 1 << 56
    assert first_session_id(1_700_000_000_001) > first_session_id(1_700_000_000_000)


def test_passwords_are_zookeepers() -> None:
    """A session id and the password the real Apache ZooKeeper 3.9.5 gave with it."""
    assert password_of(0x1000026A63600CA).hex() == "f47edb9cf79666a0d719e5971479fccf"


@given(
    st.lists(st.tuples(st.integers(1, 400), st.integers(0, 3), st.booleans()), max_size=40),
    st.lists(st.integers(50, 500), min_size=4, max_size=4),
)
def test_against_a_table_without_buckets(moves: list[tuple[int, int, bool]], timeouts: list[int]) -> None:
    """Nobody expires early; nobody lives more than a bucket too long."""
    table = SessionTable(1)
    sessions: dict[int, Session] = {i: table.track(i, timeout, 0) for i, timeout in enumerate(timeouts)}
    now = 0
    for step, who, touch in moves:
        now += step
        for session in table.expired(now):
            assert now >= session.last_heard_ms + session.timeout_ms
            del sessions[session.id]
        for session in sessions.values():
            assert now < session.last_heard_ms + session.timeout_ms + EXPIRY_BUCKET_MS
        if touch and who in sessions:
            sessions[who].last_heard_ms = now
