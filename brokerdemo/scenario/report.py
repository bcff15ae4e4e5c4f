"""What a run leaves behind: result.json, junit.xml, and the lines a person reads.

In: runs with their measured values, and verdicts.  Out: JSON-able dicts, XML text, lines. Writes files, runs nothing.

(1) result.json exists from the first second, as `"status": "running"`: a run that hangs or is killed can be told apart
    from one that never started. It is replaced in one step, so a reader never sees half of it.
(2) Every number can be traced: a metric to its values, a threshold to its worst run and fault.
(3) What shapes the numbers stands beside them: CPUs, load before, versions, session timeout.
"""

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import brokerdemo
from brokerdemo.scenario.declare import Scenario
from brokerdemo.scenario.thresholds import Sample, Verdict, judge, summary

SCHEMA = "brokerdemo.result/1"
Kind = Literal["assertion", "threshold", "could_not_run"]
Paint = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a run or a scenario did not pass. `phase`: setup, steady state before, story, heal, thresholds."""

    kind: Kind
    phase: str
    message: str

    def as_json(self) -> dict[str, str]:
        return {"kind": self.kind, "phase": self.phase, "message": self.message}


@dataclass(slots=True)
class Run:
    """One telling of the story on one cluster."""

    number: int
    seed: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    faults: list[Mapping[str, Any]] = field(default_factory=list)
    trouble: Trouble | None = None
    up_ms: float = 0.0
    story_ms: float = 0.0

    def record(self, metric: str, value: float, fault: str) -> None:
        self.samples.setdefault(metric, []).append(Sample(value, self.number, fault))

    def as_json(self) -> dict[str, Any]:
        return {
            "i": self.number,
            "seed": self.seed,
            "passed": self.trouble is None,
            "trouble": self.trouble.as_json() if self.trouble else None,
            "up_ms": self.up_ms,
            "story_ms": self.story_ms,
            "values": {metric: [s.value for s in samples] for metric, samples in self.samples.items()},
            "faults": [dict(fault) for fault in self.faults],
        }


@dataclass(slots=True)
class Result:
    """A scenario's runs and what came of them."""

    scenario: Scenario
    seed: int
    repeat: int
    directory: Path
    environment: Mapping[str, Any]
    runs: list[Run] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    finished: bool = False
    trouble: Trouble | None = None
    self_test: bool = False

    @property
    def status(self) -> Literal["running", "passed", "failed"]:
        if not self.finished:
            return "running"
        return "failed" if self.trouble else "passed"

    @property
    def exit_code(self) -> int:
        """0 passed; 10 the product broke its promise; 11 the scenario could not be run."""
        if self.trouble is None:
            return 0
        return 11 if self.trouble.kind == "could_not_run" else 10

    def samples(self) -> dict[str, list[Sample]]:
        """Every metric's values over all runs."""
        found: dict[str, list[Sample]] = {}
        for run in self.runs:
            for metric, samples in run.samples.items():
                found.setdefault(metric, []).extend(samples)
        return found

    def finish(self) -> None:
        """Judge the thresholds and settle the outcome. A run that could not be run outweighs one that failed."""
        samples = self.samples()
        thresholds = [t.impossible() for t in self.scenario.thresholds] if self.self_test else self.scenario.thresholds
        self.verdicts = [judge(t, samples.get(t.metric, []), self.scenario.kind_of(t.metric)) for t in thresholds]
        troubles = [run.trouble for run in self.runs if run.trouble]
        broken = [trouble for trouble in troubles if trouble.kind == "could_not_run"]
        breached = [verdict for verdict in self.verdicts if not verdict.passed]
        if broken or troubles:
            self.trouble = (broken or troubles)[0]
        elif breached:
            said = "; ".join(f"{v.threshold.metric} {v.threshold.expr}: {_value(v.value)}" for v in breached)
            self.trouble = Trouble("threshold", "thresholds", said)
        self.finished = True

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "name": self.scenario.name,
            "status": self.status,
            "exit_code": self.exit_code if self.finished else None,
            "trouble": self.trouble.as_json() if self.trouble else None,
            "seed": self.seed,
            "repeat": self.repeat,
            "thresholds": [verdict.as_json() for verdict in self.verdicts],
            "metrics": {m: summary(s, self.scenario.kind_of(m)) for m, s in sorted(self.samples().items())},
            "runs": [run.as_json() for run in self.runs],
            "environment": dict(self.environment),
            "directory": str(self.directory),
        }

    def write(self) -> None:
        """result.json, in one step: (1)."""
        self.directory.mkdir(parents=True, exist_ok=True)
        part = self.directory / "result.json.part"
        part.write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")
        part.replace(self.directory / "result.json")


