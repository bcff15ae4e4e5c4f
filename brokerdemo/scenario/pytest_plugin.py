"""The pytest plugin: the fixtures `brokers` and `zookeeper`, and the files in `scenarios/` as tests.

    def test_my_consumer_survives(brokers):
        fault = brokers.kill("leader:demo/0")
        assert brokers.recovered(fault, within="2s").serving_ms < 500

In: pytest's hooks.  Out: fixtures and items. Loaded into every pytest run of an environment that has brokerdemo, so it
imports pytest and stdlib only, opens nothing and collects nothing unless it is used.

(1) The fixtures are synchronous and speak to an out-of-process supervisor, so they serve sync, asyncio and trio tests.
(2) One cluster per distinct shape (`@pytest.mark.brokers(n=5, session_timeout="1s")`) and per worker process, started
    when the first test asks, with ports chosen by the system; ended with the session, also after Ctrl-C.
(3) After each test every fault is healed, the test's topics are deleted and the steady state is asserted; a test that
    left the cluster unable to recover is the one that fails, and the next gets a new cluster.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from brokerdemo.scenario.brokers_fixture import Brokers, Clusters, ZooKeeper
    from brokerdemo.scenario.declare import Scenario

_MARKER = (
    "brokers(n=5, session_timeout='1500ms', topics={'demo': (6, 3)}, certificates=True): "
    "the cluster the `brokers` fixture gives"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("brokerdemo", "broker clusters and scenarios")
    group.addoption("--brokers-keep", action="store_true", help="leave the clusters of `brokers` running")
    group.addoption("--zookeeper", metavar="HOSTS", help="run tests that use `zookeeper` against this ensemble")
    group.addoption("--scenario-repeat", type=int, metavar="N", help="run each scenario N times")
    group.addoption("--scenario-seed", type=int, metavar="N", help="seed of the scenarios' choices")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)


# ---- scenarios as tests ----------------------------------------------------------------------------------------------


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "ScenarioFile | None":
    """Files in a directory called `scenarios` that speak of us; every other file costs two string comparisons."""
    if file_path.suffix != ".py" or file_path.parent.name != "scenarios":
        return None
    if file_path.name.startswith(("_", "test_")) or file_path.name == "conftest.py":
        return None
    if b"brokerdemo.scenario" not in file_path.read_bytes():
        return None
    return ScenarioFile.from_parent(parent, path=file_path)


class ScenarioFile(pytest.File):
    """A file of scenarios: one test each."""

    def collect(self) -> Iterable["ScenarioItem"]:
        from brokerdemo.cluster.errors import ClusterError
        from brokerdemo.scenario.runner import load_file

        try:
            found = load_file(self.path)
        except ClusterError as error:
            raise self.CollectError(str(error)) from error
        for scenario in found:
            yield ScenarioItem.from_parent(self, name=scenario.name, scenario=scenario)


class ScenarioItem(pytest.Item):
    """One scenario as a test: runs it as often as it declares and judges its thresholds."""

    def __init__(self, *, scenario: "Scenario", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scenario = scenario
        # Other plugins (pytest-trio's automatic mode) look at every item's function: ours is a synchronous one.
        self.obj = self.runtest

    def runtest(self) -> None:
        from brokerdemo.scenario import report, runner

        options = runner.RunOptions(
            repeat=self.config.getoption("--scenario-repeat"), seed=self.config.getoption("--scenario-seed")
        )
        result = runner.run(self.scenario, options)
        for metric, samples in result.samples().items():
            self.user_properties.append((metric, [sample.value for sample in samples]))
        self.user_properties.append(("brokerdemo_result", str(result.directory / "result.json")))
        if result.trouble:
            text = "\n".join(report.lines(result, lambda text, role: text))
            raise ScenarioFailed(f"{self.name}: {result.trouble.kind}\n{text}\nresults {result.directory}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, ScenarioFailed):
            return str(excinfo.value)  # the report; a traceback through the runner would say nothing
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"scenario {self.name}"


class ScenarioFailed(Exception):
    """The text is the scenario's report."""


# ---- fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _broker_clusters(request: pytest.FixtureRequest) -> Iterator["Clusters"]:
    from brokerdemo.scenario.brokers_fixture import Clusters

    clusters = Clusters(keep=request.config.getoption("--brokers-keep"))
    try:
        yield clusters
    finally:
        clusters.close()


@pytest.fixture
def brokers(request: pytest.FixtureRequest, _broker_clusters: "Clusters") -> Iterator["Brokers"]:
    """A running broker cluster in its steady state; whatever the test breaks is healed after it."""
    marker = request.node.get_closest_marker("brokers")
    found = _broker_clusters.get(**(marker.kwargs if marker else {}))
    yield found
    trouble = _broker_clusters.clean_up(found)
    if trouble:
        pytest.fail(f"the test left the cluster unable to recover:\n{trouble}", pytrace=False)


@pytest.fixture(scope="session")
def _zookeeper_server(request: pytest.FixtureRequest) -> Iterator["ZooKeeper"]:
    from brokerdemo.scenario.brokers_fixture import ZooKeeper, zookeeper_server

    given = request.config.getoption("--zookeeper")
    if given:
        yield ZooKeeper(hosts=given, external=True)
        return
    with zookeeper_server() as server:
        yield server


@pytest.fixture
def zookeeper(_zookeeper_server: "ZooKeeper") -> Iterator["ZooKeeper"]:
    """A coordination service for users of kazoo: `KazooClient(zookeeper.hosts)`. Each test gets a chroot of its own."""
    with _zookeeper_server.for_test() as own:
        yield own
