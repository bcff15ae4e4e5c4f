"""Connect strings: `host:port,[::1]:port,host/chroot` taken apart.

In: a str.  Out: a `ConnectString`, or a `LocalProtocolError` that says what is wrong with it.
Knows no socket.  Answers to ZooKeeper's ConnectStringParser.

(1) `server_path` and `client_path` undo each other for every path under the chroot.
"""

from dataclasses import dataclass

from coordination import paths
from coordination.errors import LocalProtocolError

DEFAULT_PORT = 2181


@dataclass(frozen=True, slots=True)
class ConnectString:
    """The servers in the order given, and the chroot ("" for none)."""

    text: str
    addresses: tuple[tuple[str, int], ...]
    chroot: str = ""

    def server_path(self, path: str) -> str:
        """The path as the server knows it."""
        if not self.chroot:
            return path
        return self.chroot if path == "/" else self.chroot + path

    def client_path(self, path: str) -> str:
        """The path as the user knows it; one outside the chroot is left as it is."""
        if not self.chroot or not paths.is_under(path, self.chroot):
            return path
        return path[len(self.chroot) :] or "/"


def parse(text: str) -> ConnectString:
    """`text` as servers and chroot; a port left out is 2181 (source: ConnectStringParser)."""
    hosts, slash, chroot = text.strip().partition("/")
    if slash and chroot:
        chroot = slash + chroot
        reason = paths.why_invalid(chroot)
        if reason:
            raise LocalProtocolError(f'the chroot "{chroot}" of "{text}" is no znode path: {reason}')
    addresses = tuple(_address(part.strip(), text) for part in hosts.split(",") if part.strip())
    if not addresses:
        raise LocalProtocolError(f'"{text}" names no server; write HOST:PORT[,HOST:PORT...][/CHROOT]')
    return ConnectString(text.strip(), addresses, chroot)


def _address(part: str, text: str) -> tuple[str, int]:
    host, port = part, ""
    if part.startswith("["):
        host, bracket, port = part[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise LocalProtocolError(f'"{part}" in "{text}" is no address; an IPv6 one is written [::1]:2181')
        port = port[1:]
    elif part.count(":") == 1:
        host, _, port = part.partition(":")
    elif ":" in part:
        raise LocalProtocolError(f'"{part}" in "{text}" is ambiguous; an IPv6 address is written [{part}]:2181')
    if not host:
        raise LocalProtocolError(f'"{part}" in "{text}" has no host; write HOST:PORT')
    if port and not (port.isascii() and port.isdigit() and len(port) < 100 and 0 < int(port) < 65536):
        raise LocalProtocolError(f'"{port}" in "{text}" is no port; a port is 1 to 65535')
    return host, int(port) if port else DEFAULT_PORT
