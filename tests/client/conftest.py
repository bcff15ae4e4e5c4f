"""The client's conformance suite: every test runs against our server, and with `-m peers` against Apache ZooKeeper."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol
from uuid import uuid4

import pytest

import coordination
from coordination.testing import apache, server

SESSION_TIMEOUT_MS = 4000

SERVERS = ["ours", pytest.param("apache", marks=pytest.mark.peers)]


class RunningServer(Protocol):
    """What the tests do to a server, whoever made it."""

    @property
    def connect(self) -> str: ...

    def kill(self) -> None: ...

    def restart(self) -> None: ...


def start(name: str, data_dir: Any) -> AbstractContextManager[RunningServer]:
    if name == "ours":
        return server.serve(data_dir)
    reason = apache.why_unavailable()
    if reason:
        pytest.skip(reason)
    # A short tick, because Apache ZooKeeper expires sessions on ticks.
    return apache.standalone(tick_time_ms=200)


@pytest.fixture(scope="session", params=SERVERS)
def shared(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """One server for all tests that do it no harm."""
    with start(request.param, None) as running:
        yield running


@pytest.fixture(params=SERVERS)
def own(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[RunningServer]:
    """A server to kill and restart; it keeps its data."""
    with start(request.param, tmp_path / "data") as running:
        yield running


@pytest.fixture
async def zk(shared: RunningServer) -> AsyncIterator[coordination.Client]:
    async with coordination.connect(shared.connect, session_timeout_ms=SESSION_TIMEOUT_MS) as client:
        yield client


@pytest.fixture
async def other(shared: RunningServer) -> AsyncIterator[coordination.Client]:
    """A second client, to see what the first one did."""
    async with coordination.connect(shared.connect, session_timeout_ms=SESSION_TIMEOUT_MS) as client:
        yield client


@pytest.fixture
async def root(zk: coordination.Client, request: pytest.FixtureRequest) -> str:
    """A znode of the test's own."""
    name = re.sub(r"\W+", "-", request.node.name)
    return await zk.create(f"/{name}-{uuid4().hex[:8]}")
