"""The control protocol: whatever is written on the socket, the supervisor answers and goes on."""

import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from brokerdemo.cluster import control, control_server, layout
from brokerdemo.cluster.control import AsyncControlClient
from brokerdemo.cluster.control_server import Arguments, ControlServer, Conversation
from brokerdemo.cluster.errors import ClusterError, Code


async def nothing(talk: Conversation, said: dict[str, Any]) -> Any:
    return {"said": said}


def verbs(**own: Any) -> dict[str, Any]:
    return {**dict.fromkeys(control.VERBS, nothing), **own}


@asynccontextmanager
async def serving(
    home: Path, after: dict[str, Callable[[], None]] | None = None, **own: Any
) -> AsyncIterator[layout.Layout]:
    place = layout.layout("control", {"BROKERDEMO_HOME": str(home)})
    place.prepare()
    server = ControlServer(verbs(**own), after)
    listener = control_server.listen(place)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        yield place
        nursery.cancel_scope.cancel()
    place.socket_path.unlink()


async def exchange(place: layout.Layout, data: bytes) -> list[dict[str, Any]]:
    """Write raw bytes, half-close nothing, read all answers to the end."""
    async with await trio.open_unix_socket(os.fspath(place.socket_path)) as stream:
        await stream.send_all(data)
        got = b""
        while more := await stream.receive_some(65536):
            got += more
    return [json.loads(line) for line in got.splitlines()]


BAD = [
    b"\n",
    b"not json\n",
    b"[1, 2]\n",
    b'"status"\n',
    b"{}\n",
    b'{"verb": 7}\n',
    b'{"verb": "explode"}\n',
    b'{"verb": "status", "colour": "red"}\n',
    b"\xff\xfe\x00\n",
    b"[" * 100_000 + b"\n",
    b'{"verb": "' + b"x" * (control_server.REQUEST_MAX_BYTES + 10) + b'"}\n',
]


@pytest.mark.parametrize("data", BAD, ids=lambda data: repr(data[:24]))
async def test_bad_requests_are_answered_with_usage_and_the_next_one_is_served(tmp_path: Path, data: bytes) -> None:
    async with serving(tmp_path) as place:
        try:
            (answer,) = await exchange(place, data)
        except trio.BrokenResourceError:
            # The answer may be lost when more is on its way than is read; what counts is the next request.
            assert len(data) > control_server.REQUEST_MAX_BYTES
        else:
            assert answer["ok"] is False
            assert answer["error"]["code"] == Code.USAGE
            assert answer["error"]["what"]
        assert await exchange(place, b'{"verb": "ping"}\n') == [{"ok": True, "result": {"said": {}}}]


async def test_the_client_that_says_nothing_harms_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path) as place:
        silent = [await trio.open_unix_socket(os.fspath(place.socket_path)) for _ in range(50)]
        assert (await exchange(place, b'{"verb": "ping"}\n'))[0]["ok"] is True
        for stream in silent:
            await stream.aclose()


async def test_a_bug_in_one_verb_is_told_and_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def broken(talk: Conversation, said: dict[str, Any]) -> Any:
        raise ZeroDivisionError("oops")

    async with serving(tmp_path, status=broken) as place:
        (answer,) = await exchange(place, b'{"verb": "status"}\n')
        assert answer["error"]["code"] == Code.BUG
        assert "ZeroDivisionError" in capsys.readouterr().err
        assert (await exchange(place, b'{"verb": "ping"}\n'))[0]["ok"] is True


async def test_errors_out_of_a_nursery_keep_their_meaning(tmp_path: Path) -> None:
    async def refuses(talk: Conversation, said: dict[str, Any]) -> Any:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise ClusterError(Code.CONFLICT, "no", "because", "else")

    async with serving(tmp_path, kill=refuses) as place:
        with pytest.raises(ClusterError) as caught:
            await AsyncControlClient(place.socket_path).call("kill", targets="3")
    assert (caught.value.code, caught.value.what, caught.value.why, caught.value.do) == (4, "no", "because", "else")


async def test_steps_come_before_the_result_and_none_is_lost(tmp_path: Path) -> None:
    async def steps(talk: Conversation, said: dict[str, Any]) -> Any:
        for n in range(500):
            talk.step(str(n), "x" * 1000)
        return {"n": 500}

    seen: list[str] = []
    async with serving(tmp_path, kill=steps) as place:
        result = await AsyncControlClient(place.socket_path).call("kill", lambda a: seen.append(a["step"]["name"]))
    assert result == {"n": 500}
    assert seen == [str(n) for n in range(500)]


