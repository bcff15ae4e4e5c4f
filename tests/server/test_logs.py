"""The server's log: shapes, levels, rotation; what a hostile name and a full disk do to it; and no secret in it."""

import io
import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coordination.auth.schemes import generate_digest
from coordination.secret import Secret
from coordination.server.config import ConfigError, LogSettings
from coordination.server.journal import Journal
from coordination.server.logs import RotatingFile, open_journal
from coordination.testing import server
from coordination.testing.apache import ask
from coordination.wire import opcodes, requests
from coordination.wire.jute import unpack_int
from coordination.wire.records import ConnectRequest, decode_connect_response
from coordination.wire.replies import frame

HOSTILE = 'a\tb\nc\x1b[2Jd\r\x9b"e\u2028{"event":"forged"}'


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_hostile_name_stays_in_its_field(tmp_path: Path) -> None:
    stream = io.StringIO()
    Journal(stream=stream).write("auth_failed", reason=HOSTILE)
    file = tmp_path / "log"
    open_journal(LogSettings(file=file, console_level="off")).write("auth_failed", reason=HOSTILE)
    for text in (stream.getvalue(), file.read_text()):
        assert text.count("\n") == 1
        assert text[:-1].isprintable()
        assert text.isascii()
        assert json.loads(text)["reason"] == HOSTILE


def test_on_a_terminal_pairs_are_written_and_no_escape_reaches_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    open_journal(LogSettings()).write("session_expired", session_id=16, reason=HOSTILE)
    said = capsys.readouterr().err
    assert "level='info' event='session_expired' session_id='0x10'" in said
    assert said[:-1].isprintable()
    assert said.startswith("time='20")


def test_levels_of_console_and_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log"
    journal = open_journal(LogSettings(level="debug", file=file))
    journal.write("session_closing")
    journal.write("snapshot_failed")
    assert [line["event"] for line in lines(file)] == ["session_closing", "snapshot_failed"]
    said = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["event"] for line in said] == ["snapshot_failed"]  # with a file: errors only


def test_ids_are_written_as_java_writes_them() -> None:
    stream = io.StringIO()
    Journal(stream=stream).write("session_expired", session_id=-(200 << 48), zxid=1 << 32)
    line = json.loads(stream.getvalue())
    assert (line["session_id"], line["zxid"]) == ("0xff38000000000000", "0x100000000")


def test_telling_fields_are_masked() -> None:
    stream = io.StringIO()
    Journal(stream=stream).write("x", password="planted", token="planted", what=Secret(b"planted"))
    assert "planted" not in stream.getvalue()


def test_files_rotate_by_size_and_count(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "log", 100, 2)
    for number in range(10):
        file.write(f"{number:029}\n")
    assert sorted(os.listdir(tmp_path)) == ["log", "log.1", "log.2"]
    numbers = [int(line) for name in ("log.2", "log.1", "log") for line in (tmp_path / name).read_text().split()]
    assert numbers == [3, 4, 5, 6, 7, 8, 9]
    assert all((tmp_path / name).stat().st_size <= 100 for name in os.listdir(tmp_path))


def test_a_restart_appends_and_none_older_are_kept_if_none_are_wanted(tmp_path: Path) -> None:
    RotatingFile(tmp_path / "log", 100, 0).write("a\n")
    file = RotatingFile(tmp_path / "log", 100, 0)
    file.write("b\n")
    assert (tmp_path / "log").read_text() == "a\nb\n"
    file.write("c" * 98 + "\n")
    assert os.listdir(tmp_path) == ["log"]
    assert (tmp_path / "log").stat().st_size == 99


def test_a_full_disk_costs_lines_and_says_how_many(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = open_journal(LogSettings(file=tmp_path / "log", console_level="off"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        for _ in range(5):
            journal.write("session_expired", session_id=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.write("session_expired", session_id=2)
    found = lines(tmp_path / "log")
    assert [line["event"] for line in found] == ["session_expired", "log_lines_lost", "session_expired"]
    assert found[1]["count"] == 4


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be opened.*log\.file"):
        open_journal(LogSettings(file=tmp_path))


def test_a_server_without_a_file_does_not_import_structlog() -> None:
    code = """
import sys
from coordination import __main__
__main__.preload()
from coordination.server.logs import open_journal
from coordination.server.config import LogSettings
open_journal(LogSettings())
heavy = {"structlog", "logging.handlers", "starlette", "hypercorn", "prometheus_client", "anyio"}
print(sorted(heavy & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_no_secret_is_in_the_log_file(tmp_path: Path) -> None:
    digest = generate_digest("super:planted-super")
    jaas = tmp_path / "jaas"
    jaas.write_text(
        'Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_bob="planted-jaas"; };\n'
    )
    (tmp_path / "props").write_text(
        f"zookeeper.DigestAuthenticationProvider.superDigest={digest}\njava.security.auth.login.config={jaas}\n"
        "zookeeper.ssl.keyStore.password=planted-store\nzookeeper.log.threshold=DEBUG\n"
        f"zookeeper.log.dir={tmp_path}\nzookeeper.no.such.password=planted-unknown\n"
    )
    with server.serve(options=["--props", str(tmp_path / "props"), "--log-level", "debug"]) as running:
        passwords = []
        for scheme, credential in (
            ("digest", b"super:planted-super"),
            ("digest", b"planted"),
            ("nosuch", b"planted-x"),
        ):
            with socket.create_connection(("127.0.0.1", running.port), 10) as sock, sock.makefile("rb") as file:
                sock.sendall(frame(ConnectRequest(0, 0, 10_000, 0, bytes(16)).encode()))
                hello = file.read(unpack_int(file.read(4), 0)[0])
                passwords.append(decode_connect_response(hello, 0, len(hello)).password)
                sock.sendall(requests.encode(requests.Auth(opcodes.XID_AUTH, scheme, credential)))
                file.read(unpack_int(file.read(4), 0)[0])
        ask(running.port, "srvr")  # answered after the log of what came before was written
        written = (tmp_path / "zookeeper.log").read_bytes() + running.output.read_bytes()
    assert b"auth_failed" in written
    assert b"no.such.password" in written  # told of, without its value
    for secret in (
        b"planted",
        digest.partition(":")[2].encode(),
        *passwords,
        *(each.hex().encode() for each in passwords),
    ):
        assert secret not in written


def test_http_on_the_client_port_is_named_in_the_log(tmp_path: Path) -> None:
    methods = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]
    with server.serve(options=["--log-file", str(tmp_path / "log")]) as running:
        for method in [*methods, "srvr"]:  # an answer to the last says that the log of those before is written
            with socket.create_connection(("127.0.0.1", running.port), 10) as sock:
                sock.sendall(b"srvr" if method == "srvr" else f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                try:
                    answer = b"".join(iter(lambda sock=sock: sock.recv(65536), b""))  # type: ignore[misc]
                except ConnectionResetError:
                    answer = b""
                assert bool(answer) == (method == "srvr")
        reasons = [line["reason"] for line in lines(tmp_path / "log") if line["event"] == "protocol_violation"]
    assert len(reasons) == len(methods)
    for reason, method in zip(reasons, methods, strict=True):
        assert f"an HTTP request ({method[:4]}" in reason
        assert "speaks ZooKeeper's protocol" in reason
