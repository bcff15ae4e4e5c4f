"""For every room: an environment that says nothing about colours, clusters or pytest, and hypothesis by our rules."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine makes any example slow, and time is nothing these tests are about; a test that hangs has pytest's
# timeout.
settings.register_profile("brokerdemo", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("brokerdemo")

# What a developer or a CI may have set for their own commands; those of the tests, also in processes, know nothing of
# it.
ABOUT_US = ("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "PYTEST_ADDOPTS", "COORDINATION_CONNECT")


@pytest.fixture(scope="session", autouse=True)
def _plain_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in (*ABOUT_US, *(name for name in os.environ if name.startswith("BROKERDEMO_"))):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """A shell's background job begins with SIGINT ignored, and so would every process that a test starts in one."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
