"""What the fuzzers feed: any bytes into the decoders and into the whole machine, and what must hold then.

Used by hypothesis (`test_any_bytes.py`, always) and by a coverage-guided fuzzer (`drive.py`, by hand).
Each target returns normally or raises: whatever a client sends, a raise is a bug of ours.
"""

import tracemalloc
from collections.abc import Callable

from coordination.errors import RemoteProtocolError
from coordination.state.pipeline import Pipeline
from coordination.state.ready import Settings
from coordination.wire.jute import unpack_int
from coordination.wire.records import ConnectRequest, decode_connect_request
from coordination.wire.replies import frame
from coordination.wire.requests import DECODERS
from coordination.wire.server_connection import BROKEN, WORD, FourLetterWord, ServerConnection, Violation

LIMIT_BYTES = 4096
HELLO = frame(ConnectRequest(0, 0, 10_000, 0, bytes(16), read_only=False).encode())


def decoders(data: bytes) -> None:
    """Every record decoder: a record within the bytes, or a refusal."""
    for decode in DECODERS.values():
        try:
            decode(1, data, 0, len(data))
        except RemoteProtocolError:
            pass
    try:
        decode_connect_request(data, 0, len(data))
    except RemoteProtocolError:
        pass


def stream(data: bytes) -> None:
    """One client's bytes: the same events in one piece and cut; a violation or a word is the last; little is kept."""
    whole = ServerConnection(LIMIT_BYTES)
    events = whole.receive_data(data)
    cut = ServerConnection(LIMIT_BYTES)
    pieces = []
    step = 1 + len(data) // 37
    for at in range(0, len(data), step):
        pieces += cut.receive_data(data[at : at + step])
        assert cut._buffer.pending_bytes <= LIMIT_BYTES + 4 + step
    if events and isinstance(events[-1], FourLetterWord):
        # What follows a word is its argument only if it comes with it.
        assert [type(each) for each in pieces] == [type(each) for each in events]
    else:
        assert pieces == events
    assert (whole.phase is BROKEN) == bool(events and isinstance(events[-1], Violation))
    if whole.phase in (BROKEN, WORD):
        assert whole.receive_data(HELLO) == []


def machine(data: bytes) -> None:
    """A whole server behind a session: answers are frames, the tree stays sound, the log can be replayed."""
    pipeline = Pipeline(Settings(frame_bytes_max=LIMIT_BYTES, extended_types=True), 1)
    pipeline.at(0, 1)
    log: list[bytes] = []
    connection = pipeline.opened(1, "127.0.0.1")
    said: list[bytes] = []
    for piece in (HELLO, data[: len(data) // 2], data[len(data) // 2 :]):
        pipeline.receive(connection, piece)
        _settle(pipeline, log)
        while connection.stalled and not connection.closing:
            said += connection.out
            connection.out.clear()
            pipeline.resume(connection)
            _settle(pipeline, log)
        said += connection.out
        connection.out.clear()
    answers, at = b"".join(said), 0
    while at < len(answers):
        at += 4 + unpack_int(answers, at)[0]
    assert at == len(answers)
    pipeline.closed(connection)
    pipeline.at(100_000, 100_001)
    pipeline.tick()
    _settle(pipeline, log)
    assert len(pipeline.sessions) == 0
    pipeline.tree.check_invariants()
    again = Pipeline(Settings(), 1)
    for payload in log:
        again.replay(payload)
    assert list(again.tree.dump()) == list(pipeline.tree.dump())


def _settle(pipeline: Pipeline, log: list[bytes]) -> None:
    while True:
        ready = pipeline.take()
        if not ready.persist:
            return
        log += ready.persist
        pipeline.persisted(ready.last_zxid)


def peak_bytes(target: Callable[[bytes], None], data: bytes) -> int:
    """The most memory the target held at a time."""
    tracemalloc.start()
    try:
        target(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


TARGETS: dict[str, Callable[[bytes], None]] = {"decoders": decoders, "stream": stream, "machine": machine}
