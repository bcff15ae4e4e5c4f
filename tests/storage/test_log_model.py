"""The log against a list, with crashes that lose what was not synced."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from coordination.storage import TxnLog
from tests.storage.conftest import payload


class LogMachine(RuleBasedStateMachine):
    """`synced` must survive anything. `pending` survives as a prefix, cut anywhere in its bytes, whole records only."""

    @initialize(prealloc=st.sampled_from([0, 512, 1 << 16]))
    def start(self, prealloc: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="log-model-"))
        self.prealloc = prealloc
        self.log = TxnLog.open(self.directory, prealloc_bytes=prealloc)
        self.synced: list[bytes] = []
        self.pending: list[bytes] = []
        self.durable = self.files()

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for _, path in self.log.files()}

    @rule(sizes=st.lists(st.integers(0, 400), min_size=1, max_size=5), step=st.integers(1, 2))
    def append(self, sizes: list[int], step: int) -> None:
        batch = []
        zxid = self.log.last_zxid
        for size in sizes:
            zxid += 1
            batch.append(payload(zxid, bytes([size & 0xFF, step]) * (size // 2)))
        self.log.append(batch)
        self.pending += batch

    @rule()
    def sync(self) -> None:
        self.log.sync()
        self.synced += self.pending
        self.pending = []
        self.durable = self.files()

    @rule()
    def roll(self) -> None:
        self.log.roll()  # syncs
        self.synced += self.pending
        self.pending = []
        self.durable = self.files()

    @rule()
    def close_and_reopen(self) -> None:
        self.log.close()
        self.log = TxnLog.open(self.directory, prealloc_bytes=self.prealloc)
        self.synced += self.pending
        self.pending = []
        self.durable = self.files()

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """The bytes written since the last sync reach the disk up to some point; behind it stands what was there
        before.
        """
        written = self.files()
        for name, now in written.items():
            before = self.durable.get(name, b"")
            if now == before:
                continue
            changed = [i for i in range(len(now)) if i >= len(before) or now[i] != before[i]]
            cut = data.draw(st.integers(changed[0], changed[-1] + 1), label=f"cut of {name}")
            torn = now[:cut] + before[cut:].ljust(len(now) - cut, b"\0")[: len(now) - cut]
            (self.directory / "version-2" / name).write_bytes(torn)
        self.log._release()
        self.log = TxnLog.open(self.directory, prealloc_bytes=self.prealloc)
        survived = [found for _, found in self.log.read()]
        lost = len(self.synced) + len(self.pending) - len(survived)
        assert survived == (self.synced + self.pending)[: len(survived)]
        assert lost <= len(self.pending), "a synced record is gone"
        self.synced, self.pending = survived, []
        self.durable = self.files()

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        keep = data.draw(st.integers(0, self.log.last_zxid + 1))
        self.log.truncate(keep)
        self.synced = [record for record in self.synced + self.pending if int.from_bytes(record[12:20], "big") <= keep]
        self.pending = []
        self.durable = self.files()

    @invariant()
    def reads_back_what_was_appended(self) -> None:
        if not hasattr(self, "log"):
            return
        everything = self.synced + self.pending
        assert [found for _, found in self.log.read()] == everything
        assert self.log.last_zxid == (int.from_bytes(everything[-1][12:20], "big") if everything else 0)

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log._release()
            shutil.rmtree(self.directory)


LogMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestLogModel = LogMachine.TestCase
