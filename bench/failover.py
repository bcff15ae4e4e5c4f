"""Failover as a user meets it: `brokerdemo up`, `kill`, `restart` by their command line, timed by what they report.

    python -m bench.failover                 # 10 runs of each, with and without certificates: about 5 minutes
    python -m bench.failover --quick         # 2 runs of each, with certificates
    python -m bench.failover --runs 30 --json

Prints the budget table of the README: `up -n 5 -d` to all brokers registered and all partitions led; kill -9 of a
broker that leads, of the controller, and of both at once, each up to `serving` (the new leader has taken over at its
epoch), by the cluster's own monotonic stamps; the resident memory of every process. p99 of ten runs is their maximum.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.load import load_average, percentile, rss_mib

COMMAND_TIMEOUT_S = 90
SESSION_TIMEOUT_MS = 1500
PROGRAM = (sys.executable, "-m", "brokerdemo")


class CommandFailed(Exception):
    """A `brokerdemo` command ended with an error; the text is its own."""


@dataclass
class Line:
    """One line of the table."""

    name: str
    unit: str
    budget: float | None
    tail_budget: float | None = None
    values: list[float] = field(default_factory=list)
    detected_by: set[str] = field(default_factory=set)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "unit": self.unit,
            "n": len(self.values),
            "median": statistics.median(self.values) if self.values else None,
            "p99": percentile(self.values, 99) if self.values else None,
            "min": min(self.values, default=None),
            "budget": self.budget,
            "budget_p99": self.tail_budget,
            "within_budget": self.within(),
            "detected_by": sorted(self.detected_by),
        }

    def within(self) -> bool | None:
        if self.budget is None or not self.values:
            return None
        tail_holds = self.tail_budget is None or percentile(self.values, 99) < self.tail_budget
        return statistics.median(self.values) < self.budget and tail_holds

    def __str__(self) -> str:
        if not self.values:
            return f"{self.name:<44} -"
        budget = "" if self.budget is None else f"< {self.budget:g}"
        tail = "" if self.tail_budget is None else f"p99 < {self.tail_budget:g}"
        verdict = {None: "", True: "ok", False: "OVER"}[self.within()]
        return (
            f"{self.name:<44}{statistics.median(self.values):>9.0f}{percentile(self.values, 99):>9.0f}"
            f"{min(self.values):>9.0f}{self.unit:>5}{len(self.values):>5}  {budget:<8}{tail:<12}{verdict}"
        )


class Cluster:
    """One cluster by its command line, under a name and in a directory of its own."""

    def __init__(self, name: str, brokers: int, *, certificates: bool) -> None:
        self.name = name
        self.brokers = brokers
        self.options = [] if certificates else ["--no-certificates"]

    def run(self, *arguments: str) -> dict[str, Any]:
        """The last JSON object a command prints. CommandFailed with its own words when it fails."""
        command = [*PROGRAM, "--quiet", "--cluster", self.name, *arguments, "--json"]
        return _json_of(command)

    def up(self) -> tuple[float, dict[str, Any]]:
        """(wall ms of the whole command, what it printed)"""
        options = ["-n", str(self.brokers), "-d", "--name", self.name, "--base-port", "auto", *self.options]
        begin = time.perf_counter()
        printed = _json_of([*PROGRAM, "--quiet", "up", *options, "--json"])
        return (time.perf_counter() - begin) * 1000, printed

    def down(self) -> None:
        self.run("down")

    def status(self) -> dict[str, Any]:
        return self.run("status")


def _json_of(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise CommandFailed(f"{' '.join(command[2:])} ended with {done.returncode}: {said}")
    lines = [line for line in done.stdout.splitlines() if line.startswith(("{", "["))]
    found = json.loads(lines[-1]) if lines else {}
    return found if isinstance(found, dict) else {"faults": found}


def measure_up(brokers: int, runs: int) -> list[Line]:
    """Start and stop the cluster so often."""
    reported = Line(f"up -n {brokers} -d: registered and led", "ms", 1000)
    wall = Line("   the whole command, interpreter included", "ms", None)
    memory = Line(f"   resident memory, all {brokers + 3} processes", "MiB", 350)
    shared = Line("   the same, shared pages counted once (PSS)", "MiB", None)
    for i in range(runs):
        cluster = Cluster(f"bench-up-{os.getpid()}-{i}", brokers, certificates=True)
        took_ms, printed = cluster.up()
        try:
            reported.values.append(float(printed["ms"]))
            wall.values.append(took_ms)
            pids = processes_of(int(printed["brokers"][0]["pid"]))
            memory.values.append(sum(map(rss_mib, pids)))
            shared.values.append(sum(map(pss_mib, pids)))
        finally:
            cluster.down()
    return [reported, wall, memory, shared]


def measure_kills(brokers: int, runs: int, *, certificates: bool) -> list[Line]:
    """Kill a leading broker, the controller, and both at once, so often each; each comes back before the next."""
    how = "certificates" if certificates else "session timeout"
    budget, tail = (100.0, 500.0) if certificates else (SESSION_TIMEOUT_MS + 300.0, None)
    both_budget = 150.0 if certificates else budget
    lines = {
        "broker": Line(f"kill -9 a leader ({how})", "ms", budget, tail),
        "controller": Line(f"kill -9 the controller ({how})", "ms", budget, tail),
        "both": Line(f"kill -9 controller and leader ({how})", "ms", both_budget, tail),
    }
    cluster = Cluster(f"bench-kill-{os.getpid()}", brokers, certificates=certificates)
    cluster.up()
    try:
        for _ in range(runs):
            for kind, line in lines.items():
                targets = _victims(cluster.status(), kind)
                printed = cluster.run("kill", *map(str, targets))
                faults = printed.get("faults", [printed])
                line.values.append(max(_serving_ms(fault) for fault in faults))
                line.detected_by |= {str(fault["detected_by"]) for fault in faults}
                cluster.run("restart", *map(str, targets))
    finally:
        cluster.down()
    return list(lines.values())


def _serving_ms(fault: dict[str, Any]) -> float:
    if not fault["recovered"]:
        raise CommandFailed(f"fault {fault['fault']} was not recovered from: {fault.get('notes')}")
    return float(fault["stages_ms"]["serving"])


def _victims(status: dict[str, Any], kind: str) -> list[int]:
    controller = int(status["controller"]["id"])
    leading = [int(each["id"]) for each in status["brokers"] if each["leads"] and each["state"] == "live"]
    other = next((broker for broker in leading if broker != controller), None)
    if other is None:
        raise CommandFailed("no broker but the controller leads anything")
    return {"broker": [other], "controller": [controller], "both": [controller, other]}[kind]


def processes_of(broker_pid: int) -> list[int]:
    """Every process of a broker's cluster: the one that forked it, and all that one forked (Linux)."""
    status = Path(f"/proc/{broker_pid}/status").read_text()
    parent = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:"))
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [parent, *map(int, children)]


