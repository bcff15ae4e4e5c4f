"""A damaged log stops the server with a message, and the command in that message gets it going again."""

import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bench import load
from coordination.storage.log_format import HEADER, records
from coordination.testing.process import ServerDied
from coordination.testing.server import serve


@pytest.mark.parametrize("number", [10, 19])
def test_the_repair_command_of_the_message_works(tmp_path: Path, number: int) -> None:
    """Also for the last record: one that was written whole is no torn tail."""
    data = tmp_path / "all data"  # a name that a shell would take for two
    with serve(data) as server:
        client = load.Client(server.port)
        for i in range(20):
            assert client.call(load.CREATE, load.create_body(f"/n{i:02}"))[0] == 0
        client.sock.close()  # and no closeSession behind the last create
        server.kill()
        (path,) = (data / "version-2").glob("log.*")
        content = bytearray(path.read_bytes())
        content[content.index(b"/n%02d" % number)] ^= 1
        path.write_bytes(content)
        with pytest.raises(ServerDied, match=r"is damaged at offset \d+") as caught:
            server.serve()
        assert path.read_bytes() == content, "a refusal changes nothing"
        command = re.search(r"`(coordination log truncate [^`]*)`", str(caught.value))
        assert command, caught.value
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command[1]), "--yes"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        server.serve()
        client = load.Client(server.port)
        assert client.call(load.GET_DATA, load.get_body(f"/n{number - 1:02}"))[0] == 0
        assert client.call(load.GET_DATA, load.get_body(f"/n{number:02}"))[0] == -101
        client.close()


def test_a_torn_tail_is_cut_and_said_so(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serve(data) as server:
        client = load.Client(server.port)
        assert client.call(load.CREATE, load.create_body("/whole"))[0] == 0
        client.close()
        server.kill()
        (path,) = (data / "version-2").glob("log.*")
        content = path.read_bytes().rstrip(b"\0")
        path.write_bytes(content + b"\0\0\0\0torn record" + bytes(5000))
        server.serve()
        assert "torn tail" in server.output.read_text()
        client = load.Client(server.port)
        assert client.call(load.GET_DATA, load.get_body("/whole"))[0] == 0
        client.close()


def test_a_record_that_was_cut_out_is_said_and_refuses_nothing(tmp_path: Path) -> None:
    """It may be as ZooKeeper left it, where a snapshot brought a follower up to date."""
    with serve(tmp_path) as server:
        client = load.Client(server.port)
        for name in ("a", "b", "c"):
            assert client.call(load.CREATE, load.create_body(f"/{name}"))[0] == 0
        client.sock.close()
        server.kill()
        (path,) = (tmp_path / "version-2").glob("log.*")
        before = path.read_bytes()
        found = list(records(before, HEADER.size, len(before), []))
        cut = next(i for i, (_, payload, _) in enumerate(found) if b"/b" in payload)
        path.write_bytes(before[: found[cut - 1][2]] + before[found[cut][2] :])
        server.serve()
        assert '"log_gap"' in server.output.read_text()
        client = load.Client(server.port)
        codes = [client.call(load.GET_DATA, load.get_body(f"/{name}"))[0] for name in ("a", "b", "c")]
        assert codes == [0, -101, 0]
        client.close()


def test_two_servers_on_one_directory(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serve(data) as server:
        with pytest.raises(ServerDied, match=f"in use by process {server.pid}"), serve(data):
            pass
        client = load.Client(server.port)
        assert client.call(load.CREATE, load.create_body("/still-here"))[0] == 0
        client.close()


def test_a_full_disk_ends_the_server_and_loses_nothing(tmp_path: Path) -> None:
    """The limit on a file's size stands for the full disk: the write fails the same way, with another number."""
    config = tmp_path / "zoo.cfg"
    config.write_text("preAllocSize=16\n")
    data = tmp_path / "data"
    with serve(data, options=["--config", str(config)]) as server:
        client = load.Client(server.port)
        acknowledged = []
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (50_000, 50_000))

        def write_on() -> None:
            for i in range(1000):
                assert client.call(load.CREATE, load.create_body(f"/n{i:04}", bytes(100)))[0] == 0
                acknowledged.append(f"/n{i:04}")

        with pytest.raises((load.Failed, ConnectionError)):
            write_on()
        client.sock.close()
        assert server.ended_within(20)
        assert "cannot write to" in server.output.read_text()
        assert "nothing acknowledged is lost" in server.output.read_text()
        assert len(acknowledged) > 100
        server.serve()
        client = load.Client(server.port)
        assert all(client.call(load.GET_DATA, load.get_body(path))[0] == 0 for path in acknowledged)
        client.close()
