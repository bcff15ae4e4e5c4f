"""/metrics for Prometheus.  Needs the extra `admin`.

In: Readings.  Out: the text exposition of every metric of the catalogue, under ZooKeeper's names, and of the process.
Imported only when it is switched on.  Answers to ZooKeeper's PrometheusMetricsProvider (3.9).

(1) Names are ZooKeeper's to the letter: a counter there has no suffix `_total`, so it has none here.
"""

import math
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from coordination.server import metrics
from coordination.server.config import MetricsSettings
from coordination.server.http_guard import Application, Guard
from coordination.server.readings import Readings
from coordination.state.summary import Summary

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_QUANTILES = {metrics.BASIC: ("0.5",), metrics.ADVANCED: ("0.5", "0.9", "0.99")}


def application(
    settings: MetricsSettings, readings: Readings, failed: Callable[[BaseException], None] = lambda error: None
) -> Application:
    """The guarded application."""
    registry = CollectorRegistry()
    registry.register(_Catalogue(readings))
    ProcessCollector(registry=registry)

    async def page(_: Request) -> Response:
        return Response(exposition(registry), headers={"Content-Type": CONTENT_TYPE})

    return Guard(Starlette(routes=[Route("/metrics", page)]), settings.allowed_hosts, failed)


def exposition(registry: CollectorRegistry) -> bytes:
    """The text.  The client library writes `_total` behind a counter's name where it names the type; its samples carry
    the names they were given, and the two must agree.
    """
    lines = generate_latest(registry).decode().split("\n")
    for at, line in enumerate(lines):
        if line.startswith("# ") and not line.startswith(("# HELP process_", "# TYPE process_")):
            mark, kind, name, rest = line.split(" ", 3)
            lines[at] = f"{mark} {kind} {name.removesuffix('_total')} {rest}"
    return "\n".join(lines).encode()


class _Catalogue(Collector):
    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        for name, kind, value in metrics.collect(self._readings):
            if isinstance(value, Summary):
                metric = Metric(name, name, "summary")
                for quantile in _QUANTILES[kind]:
                    measured = value.percentile(float(quantile)) if value.count else math.nan
                    metric.add_sample(name, {"quantile": quantile}, measured)
                metric.add_sample(f"{name}_count", {}, value.count)
                metric.add_sample(f"{name}_sum", {}, value.total)
            elif isinstance(value, dict):
                metric = Metric(name, name, "gauge" if kind == metrics.GAUGE_SET else "counter")
                for namespace, number in value.items():
                    metric.add_sample(name, {"key": namespace}, number)
            else:
                metric = Metric(name, name, kind)
                metric.add_sample(name, {}, value)
            yield metric
