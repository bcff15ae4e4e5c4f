"""Scenarios: stories about faults, told to a real cluster and judged by thresholds.

    from brokerdemo.scenario import Cluster, scenario

The names are looked up when they are used: listing thresholds or collecting tests must not import an event loop.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brokerdemo.scenario.declare import Scenario, scenario
    from brokerdemo.scenario.dsl import Cluster, NotInTime, NotRecovered
    from brokerdemo.scenario.view import ConfigChange, Fault, Recovery, View

__all__ = ["Cluster", "ConfigChange", "Fault", "NotInTime", "NotRecovered", "Recovery", "Scenario", "View", "scenario"]

_HOMES = {
    "scenario": "declare", "Scenario": "declare", "Cluster": "dsl", "NotInTime": "dsl", "NotRecovered": "dsl",
    "ConfigChange": "view", "Fault": "view", "Recovery": "view", "View": "view",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
