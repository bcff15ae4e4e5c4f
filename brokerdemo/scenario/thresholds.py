"""Thresholds: `max<500`, `p(95)<=200`, `count==0`. k6's grammar, read before anything runs.

In: the declared thresholds of a scenario and the metrics it may record.  Out: one Verdict per threshold.
Pure: knows no cluster, no clock, no files. Answers to k6's thresholds, with the surprises its users reported taken out:

(1) A metric nobody declared is an error before the run, never a threshold that silently passes.
(2) A threshold whose metric got no value fails: nothing was measured, so nothing was shown.
(3) A verdict always carries the expression, the value and the number of samples; `passed: true` means good.
(4) p(N) is the nearest rank, so it is always a value that was really measured; with few samples it equals the maximum,
    and the verdict says so.
"""

import math
import operator
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["ms", "count", "rate"]

# What a run measures without being asked; a scenario may declare more. The definitions are the documentation.
BUILT_IN: Mapping[str, tuple[Kind, str]] = {
    "detect_ms": ("ms", "from just before the signal to the controller knowing that the broker is gone"),
    "elect_ms": ("ms", "from detection to a new controller at a higher epoch; 0 when the controller lived"),
    "reassign_ms": ("ms", "from detection or election to the last new leader written"),
    "serve_ms": ("ms", "from the last new leader written to the last leader at work at its new epoch"),
    "recovery_ms": ("ms", "from just before the signal to the last affected partition being served again"),
    "rejoin_ms": ("ms", "from asking for a restart to the broker being registered again, one value per broker"),
    "in_sync_ms": ("ms", "from asking for a restart to every ISR the broker belongs to being full again"),
    "config_delay_ms": ("ms", "from writing a setting to a broker having applied it, one value per broker"),
    "leader_moves": ("count", "partitions that got another leader than before, each time, while the story ran"),
    "epoch_changes": ("count", "controller_elected events while the story ran"),
    "registrations": ("count", "broker_registered events while the story ran: sessions that were made anew"),
}

_AGGREGATIONS = "min avg med max count rate p(N)"
_EXPRESSION = re.compile(r"\s*(min|avg|med|max|count|rate|p\(\s*(\d+(?:\.\d+)?)\s*\))\s*(<=|>=|==|!=|<|>)\s*(\S+)\s*")
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class ThresholdError(ValueError):
    """A threshold that cannot be judged: wrong grammar, or a metric nobody records. The text says what to write."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured value and where it came from."""

    value: float
    run: int = 1
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Threshold:
    """`metric: aggregation op limit`, parsed. `expr` is the text as written, for reports."""

    metric: str
    expr: str
    aggregation: str
    percentile: float
    op: str
    limit: float

    def impossible(self) -> "Threshold":
        """The same threshold with a limit no value can meet: proves that the gate can fail."""
        op, limit = (">", math.inf) if self.op in (">", ">=") else ("<", -math.inf)
        return Threshold(self.metric, f"{self.aggregation}{op}{limit}", self.aggregation, self.percentile, op, limit)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one threshold. `value` is None when nothing was measured; `worst` is the sample furthest off."""

    threshold: Threshold
    value: float | None
    n: int
    passed: bool
    note: str = ""
    worst: Sample | None = None

    def as_json(self) -> dict[str, object]:
        row: dict[str, object] = {
            "metric": self.threshold.metric,
            "expr": self.threshold.expr,
            "value": self.value,
            "n": self.n,
            "passed": self.passed,
        }
        if self.note:
            row["note"] = self.note
        if self.worst is not None:
            row["worst"] = {"run": self.worst.run, "fault": self.worst.fault, "value": self.worst.value}
        return row


def parse_threshold(metric: str, expr: str) -> Threshold:
    """Read one expression; ThresholdError says what is wrong and what the grammar is."""
    match = _EXPRESSION.fullmatch(expr)
    if match is None:
        raise ThresholdError(
            f"{metric}: {expr!r} is not a threshold: write AGGREGATION OPERATOR NUMBER, as in 'p(95)<200'; "
            f"aggregations are {_AGGREGATIONS}"
        )
    aggregation, percentile, op, number = match.groups()
    try:
        limit = float(number)
    except ValueError:
        hint = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)", number)
        scale = {"ms": 1, "s": 1000, "m": 60_000}
        advice = f"write {float(hint[1]) * scale[hint[2]]:g}" if hint else "write a plain number"
        raise ThresholdError(f"{metric}: {number!r} in {expr!r} is not a number: {advice}") from None
    if percentile is not None and not 0 < float(percentile) <= 100:
        raise ThresholdError(f"{metric}: p({percentile}) does not exist: write p(0.1) to p(100)")
    return Threshold(
        metric, expr.strip(), re.sub(r"\s", "", aggregation), float(percentile) if percentile else 0.0, op, limit
    )


def parse_flag(text: str) -> Threshold:
    """The command line's form, `recovery_ms:p(95)<200`."""
    metric, colon, expr = text.partition(":")
    if not colon or not metric.strip():
        raise ThresholdError(f"{text!r}: write METRIC:EXPRESSION, as in 'recovery_ms:max<500'")
    return parse_threshold(metric.strip(), expr)


