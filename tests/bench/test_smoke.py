"""Each benchmark still runs and says what it promises to say; its figures are nobody's business here."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import coordination, failover, load, scale

# Nobody's figures are wanted here, so however slow the machine is at the moment, it is not a failure.
pytestmark = pytest.mark.timeout(300)


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_coordination(capsys: pytest.CaptureFixture[str]) -> None:
    assert coordination.main(["--tiny", "--no-peer", "--json"]) == 0
    result = printed(capsys)
    assert result["schema"] == "brokerdemo.bench.coordination/1"
    assert result["peer_missing_because"] == "not asked for"
    cells = {cell["name"]: cell for cell in result["cells"]}
    for name in (
        "read 50 x 1",
        "write 10 x 16",
        "create+delete 1 x 128",
        "mixed 10 x 16",
        "latency set p99",
        "fan-out to 5",
        "memory fresh",
    ):
        assert cells[name]["medians"]["ours"] > 0
        assert cells[name]["ratio"] is None
    assert cells["start to first create"]["medians"]["ours"] > 0
    assert cells["read 1 x 16"]["medians"]["ceiling"] > 0


def test_failover(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERDEMO_HOME", str(tmp_path))  # not among the clusters of whoever runs the tests
    assert failover.main(["--tiny", "--json"]) == 0
    result = printed(capsys)
    assert result["schema"] == "brokerdemo.bench.failover/1"
    kills = [line for line in result["lines"] if line["name"].startswith("kill")]
    assert len(kills) == 3
    assert all(line["median"] > 0 and line["detected_by"] == ["certificate"] for line in kills)


def test_scale(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "scale.svg"
    tiny = ["--znodes", "2000", "--sessions", "5", "--seconds", "0.05"]
    assert scale.main([*tiny, "--svg", str(picture)]) == 0
    said = capsys.readouterr().out
    for name in ("2,000 znodes", "5 sessions", "bytes per znode", "s to start from the snapshot"):
        assert name in said
    assert picture.read_text().count("<polyline") == 5


def test_the_generator_notices_errors() -> None:
    """It looks at lengths only, so an error must change them."""
    wrong = load.Workload("get", load.reads().requests, (100,))
    with (
        load.null_server(load.reads()) as port,
        pytest.raises(load.Failed, match="a reply of 192 bytes instead of 100"),
    ):
        load.run(port, wrong, 1, 1, 0.01)


def test_replies_are_counted_by_their_lengths() -> None:
    mixed = load.mixed()
    pipe = load._Pipe.__new__(load._Pipe)
    pipe.cycle_length, pipe.got_bytes, pipe.replies = len(mixed.requests), 0, 0
    pipe.ends = [sum(mixed.reply_bytes[: i + 1]) for i in range(len(mixed.reply_bytes))]
    pipe.cycle_bytes = pipe.ends[-1]
    stream = sum(mixed.reply_bytes) * 3
    assert sum(pipe.received(1) for _ in range(stream)) == 30
    assert sum(pipe.received(count) for count in (stream - 7, 7)) == 30


@pytest.mark.parametrize(("values", "percent", "expected"), [([3, 1, 2], 50, 2), ([1], 99, 1), (range(1000), 99, 990)])
def test_percentile(values: list[float], percent: float, expected: float) -> None:
    assert load.percentile(values, percent) == expected
