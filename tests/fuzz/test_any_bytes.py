"""Any bytes, and nearly right bytes, into the decoders and the machine: a clean refusal, never an exception, never
memory the sender has not paid for.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coordination.wire import opcodes, requests
from coordination.wire.records import OPEN_ACL, Acl
from coordination.wire.server_connection import WORDS
from tests.fuzz import targets

EXAMPLES = settings(max_examples=150, deadline=None)

PATHS = st.sampled_from(
    ["/a", "/a/b", "/a/b/c", "/", "", "/zookeeper", "a", "//", "/a/", "/a/\0", "/zookeeper/quota/a"]
)
NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 5, 8, 0x7FFFFFFF, -0x80000000])
DATA = st.none() | st.binary(max_size=40)
ACLS = st.sampled_from([OPEN_ACL, (), (Acl(31, "digest", "u:x"),), (Acl(0, "auth", ""),), (Acl(99, "ip", "::/999"),)])
BOOLS = st.booleans()
LISTS = st.lists(PATHS, max_size=3)
CREATES = st.builds(
    requests.Create,
    NUMBERS,
    st.sampled_from([opcodes.CREATE, opcodes.CREATE2, opcodes.CREATE_CONTAINER]),
    PATHS,
    DATA,
    ACLS,
    NUMBERS,
)
CREATE_TTLS = st.builds(requests.CreateTtl, NUMBERS, PATHS, DATA, ACLS, NUMBERS, NUMBERS)
DELETES = st.builds(requests.Delete, NUMBERS, PATHS, NUMBERS)
SETS = st.builds(requests.SetData, NUMBERS, PATHS, DATA, NUMBERS)
CHECKS = st.builds(requests.CheckVersion, NUMBERS, PATHS, NUMBERS)
READS = st.builds(requests.GetData, NUMBERS, PATHS, BOOLS) | st.builds(requests.GetChildren, NUMBERS, PATHS, BOOLS)
REQUESTS = st.one_of(
    CREATES,
    CREATE_TTLS,
    DELETES,
    SETS,
    READS,
    st.builds(requests.Multi, NUMBERS, st.lists(CREATES | DELETES | SETS | CHECKS | CREATE_TTLS, max_size=4)),
    st.builds(requests.MultiRead, NUMBERS, st.lists(READS, max_size=3)),
    st.builds(requests.SetAcl, NUMBERS, PATHS, ACLS, NUMBERS),
    st.builds(requests.GetAcl, NUMBERS, PATHS),
    st.builds(requests.AddWatch, NUMBERS, PATHS, NUMBERS),
    st.builds(requests.RemoveWatches, NUMBERS, PATHS, NUMBERS),
    st.builds(requests.CheckWatches, NUMBERS, PATHS, NUMBERS),
    st.builds(requests.Auth, NUMBERS, st.sampled_from(["digest", "ip", "x", ""]), st.binary(max_size=9)),
    st.builds(requests.Sasl, NUMBERS, st.binary(max_size=20)),
    st.builds(requests.SetWatches, NUMBERS, st.just(101), NUMBERS, LISTS, LISTS, LISTS, st.just([]), st.just([])),
    st.builds(requests.SetWatches, NUMBERS, st.just(105), NUMBERS, LISTS, LISTS, LISTS, LISTS, LISTS),
    st.builds(requests.GetEphemerals, NUMBERS, PATHS),
    st.builds(requests.GetAllChildrenNumber, NUMBERS, PATHS),
    st.builds(requests.CloseSession, NUMBERS),
)
REQUEST_BYTES = st.lists(REQUESTS.map(requests.encode), max_size=8).map(b"".join)


@st.composite
def nearly_right(draw: st.DrawFn) -> bytes:
    """Good requests with a few bytes changed, taken out or put in."""
    said = bytearray(draw(REQUEST_BYTES))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(said)))
        cut = draw(st.integers(0, 4))
        said[at : at + cut] = draw(st.binary(max_size=4) | st.sampled_from([b"\x7f\xff\xff\xff", b"\xff\xff\xff\xfe"]))
    return bytes(said)


ANY = st.binary(max_size=300) | nearly_right()


@EXAMPLES
@given(ANY)
def test_decoders(data: bytes) -> None:
    targets.decoders(data)


@EXAMPLES
@given(ANY, st.booleans())
@example(b"stmk\0\0\0\0\0\0\0\1", False)
@example(b"GET / HTTP/1.1\r\n\r\n", False)
def test_streams(data: bytes, greeted: bool) -> None:
    targets.stream(targets.HELLO + data if greeted else data)


@EXAMPLES
@given(st.sampled_from(sorted(WORDS)) | st.binary(min_size=4, max_size=4), st.binary(max_size=12))
def test_four_letters(word: bytes, rest: bytes) -> None:
    targets.stream(word + rest)


@EXAMPLES
@given(ANY)
def test_machine(data: bytes) -> None:
    targets.machine(data)


@settings(max_examples=60, deadline=None)
@given(ANY)
def test_memory_is_bounded_by_what_was_sent(data: bytes) -> None:
    """A lying length or count inside 300 bytes must not cost megabytes."""
    for target in (targets.decoders, targets.stream):
        assert targets.peak_bytes(target, data) < 100_000 + 60 * len(data)


@pytest.mark.parametrize("target", sorted(targets.TARGETS))
def test_the_coverage_guided_fuzzer_finds_nothing_at_once(target: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed (pip install atheris); it is an optional tool")
    command = [sys.executable, "-m", "tests.fuzz.drive", target, str(tmp_path), "-runs=2000", "-max_len=400"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
