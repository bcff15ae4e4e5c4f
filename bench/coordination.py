"""Our coordination server and the real Apache ZooKeeper, side by side in one run.

    python -m bench.coordination              # about 10 minutes; with Java and Maven also the real one
    python -m bench.coordination --quick      # a minute or two, for a look
    python -m bench.coordination --json       # the same as one JSON object
    python -m bench.coordination --only read  # cells whose name contains the word

Both servers keep a durable log on the same disk, and take turns cell by cell, round by round, so that whatever else the
machine does meets both. Printed are medians over the rounds and ours / theirs. On two cores the generator shares the
machine with the server: a cell in which it was busy over 90 % of the time is marked `*` (the server might do more), and
`ceiling` is what the generator reaches against a server that answers canned bytes. The last columns are the servers'
processor time per operation, ours and theirs: the figure that other work on the machine disturbs least.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench import load
from coordination.testing import apache
from coordination.testing.process import Process
from coordination.testing.server import Server, serve

HEAD = (
    f"{'median':<24}{'':>4}{'ours':>12}{'ZooKeeper':>12}{'ratio':>9}{'goal':>8}{'ceiling':>12}{'n':>5}{'cpu us/op':>18}"
)
GENERATOR_LIMITED = 0.9
# What a user's ZooKeeper runs with: the optimising compiler, not the quick start of the tests.
PEER_JVM = ("-Xmx1g",)
WARM_UP_S = 6.0


@dataclass
class Plan:
    """How long and how often."""

    rounds: int = 5
    seconds: float = 2.0
    latency_calls: int = 2000
    fan_out_sessions: int = 1000
    fan_out_rounds: int = 7
    starts: int = 5
    warm_up_s: float = WARM_UP_S
    only: str = ""


QUICK = Plan(rounds=2, seconds=0.5, latency_calls=300, fan_out_sessions=100, fan_out_rounds=3, starts=1)
TINY = Plan(rounds=1, seconds=0.05, latency_calls=10, fan_out_sessions=5, fan_out_rounds=1, starts=1, warm_up_s=0.0)


@dataclass
class Cell:
    """One line of the table."""

    name: str
    unit: str
    goal: str
    """What the README promises of ours / theirs; empty when nothing is promised."""
    higher_is_better: bool = True
    values: dict[str, list[float]] = field(default_factory=dict)
    busy: list[float] = field(default_factory=list)
    cpu_us: dict[str, list[float]] = field(default_factory=dict)
    """Processor time of the server per operation, all its threads."""

    def add(self, server: str, value: float) -> None:
        self.values.setdefault(server, []).append(value)

    def median(self, server: str) -> float | None:
        return statistics.median(self.values[server]) if self.values.get(server) else None

    def ratio(self) -> float | None:
        ours, theirs = self.median("ours"), self.median("apache")
        return ours / theirs if ours is not None and theirs else None

    def limited(self) -> bool:
        return bool(self.busy) and statistics.median(self.busy) >= GENERATOR_LIMITED


RATES: tuple[tuple[str, Callable[[], load.Workload], int, int, str], ...] = (
    ("read    1 x 1", load.reads, 1, 1, ""),
    ("read    1 x 16", load.reads, 1, 16, ">= 3"),
    ("read    1 x 128", load.reads, 1, 128, ">= 3"),
    ("read   10 x 1", load.reads, 10, 1, ""),
    ("read   10 x 16", load.reads, 10, 16, ">= 3"),
    ("read   10 x 128", load.reads, 10, 128, ">= 3"),
    ("read   50 x 1", load.reads, 50, 1, ">= 1"),
    ("read   50 x 16", load.reads, 50, 16, ">= 3"),
    ("read   50 x 128", load.reads, 50, 128, ">= 3"),
    ("write   1 x 1", load.writes, 1, 1, ">= 1"),
    ("write   1 x 128", load.writes, 1, 128, ">= 1"),
    ("write  10 x 1", load.writes, 10, 1, ">= 1"),
    ("write  10 x 16", load.writes, 10, 16, ">= 1"),
    ("write  50 x 1", load.writes, 50, 1, ">= 1"),
    ("write  50 x 16", load.writes, 50, 16, ">= 1"),
    ("create+delete 1 x 128", load.churn, 1, 128, ">= 1"),
    ("mixed   1 x 128", load.mixed, 1, 128, ">= 2"),
    ("mixed  10 x 16", load.mixed, 10, 16, ">= 2"),
    ("mixed  50 x 16", load.mixed, 50, 16, ">= 2"),
)


@dataclass
class Contender:
    """A running server: its name in the table, its port and pid."""

    name: str
    port: int
    pid: int


def measure(plan: Plan, *, with_peer: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Every cell; the result as plain data (what --json prints)."""
    cells: list[Cell] = []

    def add(measured: list[Cell]) -> None:
        cells.extend(measured)
        for cell in measured:
            say(_line(cell))

    reason = apache.why_unavailable() if with_peer else "not asked for"
    say(f"load average {load.load_average():.2f}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, ExitStack() as stack:
        wanted = [cell for cell in RATES if plan.only in cell[0]]
        if plan.only in "start":
            add(_starts(plan, Path(scratch), reason is None))
        ours = stack.enter_context(serve(Path(scratch, "ours"), options=_options(Path(scratch))))
        servers = [Contender("ours", ours.port, ours.pid)]
        if reason is None:
            zoo = stack.enter_context(apache.standalone(jvm=PEER_JVM)).members[0]
            servers.append(Contender("apache", zoo.port, zoo.pid))
        memory_fresh = Cell("memory fresh", "MiB", "<= 1/4", higher_is_better=False)
        for server in servers:
            load.prepare(server.port)
            memory_fresh.add(server.name, load.rss_mib(server.pid))
        _warm_up(servers, plan)
        for name, workload, clients, window, goal in wanted:
            cell = Cell(name, "/s", goal)
            for _ in range(plan.rounds):
                for server in servers:
                    used_s = load.cpu_s(server.pid)
                    rate = load.run(server.port, workload(), clients, window, plan.seconds)
                    used_s = load.cpu_s(server.pid) - used_s
                    cell.add(server.name, rate.per_second)
                    cell.busy.append(rate.generator_busy)
                    cell.cpu_us.setdefault(server.name, []).append(used_s * 1e6 / (rate.per_second * plan.seconds))
            if workload is load.reads:
                with load.null_server(workload()) as port:
                    cell.add("ceiling", load.run(port, workload(), clients, window, plan.seconds).per_second)
            add([cell])
        if plan.only in "latency":
            add(_latencies(servers, plan))
        if plan.only in "fan-out":
            add([_fan_out(servers, plan)])
        memory_loaded = Cell("memory after load", "MiB", "", higher_is_better=False)
        for server in servers:
            memory_loaded.add(server.name, load.rss_mib(server.pid))
        add([memory_fresh, memory_loaded])
    return {
        "schema": "brokerdemo.bench.coordination/1",
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "load_average": load.load_average(),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "peer": f"Apache ZooKeeper {apache.VERSION}" if reason is None else None,
        "peer_missing_because": reason,
        "cells": [_as_json(cell) for cell in cells],
    }


def _options(scratch: Path) -> list[str]:
    """Both servers are told to take any number of connections from one host."""
    config = scratch / "zoo.cfg"
    config.write_text("maxClientCnxns=0\n")
    return ["--config", str(config)]


def _warm_up(servers: list[Contender], plan: Plan) -> None:
    """A just-in-time compiler deserves its time before anyone looks at the clock."""
    share = plan.warm_up_s / 3
    for server in servers:
        if share and server.name != "ours":
            for workload in (load.reads(), load.writes(), load.mixed()):
                load.run(server.port, workload, 10, 20, share)


def _latencies(servers: list[Contender], plan: Plan) -> list[Cell]:
    cells = []
    for name, workload in (("get", load.reads()), ("set", load.writes())):
        half = Cell(f"latency {name} p50", "us", "<= 1" if name == "get" else "", higher_is_better=False)
        tail = Cell(f"latency {name} p99", "us", "", higher_is_better=False)
        for _ in range(plan.rounds):
            for server in servers:
                took = load.latencies_us(server.port, workload, plan.latency_calls)
                half.add(server.name, load.percentile(took, 50))
                tail.add(server.name, load.percentile(took, 99))
        cells += [half, tail]
    return cells


def _fan_out(servers: list[Contender], plan: Plan) -> Cell:
    cell = Cell(f"fan-out to {plan.fan_out_sessions}", "ms", "<= 0.5", higher_is_better=False)
    for _ in range(max(1, plan.rounds // 2)):
        for server in servers:
            for took in load.fan_out_ms(server.port, plan.fan_out_sessions, plan.fan_out_rounds):
                cell.add(server.name, took)
    return cell


def _starts(plan: Plan, scratch: Path, with_peer: bool) -> list[Cell]:
    cell = Cell("start to first create", "s", "<= 1/3", higher_is_better=False)
    for i in range(plan.starts):
        (port,) = apache.free_ports(1)
        ours = Server(scratch / f"start-{i}", scratch / f"start-{i}.out", _options(scratch))
        with _stopping(ours.stop):
            start = partial(ours.start, extra=["--port", str(port)])
            cell.add("ours", load.first_create_s(start, partial(_is_running, ours), port))
        if with_peer:
            (port,) = apache.free_ports(1)
            home = scratch / f"peer-{i}"
            member = apache.Member(home, port, {"clientPortAddress": "127.0.0.1"}, None, PEER_JVM)
            with _stopping(member.stop):
                cell.add("apache", load.first_create_s(member.start, partial(_is_running, member), port))
    return [cell]


def _is_running(process: Process) -> bool:
    return process.is_running


@contextmanager
def _stopping(stop: Callable[[], object]) -> Iterator[None]:
    try:
        yield
    finally:
        stop()


def _as_json(cell: Cell) -> dict[str, Any]:
    return {
        "name": " ".join(cell.name.split()),
        "unit": cell.unit,
        "goal": cell.goal,
        "medians": {server: cell.median(server) for server in cell.values},
        "n": {server: len(values) for server, values in cell.values.items()},
        "ratio": cell.ratio(),
        "cpu_us_per_operation": {server: statistics.median(values) for server, values in cell.cpu_us.items()},
        "generator_limited": cell.limited(),
    }


def _line(cell: Cell) -> str:
    def shown(value: float | None) -> str:
        if value is None:
            return "-"
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"

    cpu_us = {server: f"{statistics.median(values):.1f}" for server, values in cell.cpu_us.items()}
    ratio = cell.ratio()
    name = cell.name + (" *" if cell.limited() else "")
    return (
        f"{name:<24}{cell.unit:>4}{shown(cell.median('ours')):>12}{shown(cell.median('apache')):>12}"
        f"{'-' if ratio is None else f'{ratio:.2f}':>9}{cell.goal:>8}{shown(cell.median('ceiling')):>12}"
        f"{len(next(iter(cell.values.values()), [])):>5}{cpu_us.get('ours', ''):>10}{cpu_us.get('apache', ''):>8}"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that it runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--no-peer", action="store_true", help="ours alone, also where Java is")
    parser.add_argument("--rounds", type=int, help="how often each cell is measured")
    parser.add_argument(
        "--only", default="", help="only cells whose name contains this: read, write, mixed, latency ..."
    )
    options = parser.parse_args(argv)
    plan = TINY if options.tiny else QUICK if options.quick else Plan()
    plan.only = options.only
    if options.rounds:
        plan.rounds = options.rounds
    quiet = options.json
    print_line: Callable[[str], None] = (lambda _: None) if quiet else (lambda text: print(text, flush=True))
    print_line(HEAD)
    result = measure(plan, with_peer=not options.no_peer, say=print_line)
    if options.json:
        print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