def environment_of(scenario: Scenario) -> dict[str, Any]:
    """What shapes the numbers: (3)."""
    return {
        "cpus": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": platform.platform(),
        "brokerdemo": brokerdemo.__version__,
        "brokers": scenario.brokers,
        "topics": [topic.flag() for topic in scenario.topics],
        "session_timeout_ms": scenario.session_timeout_ms,
        "certificates": scenario.certificates,
    }


def junit(result: Result) -> str:
    """One testcase for the story and one per threshold; a failure's message holds value and expression."""
    cases: list[tuple[str, str, str, float]] = []
    took_s = sum(run.story_ms for run in result.runs) / 1000
    story = next((run.trouble for run in result.runs if run.trouble), None)
    if story is None and result.trouble and result.trouble.kind == "could_not_run":
        story = result.trouble
    tag = "" if story is None else "error" if story.kind == "could_not_run" else "failure"
    cases.append(("story", tag, story.message if story else "", took_s))
    for verdict in result.verdicts:
        text = f"{_value(verdict.value)} (n={verdict.n}) does not meet {verdict.threshold.expr}"
        name = f"{verdict.threshold.metric} {verdict.threshold.expr}"
        cases.append(
            (name, "" if verdict.passed else "failure", text + (f"; {verdict.note}" if verdict.note else ""), 0.0)
        )
    suite = ElementTree.Element(
        "testsuite",
        name=f"brokerdemo.{result.scenario.name}",
        tests=str(len(cases)),
        failures=str(sum(1 for case in cases if case[1] == "failure")),
        errors=str(sum(1 for case in cases if case[1] == "error")),
        time=f"{took_s:.3f}",
    )
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in {"seed": result.seed, "repeat": result.repeat, **result.environment}.items():
        ElementTree.SubElement(properties, "property", name=str(key), value=str(value))
    for name, tag, text, seconds in cases:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"brokerdemo.{result.scenario.name}", name=name, time=f"{seconds:.3f}"
        )
        if tag:
            ElementTree.SubElement(case, tag, message=text.splitlines()[0] if text else "").text = text
    root = ElementTree.Element("testsuites")
    root.append(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def run_line(run: Run, repeat: int, paint: Paint) -> str:
    """`  run 1/5  recovery 31.2 ms  detect 11.0 ms ...  ok`."""
    shown: list[str] = [m for m in _STAGES if m in run.samples]
    shown = shown or [m for m in run.samples if m.endswith("_ms")][:3]
    values = "  ".join(f"{m.removesuffix('_ms')} {max(s.value for s in run.samples[m]):.1f}" for m in shown)
    end = paint("ok", "good") if run.trouble is None else paint(_END[run.trouble.kind], "bad")
    return f"  run {run.number}/{repeat}  {values}{' ms  ' if values else ''} {end}"


_STAGES = ("detect_ms", "elect_ms", "reassign_ms", "serve_ms", "recovery_ms")
_END = {"assertion": "FAILED", "threshold": "FAILED", "could_not_run": "COULD NOT RUN"}


def lines(result: Result, paint: Paint) -> list[str]:
    """Thresholds, metrics and what went wrong, for people."""
    found: list[str] = []
    if result.verdicts and not (result.trouble and result.trouble.kind == "could_not_run"):
        found.append("THRESHOLDS")
        found += [_verdict_line(verdict, paint) for verdict in result.verdicts]
    samples = {m: s for m, s in sorted(result.samples().items()) if s}
    if samples:
        found.append(f"{'METRICS':<20}{'min':>9}{'med':>9}{'p95':>9}{'max':>9}{'n':>5}")
        for metric, values in samples.items():
            row = summary(values, result.scenario.kind_of(metric))
            numbers = "".join(f"{_short(row[key]):>9}" for key in ("min", "med", "p95", "max"))
            found.append(f"  {metric:<18}{numbers}{row['n']!s:>5}")
    for run in result.runs:
        if run.trouble:
            found += ["", paint(f"run {run.number}, {run.trouble.phase}:", "bad"), *_indent(run.trouble.message)]
    if result.trouble and not any(run.trouble for run in result.runs) and result.trouble.kind == "could_not_run":
        found += ["", paint(f"{result.trouble.phase}:", "bad"), *_indent(result.trouble.message)]
    return found


def _verdict_line(verdict: Verdict, paint: Paint) -> str:
    mark = paint("pass", "good") if verdict.passed else paint("FAIL", "bad")
    more = f"n={verdict.n}" + (f" ({verdict.note})" if verdict.note else "")
    if not verdict.passed and verdict.worst is not None:
        more += f"   run {verdict.worst.run}" + (f", fault {verdict.worst.fault}" if verdict.worst.fault else "")
    return f"  {mark}  {verdict.threshold.metric:<18}{verdict.threshold.expr:<14}{_value(verdict.value):>10}   {more}"


def _indent(text: str) -> Sequence[str]:
    return [f"  {line}" for line in text.splitlines()]


def _value(value: float | None) -> str:
    return "no value" if value is None else _short(value)


def _short(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
