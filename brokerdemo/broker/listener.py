"""The Kafka port: bound before the broker registers, so that nobody is sent to a port that does not listen.

In:  connections.  Out: for now a polite end of each; frames in and responses out come here with the data plane.
Answers to Kafka's SocketServer.

(1) The port in the registration is the port that is bound, also when the system chose it.
(2) A connection is ended so that the client sees an end of file, not a reset.
"""

import trio

# Long enough for a client on a slow link to notice; a client that goes on talking is cut then.
FAREWELL_S = 1.0
READ_BYTES = 4096


async def bind(host: str, port: int) -> list[trio.SocketListener]:
    """The listening sockets. OSError when the address cannot be bound."""
    return await trio.open_tcp_listeners(port, host=host)


def port_of(listeners: list[trio.SocketListener]) -> int:
    return int(listeners[0].socket.getsockname()[1])


async def serve(listeners: list[trio.SocketListener]) -> None:
    """Accepts until cancelled."""
    await trio.serve_listeners(_farewell, listeners)


async def _farewell(stream: trio.SocketStream) -> None:
    """Our end of file first, then theirs: a close with bytes unread would be a reset."""
    with trio.move_on_after(FAREWELL_S):
        try:
            await stream.send_eof()
            while await stream.receive_some(READ_BYTES):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
    await trio.aclose_forcefully(stream)