def pss_mib(pid: int) -> float:
    """Memory with each shared page divided by those who share it (Linux)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:")) / 1024


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="2 runs of each, with certificates only")
    parser.add_argument("--tiny", action="store_true", help="one run of each, three brokers: only shows that it runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--runs", type=int, default=10, help="runs of each (10)")
    parser.add_argument("-n", "--brokers", type=int, default=5, help="brokers (5)")
    options = parser.parse_args(argv)
    runs = 1 if options.tiny else 2 if options.quick else options.runs
    brokers = 3 if options.tiny else options.brokers
    lines: list[Line] = []

    def add(measured: list[Line]) -> None:
        lines.extend(measured)
        if not options.json:
            for line in measured:
                print(line, flush=True)

    if not options.json:
        print(f"load average {load_average():.2f}, {os.cpu_count()} cores, {brokers} brokers")
        print(f"{'':<44}{'median':>9}{'p99':>9}{'min':>9}{'':>5}{'n':>5}  budget")
    try:
        add(measure_up(brokers, runs))
        add(measure_kills(brokers, runs, certificates=True))
        if not (options.quick or options.tiny):
            add(measure_kills(brokers, runs, certificates=False))
    except CommandFailed as error:
        print(f"the benchmark could not go on: {error}", file=sys.stderr)
        return 1
    if options.json:
        result = {
            "schema": "brokerdemo.bench.failover/1",
            "brokers": brokers,
            "load_average": load_average(),
            "lines": [line.as_json() for line in lines],
        }
        print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
