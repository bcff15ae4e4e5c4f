"""Who may speak to the operators' ports: a guard in front of every HTTP application here.

In: an ASGI request.  Out: the application's answer with headers that keep browsers honest, or a refusal.
Knows no command.  Answers to nothing in ZooKeeper: its AdminServer has no such guard.

(1) A request must name this server: the very address it came to, localhost on loopback, or a name that was allowed.
    So a page that makes its own name resolve to 127.0.0.1 (DNS rebinding) is refused.
(2) A request that a web page of another origin makes (it carries Origin) is refused; nothing here grants CORS.
(3) No header says who the client is: X-Forwarded-For and its like are not read (CVE-2024-51504).
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)


class Guard:
    def __init__(
        self,
        application: Application,
        allowed_hosts: Iterable[str] = (),
        failed: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        """`allowed_hosts`: names, with or without a port, beside the server's own.  `failed` hears of each request that
        the application could not answer.
        """
        self._failed = failed
        self._application = application
        self._allowed = frozenset(each.lower() for each in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a WebSocket; the server says no for us
        refusal = self._refusal(scope)
        if refusal:
            status, text = refusal
            body = text.encode()
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": status, "headers": [*headers, *HEADERS]})
            await send({"type": "http.response.body", "body": body})
            return

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        try:
            await self._application(scope, receive, send_guarded)
        except Exception as error:
            self._failed(error)
            raise

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = scope["headers"]
        hosts = [value.decode("latin-1").lower() for name, value in headers if name.lower() == b"host"]
        if len(hosts) != 1 or not self._is_us(hosts[0], scope.get("server")):
            return 421, (
                "This server is not known by the name in the Host header. "
                "Ask it by its address or as localhost, or add the name to admin.allowedHosts "
                "(metricsProvider.allowedHosts for metrics).\n"
            )
        if any(name.lower() == b"origin" for name, _ in headers):
            return 403, "Requests that web pages make are not answered.\n"
        return None

    def _is_us(self, host: str, server: tuple[str, int | None] | None) -> bool:
        name, port = split_host(host)
        if host in self._allowed or name in self._allowed:
            return True
        if server is None or port != (80 if server[1] is None else server[1]):
            return False
        address = server[0].lower().removeprefix("::ffff:")
        loopback = address.startswith("127.") or address == "::1"
        return name == address or (loopback and name == "localhost")


def split_host(host: str) -> tuple[str, int]:
    """`name`, `name:port`, `[::1]:port` -> name without brackets, port (80 if none, -1 if it is no number)."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        name, _, port = host.partition(":")
    if not port:
        return name, 80
    return name, int(port) if port.isdecimal() and len(port) <= 5 else -1
