"""The client port with TLS only: sessions, four letter words, and strangers who harm nobody."""

import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from coordination.auth.settings import read
from coordination.server.client import Listener
from coordination.server.client_port import ClientPort
from coordination.server.journal import Journal
from coordination.server.log_writer import LogWriter
from coordination.server.tls import server_context
from coordination.state.pipeline import Pipeline
from coordination.state.ready import Settings
from coordination.storage import MemoryLog
from coordination.wire import requests
from coordination.wire.jute import get_string, get_vector, unpack_int
from coordination.wire.records import ConnectRequest
from coordination.wire.replies import HEADER_BYTES, frame

from .conftest import other_authority, tls_settings


class SecureServer:
    """A client port in this process, TLS only."""

    def __init__(self, context: ssl.SSLContext, listener: socket.socket) -> None:
        self.pipeline = Pipeline(replace(Settings(), auth=read({}, secure=True)), 1_700_000_000_000)
        listeners = [Listener(listener, context)]
        self.port = ClientPort(self.pipeline, listeners, Journal("error"), lambda word, _: word.word + "!")

    async def serve(self) -> None:
        writer = LogWriter(MemoryLog(), self.pipeline.persisted, sync=False)
        try:
            await self.port.run(writer)
        finally:
            writer.close()


async def read_frame(stream: trio.SSLStream[trio.SocketStream]) -> bytes:
    got = b""
    while len(got) < 4 or len(got) < 4 + unpack_int(got, 0)[0]:
        piece = await stream.receive_some(4096)
        assert piece
        got += bytes(piece)
    return got[4:]


async def test_a_session_over_tls_is_who_its_certificate_says(
    stores: Path, known_client: ssl.SSLContext, nursery: trio.Nursery
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        server = SecureServer(server_context(tls_settings(stores)), listener)
        nursery.start_soon(server.serve)
        stream = await trio.open_ssl_over_tcp_stream("localhost", port, ssl_context=known_client)
        await stream.send_all(frame(ConnectRequest(0, 0, 4000, 0, bytes(16)).encode()))
        await read_frame(stream)
        await stream.send_all(requests.encode(requests.WhoAmI(7)))
        answer = await read_frame(stream)

        def info(buf: bytes, pos: int, end: int) -> tuple[tuple[str, str], int]:
            scheme, pos = get_string(buf, pos, end)
            user, pos = get_string(buf, pos, end)
            return (scheme, user), pos

        infos, _ = get_vector(answer, HEADER_BYTES, len(answer), info)
        assert infos[0] == ("ip", "127.0.0.1")
        assert infos[1][0] == "x509"
        assert infos[1][1].startswith("CN=alice,")
        await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_bytes_that_are_no_tls_end_an_established_connection_and_are_no_failed_handshake(
    stores: Path, known_client: ssl.SSLContext, nursery: trio.Nursery
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        server = SecureServer(server_context(tls_settings(stores)), listener)
        nursery.start_soon(server.serve)
        port = listener.getsockname()[1]
        stream = await trio.open_ssl_over_tcp_stream("localhost", port, ssl_context=known_client)
        await stream.send_all(frame(ConnectRequest(0, 0, 4000, 0, bytes(16)).encode()))
        await read_frame(stream)
        await stream.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some(4096)
        assert (server.port.connection_count, server.port.traffic.handshakes_failed) == (0, 0)
        await trio.aclose_forcefully(stream)
        nursery.cancel_scope.cancel()


async def test_four_letter_words_come_over_tls_too(
    stores: Path, client_context: ssl.SSLContext, nursery: trio.Nursery
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        server = SecureServer(server_context(tls_settings(stores, clientAuth="none")), listener)
        nursery.start_soon(server.serve)
        stream = await trio.open_ssl_over_tcp_stream(
            "localhost", listener.getsockname()[1], ssl_context=client_context, https_compatible=True
        )
        await stream.send_all(b"ruok")
        assert await stream.receive_some(100) == b"ruok!"
        assert await stream.receive_some(100) == b""
        await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_a_plain_client_and_a_stranger_harm_nobody(
    stores: Path, client_context: ssl.SSLContext, known_client: ssl.SSLContext, nursery: trio.Nursery
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        nursery.start_soon(SecureServer(server_context(tls_settings(stores)), listener).serve)
        plain = await trio.open_tcp_stream("localhost", port)
        await plain.send_all(frame(ConnectRequest(0, 0, 4000, 0, bytes(16)).encode()) + bytes(64))
        while await plain.receive_some(100):  # an alert perhaps, then the end
            pass
        await plain.aclose()
        stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        stranger.load_verify_locations(stores / "ca.pem")
        other_authority().issue_cert("localhost").configure_cert(stranger)
        refused = await trio.open_ssl_over_tcp_stream("localhost", port, ssl_context=stranger)
        with pytest.raises(trio.BrokenResourceError):
            await refused.receive_some(100)
        await trio.aclose_forcefully(refused)
        good = await trio.open_ssl_over_tcp_stream("localhost", port, ssl_context=known_client)
        await good.send_all(frame(ConnectRequest(0, 0, 4000, 0, bytes(16)).encode()))
        assert await read_frame(good)
        await trio.aclose_forcefully(good)
        nursery.cancel_scope.cancel()
