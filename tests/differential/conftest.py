"""Ours and Apache ZooKeeper, fresh, with the same settings, for all tests of this directory."""

import itertools
from collections.abc import Iterator

import pytest

from coordination.auth.schemes import generate_digest
from coordination.testing import apache, server

from .lockstep import SESSION_TIMEOUT_MS, Pair, Side
from .programs import SUPER

PROPERTIES = {
    "zookeeper.extendedTypesEnabled": "true",
    "zookeeper.enforceQuota": "true",
    "zookeeper.DigestAuthenticationProvider.superDigest": generate_digest(SUPER),
    # Nothing is removed behind a program's back: that would take zxids at a time of its own.
    "znode.container.checkIntervalMs": str(SESSION_TIMEOUT_MS),
}


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    reason = apache.why_unavailable()
    if reason:
        pytest.skip(reason)
    properties = tmp_path_factory.mktemp("pair") / "props"
    properties.write_text("".join(f"{key}={value}\n" for key, value in PROPERTIES.items()))
    options = ["--props", str(properties), "--max-session-timeout", str(SESSION_TIMEOUT_MS)]
    jvm = [*apache.QUICK_JVM, *(f"-D{key}={value}" for key, value in PROPERTIES.items())]
    settings = {"maxSessionTimeout": str(SESSION_TIMEOUT_MS)}
    with server.serve(options=options) as ours, apache.standalone(settings=settings, jvm=jvm) as theirs:
        sides = Side("ours", ours.port), Side("Apache ZooKeeper", theirs.members[0].port)
        yield Pair(sides, itertools.count())
