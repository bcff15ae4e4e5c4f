"""A client in a process of its own that holds an ephemeral znode, to be killed or paused: what failure detection is
tested on.

In: a connect string, a path, session timeouts.  Out: a process whose ephemeral exists, with its session's id and
password.
Knows nothing of brokers.  Answers to nothing in ZooKeeper.

(1) `hold` returns when the ephemeral exists (and the later timeout, if any, is in force).
(2) The session's password comes over an inherited pipe: not on a command line, not in a file.
"""

import json
import os
import select
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coordination.secret import Secret
from coordination.testing.process import Process

READY_TIMEOUT_S = 20.0


class Victim(Process):
    """The process, and what a supervisor of it would know."""

    session_id = 0
    session_timeout_ms = 0
    password = Secret(b"")


@contextmanager
def hold(connect: str, path: str, *, session_timeout_ms: int, then_timeout_ms: int = 0) -> Iterator[Victim]:
    """A victim that holds the ephemeral `path`; with `then_timeout_ms` it changes its session timeout to that first."""
    with tempfile.TemporaryDirectory(prefix="victim-") as scratch:
        command = [sys.executable, "-m", "coordination.testing.victim", connect, path]
        victim = Victim([*command, str(session_timeout_ms), str(then_timeout_ms)], Path(scratch, "output"))
        ready, told = os.pipe()
        try:
            try:
                victim.start(pass_fds=[told], extra=[str(told)])
            finally:
                os.close(told)
            if not select.select([ready], [], [], READY_TIMEOUT_S)[0]:
                raise victim.died(f"the victim was not ready within {READY_TIMEOUT_S:g} s")
            said = os.read(ready, 4096)
            if not said:
                raise victim.died("the victim ended before it was ready")
            facts = json.loads(said)
            victim.session_id, victim.session_timeout_ms = facts["session_id"], facts["session_timeout_ms"]
            victim.password = Secret(bytes.fromhex(facts["password"]))
            yield victim
        finally:
            os.close(ready)
            victim.stop()


def main(arguments: list[str]) -> None:
    """The victim's own side: connects, creates, tells, and waits for its end."""
    import trio

    from coordination.client.client import connect

    hosts, path, session_timeout_ms, then_timeout_ms, told = arguments

    async def live() -> None:
        async with connect(hosts, session_timeout_ms=int(session_timeout_ms)) as zk:
            await zk.create(path, ephemeral=True)
            if int(then_timeout_ms):
                await zk.set_session_timeout(int(then_timeout_ms))
            facts = {"session_id": zk.session_id, "session_timeout_ms": zk.session_timeout_ms}
            facts_and_secret = {**facts, "password": zk.session_password.reveal().hex()}
            os.write(int(told), json.dumps(facts_and_secret).encode())
            await trio.sleep_forever()

    trio.run(live)


if __name__ == "__main__":
    main(sys.argv[1:])
