"""State directory, socket path, which cluster a command means; liveness is the lock."""

import fcntl
import os
import stat
from pathlib import Path

import pytest

from brokerdemo.cluster import layout
from brokerdemo.cluster.errors import ClusterError, Code


def env(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"BROKERDEMO_HOME": str(tmp_path), **more}


def hold(place: layout.Layout) -> int:
    place.prepare()
    fd = os.open(place.lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def test_where_things_are(tmp_path: Path) -> None:
    place = layout.layout("blue", env(tmp_path))
    assert place.state_dir == tmp_path / "clusters" / "blue"
    assert place.socket_path.name.startswith("blue-")
    other = layout.layout("blue", env(tmp_path / "other"))
    assert other.socket_path != place.socket_path
    assert layout.layout("x", {"XDG_STATE_HOME": "/s", "HOME": "/h"}).state_dir == Path("/s/brokerdemo/clusters/x")
    assert layout.layout("x", {"HOME": "/h"}).state_dir == Path("/h/.local/state/brokerdemo/clusters/x")


def test_the_socket_path_is_short_however_deep_the_home(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    path = layout.layout("n" * 41, {"BROKERDEMO_HOME": str(deep), "XDG_RUNTIME_DIR": str(deep)}).socket_path
    assert len(os.fsencode(path)) <= layout.SOCKET_PATH_MAX_BYTES


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a" * 42, "a b", "a\n"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ClusterError) as caught:
        layout.layout(name, {"HOME": "/h"})
    assert caught.value.code == Code.USAGE


def test_prepare_makes_private_directories_and_tightens_loose_ones(tmp_path: Path) -> None:
    place = layout.layout("p", env(tmp_path))
    place.state_dir.mkdir(parents=True, mode=0o755)
    place.prepare()
    for directory in (place.state_dir, place.socket_path.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    with pytest.raises(ClusterError) as caught:
        layout.check_private(tmp_path)
    assert caught.value.code == Code.ENVIRONMENT


def test_a_symlink_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ClusterError):
        layout.check_private(tmp_path / "link")


def test_selection(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no running cluster") as caught:
        layout.select(None, env(tmp_path))
    assert caught.value.code == Code.NOT_FOUND
    one, two = (layout.layout(name, env(tmp_path)) for name in ("one", "two"))
    first = hold(one)
    assert layout.running(env(tmp_path)) == ["one"]
    assert layout.select(None, env(tmp_path)) == one
    second = hold(two)
    with pytest.raises(ClusterError, match="2 clusters are running: one, two"):
        layout.select(None, env(tmp_path))
    assert layout.select("two", env(tmp_path)) == two
    assert layout.select(None, env(tmp_path, BROKERDEMO_CLUSTER="one")) == one
    assert layout.select("two", env(tmp_path, BROKERDEMO_CLUSTER="one")) == two
    os.close(first)
    os.close(second)
    assert layout.running(env(tmp_path)) == []


def test_the_error_tells_a_killed_supervisor_from_an_orderly_end(tmp_path: Path) -> None:
    place = layout.layout("gone", env(tmp_path))
    place.prepare()
    assert "was stopped" in layout.not_running(place).why
    place.cluster_json.write_text("{}")
    assert "was killed" in layout.not_running(place).why


def test_cluster_json_that_is_no_json_is_nothing(tmp_path: Path) -> None:
    place = layout.layout("bad", env(tmp_path))
    place.prepare()
    for text in ("", "{", "[1]", "\x00"):
        place.cluster_json.write_text(text)
        assert layout.read_cluster_json(place) == {}
