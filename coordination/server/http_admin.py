"""The admin server: /commands and /commands/<name> over HTTP.  Needs the extra `admin`.

In: GET of a query, POST of an action with the token.  Out: JSON as AdminServer writes it.
Imported only when it is switched on.  Answers to ZooKeeper's JettyAdminServer.

(1) A GET changes nothing.  What changes something is a POST that carries `Authorization: Bearer <token>`, the token of
    admin.tokenFile; without that file nothing of the kind is offered.
(2) It runs between the turns of the client port, in its thread: it sees whole transactions only.
"""

import hmac
import html
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from coordination.secret import Secret
from coordination.server.commands import ACTIONS, PRIMARY_NAMES, QUERIES, SNAPSHOT, Commands, is_action
from coordination.server.config import AdminSettings, ConfigError
from coordination.server.http_guard import Application, Guard
from coordination.server.readings import Readings

TOKEN_LENGTH_MIN = 16
TakeSnapshot = Callable[[], Awaitable[Path | None]]


def application(
    settings: AdminSettings,
    readings: Readings,
    take_snapshot: TakeSnapshot | None,
    failed: Callable[[BaseException], None] = lambda error: None,
) -> Application:
    """The guarded application.  `take_snapshot`: None in memory.  ConfigError: the token cannot be used."""
    pages = _Pages(settings, readings, take_snapshot)
    routes = [Route(settings.command_url + tail, pages.listing) for tail in ("", "/")]
    routes.append(Route(settings.command_url + "/{name}", pages.command, methods=["GET", "POST"]))
    return Guard(Starlette(routes=routes), settings.allowed_hosts, failed)


class _Pages:
    def __init__(self, settings: AdminSettings, readings: Readings, take_snapshot: TakeSnapshot | None) -> None:
        self._settings = settings
        self._commands = Commands(readings)
        self._take_snapshot = take_snapshot
        self._next_snapshot_at = float("-inf")
        self._token = None if settings.token_file is None else read_token(settings.token_file)

    async def listing(self, _: Request) -> Response:
        names = sorted(names[0] for names in (*QUERIES, *(ACTIONS if self._token else ())))
        url = html.escape(self._settings.command_url)
        return HTMLResponse("".join(f'<a href="{url}/{name}">{name}</a>\n<br/>\n' for name in names))

    async def command(self, request: Request) -> Response:
        asked = request.path_params["name"]
        name = PRIMARY_NAMES.get(asked)
        if name is None:
            return _json({"command": asked, "error": f"Unknown command: {asked}"})
        if not is_action(name):
            if request.method == "POST":
                return _refusal(name, 405, "ask with GET", {"Allow": "GET"})
            return _json(self._commands.query(name))
        if self._token is None:
            return _refusal(name, 403, "not offered: it changes something, and no admin.tokenFile is configured")
        if request.method != "POST":
            return _refusal(name, 405, "changes something: ask with POST and the token", {"Allow": "POST"})
        if not self._is_authorized(request):
            headers = {"WWW-Authenticate": "Bearer"}
            return _refusal(name, 401, "send `Authorization: Bearer` with the token of admin.tokenFile", headers)
        if name == SNAPSHOT:
            return await self._snapshot(request)
        return _json(self._commands.act(name, request.query_params))

    def _is_authorized(self, request: Request) -> bool:
        assert self._token is not None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token.reveal())

    async def _snapshot(self, request: Request) -> Response:
        if not self._settings.snapshot_enabled or self._take_snapshot is None:
            return _refusal(SNAPSHOT, 503, "snapshots are off (admin.snapshot.enabled), or this server is in memory")
        now = trio.current_time()
        if now < self._next_snapshot_at:
            return _refusal(SNAPSHOT, 429, "too soon after the one before it (admin.rateLimiterIntervalInMS)")
        self._next_snapshot_at = now + self._settings.snapshot_every_us / 1e6
        path = await self._take_snapshot()
        if path is None:
            return _refusal(SNAPSHOT, 500, "the snapshot could not be written; the server's log says why")
        zxid = path.name.split(".")[1]
        headers = {"last_zxid": f"0x{zxid}", "snapshot_size": str(path.stat().st_size)}
        if request.query_params.get("streaming", "true").lower() == "true":
            return FileResponse(path, headers=headers, media_type="application/octet-stream")
        return _json(self._commands.answer(SNAPSHOT, {}), headers=headers)


def read_token(path: Path) -> Secret:
    """The token in a file that only its owner can read.  ConfigError."""
    try:
        if os.stat(path).st_mode & 0o077:
            raise ConfigError(f"admin.tokenFile={path} can be read by others. Run: chmod 600 {path}")
        token = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"admin.tokenFile={path} cannot be read: {error.strerror}. Check the path.") from None
    if len(token) < TOKEN_LENGTH_MIN:
        raise ConfigError(
            f"admin.tokenFile={path} holds a token of {len(token)} bytes; use at least {TOKEN_LENGTH_MIN}."
        )
    return Secret(token)


def _json(fields: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    text = json.dumps(fields, indent=2, default=str) + "\n"
    return Response(text, status, headers, media_type="application/json")


def _refusal(name: str, status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    return _json({"command": name, "error": why}, status, headers)