async def test_a_client_that_leaves_takes_its_wait_back_but_not_a_down(tmp_path: Path) -> None:
    began, ended, finish = trio.Event(), trio.Event(), trio.Event()
    answered: list[str] = []

    async def waits(talk: Conversation, said: dict[str, Any]) -> Any:
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async def down(talk: Conversation, said: dict[str, Any]) -> Any:
        began.set()
        await finish.wait()
        ended.set()
        return {}

    async with serving(tmp_path, {"down": lambda: answered.append("down")}, kill=waits, down=down) as place:
        for verb in (b"kill", b"down"):
            stream = await trio.open_unix_socket(os.fspath(place.socket_path))
            await stream.send_all(b'{"verb": "' + verb + b'"}\n')
            await began.wait()
            await stream.aclose()
            await trio.testing.wait_all_tasks_blocked(0.05)
            if verb == b"down":
                assert not ended.is_set()
                finish.set()
            await ended.wait()
            began, ended = trio.Event(), trio.Event()
        await trio.testing.wait_all_tasks_blocked(0.05)
    assert answered == ["down"]


async def test_a_slow_follower_blocks_nobody_and_is_dropped(tmp_path: Path) -> None:
    from brokerdemo.cluster.event_log import EventLog

    log = EventLog(capacity=100)

    async def events(talk: Conversation, said: dict[str, Any]) -> Any:
        async for record in log.follow(0):
            await talk.send(b'{"event":' + record.line + b"}\n")
        return {}

    async with serving(tmp_path, events=events) as place:
        slow = await trio.open_unix_socket(os.fspath(place.socket_path))
        await slow.send_all(b'{"verb": "events"}\n')
        for n in range(3_000):
            log.emit("x", n=n, filler="y" * 1_000)  # never waits, whoever reads
            if n % 100 == 0:
                assert (await exchange(place, b'{"verb": "ping"}\n'))[0]["ok"] is True
        got = b""
        while more := await slow.receive_some(1 << 20):
            got += more
        await slow.aclose()
        lines = [json.loads(line) for line in got.splitlines()]
        assert lines[-1]["ok"] is False
        assert "fell behind" in lines[-1]["error"]["what"]
        assert 0 < len(lines) < 3_000
        assert [line["event"]["seq"] for line in lines[:-1]] == list(range(1, len(lines)))


async def test_the_socket_is_private(tmp_path: Path) -> None:
    async with serving(tmp_path) as place:
        assert stat.S_IMODE(place.socket_path.stat().st_mode) == 0o600
        assert stat.S_IMODE(place.socket_path.parent.stat().st_mode) == 0o700


async def test_the_end_of_the_supervisor_is_an_error_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    listener.listen()

    def accept_and_leave() -> None:
        peer, _ = listener.accept()
        peer.recv(100)
        peer.sendall(b'{"step": {}}\n{"ok": tr')
        peer.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, accept_and_leave)
        with pytest.raises(ClusterError, match="the connection ended during status"):
            await AsyncControlClient(path).call("status")
        nursery.start_soon(trio.to_thread.run_sync, accept_and_leave)
        with pytest.raises(ClusterError, match="the connection ended during status"):
            await trio.to_thread.run_sync(lambda: control.ControlClient(path).call("status"))
    listener.close()
    with pytest.raises(ClusterError, match="no supervisor answers"):
        await AsyncControlClient(path).call("status")
    with pytest.raises(ClusterError, match="no supervisor answers"):
        control.ControlClient(path).call("status")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda a: a.flag("x"), 1),
        (lambda a: a.text("x"), 3),
        (lambda a: a.text("x"), None),
        (lambda a: a.whole("x"), True),
        (lambda a: a.whole("x"), 1.5),
        (lambda a: a.whole("x", most=3), 4),
        (lambda a: a.ms("x"), "1s"),
        (lambda a: a.ms("x"), -1),
        (lambda a: a.mapping("x"), []),
        (lambda a: a.targets(), {}),
    ],
)
def test_arguments_of_the_wrong_kind_are_usage_errors(call: Callable[[Arguments], object], said: object) -> None:
    with pytest.raises(ClusterError) as caught:
        call(Arguments("verb", {"x": said, "targets": said}))
    assert caught.value.code == Code.USAGE


def test_arguments_read() -> None:
    ask = Arguments("verb", {"a": True, "b": "t", "c": 3, "d": 1.5, "e": {"k": 1}, "targets": ["1", 2]})
    assert (ask.flag("a"), ask.text("b"), ask.whole("c"), ask.ms("d"), ask.mapping("e")) == (
        True,
        "t",
        3,
        1.5,
        {"k": 1},
    )
    assert ask.targets() == ["1", 2]
    assert Arguments("verb", {"target": "all"}).targets() == ["all"]
    assert (ask.flag("none"), ask.whole("none", 7), ask.ms("none", 8.0), ask.mapping("none")) == (False, 7, 8.0, {})