def parse_all(
    declared: Mapping[str, str | Sequence[str]], extra: Iterable[str] = (), *, metrics: Mapping[str, Kind]
) -> tuple[Threshold, ...]:
    """Every threshold of a run. `metrics` are the ones the scenario declares beside the built-in ones."""
    found: list[Threshold] = []
    for metric, written in declared.items():
        expressions = [written] if isinstance(written, str) else list(written)
        found += [parse_threshold(metric, expr) for expr in expressions]
    found += [parse_flag(text) for text in extra]
    for threshold in found:
        check_known(threshold, metrics)
    return tuple(found)


def check_known(threshold: Threshold, metrics: Mapping[str, Kind]) -> None:
    """Refuse a metric nobody records and an aggregation its kind has no meaning for."""
    known: dict[str, Kind] = {name: kind for name, (kind, _) in BUILT_IN.items()} | dict(metrics)
    kind = known.get(threshold.metric)
    if kind is None:
        raise ThresholdError(
            f"{threshold.metric}: nothing records this metric; there are {', '.join(sorted(known))}, "
            f"and a scenario adds its own with metrics={{'{threshold.metric}': 'ms'}}"
        )
    if threshold.aggregation == "rate" and kind != "rate":
        raise ThresholdError(f"{threshold.metric}: 'rate' is the share of true values; this metric is of kind {kind!r}")


def nearest_rank(values: Sequence[float], percentile: float) -> float:
    """The smallest measured value that at least `percentile` percent of the values do not exceed."""
    ordered = sorted(values)
    # The tiny term keeps 95 % of 20 at rank 19: 0.95 * 20 is a hair above 19 in binary.
    rank = math.ceil(percentile / 100 * len(ordered) - 1e-9)
    return ordered[max(rank, 1) - 1]


def aggregate(threshold: Threshold, values: Sequence[float], kind: Kind) -> float:
    """One number out of many. A `count` metric's count is its total; any other metric's is its number of values."""
    assert values
    match threshold.aggregation:
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "avg":
            return statistics.fmean(values)
        case "med":
            return statistics.median(values)
        case "rate":
            return sum(1 for value in values if value) / len(values)
        case "count":
            return sum(values) if kind == "count" else len(values)
        case _:
            return nearest_rank(values, threshold.percentile)


def judge(threshold: Threshold, samples: Sequence[Sample], kind: Kind) -> Verdict:
    """Hold one threshold against what was measured."""
    if not samples:
        return Verdict(threshold, None, 0, passed=False, note="nothing in the run measured it")
    values = [sample.value for sample in samples]
    value = aggregate(threshold, values, kind)
    note = ""
    if threshold.percentile and nearest_rank(values, threshold.percentile) == max(values) and len(values) > 1:
        note = f"{threshold.aggregation} of {len(values)} = max"
    pick = min if threshold.op in (">", ">=") else max
    worst = pick(samples, key=lambda sample: sample.value)
    return Verdict(threshold, value, len(values), _OPERATORS[threshold.op](value, threshold.limit), note, worst)


def summary(samples: Sequence[Sample], kind: Kind) -> dict[str, object]:
    """The row of a metric in result.json: n, min, med, p95, max (and the total of a counter) with its unit."""
    values = [sample.value for sample in samples]
    if not values:
        return {"n": 0, "unit": kind}
    row: dict[str, object] = {
        "n": len(values),
        "min": min(values),
        "med": statistics.median(values),
        "p95": nearest_rank(values, 95),
        "max": max(values),
        "unit": kind,
    }
    if kind == "count":
        row["total"] = sum(values)
    if kind == "rate":
        row["rate"] = sum(1 for value in values if value) / len(values)
    return row
