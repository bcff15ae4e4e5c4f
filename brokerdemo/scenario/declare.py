"""What a scenario declares: the cluster it needs and how its run is judged. Nothing here runs anything.

In: the arguments of `@scenario(...)`.  Out: a frozen Scenario that the runner, the command line and pytest read.
No trio, no cluster: listing scenarios stays cheap, and a wrong declaration fails when the file is imported.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from brokerdemo.durations import parse_ms
from brokerdemo.scenario.thresholds import BUILT_IN, Kind, Threshold, parse_all

if TYPE_CHECKING:
    from brokerdemo.scenario.dsl import Cluster

Story = Callable[["Cluster"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic a scenario starts with."""

    name: str
    partitions: int
    rf: int

    def flag(self) -> str:
        """As `up --topic` takes it."""
        return f"{self.name}:{self.partitions}:{self.rf}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One story: an async function, the cluster it wants, the thresholds it is judged by."""

    name: str
    story: Story
    brokers: int
    topics: tuple[Topic, ...]
    session_timeout_ms: int
    certificates: bool
    thresholds: tuple[Threshold, ...]
    metrics: Mapping[str, Kind]
    repeat: int
    seed: int
    timeout_ms: int
    file: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def doc(self) -> str:
        """The story's docstring, ready to print."""
        return inspect.getdoc(self.story) or ""

    @property
    def title(self) -> str:
        """The docstring's first sentence."""
        return " ".join(self.doc.split("\n\n")[0].split())

    def kind_of(self, metric: str) -> Kind:
        """The kind of a declared or built-in metric; KeyError for any other."""
        return self.metrics[metric] if metric in self.metrics else BUILT_IN[metric][0]

    async def __call__(self, cluster: "Cluster") -> None:
        """Tell the story on a running cluster; the runner does the rest around it."""
        await self.story(cluster)


def scenario(
    *,
    brokers: int = 5,
    topics: Mapping[str, tuple[int, int]] | None = None,
    session_timeout: str = "1500ms",
    certificates: bool = True,
    thresholds: Mapping[str, str | Sequence[str]] | None = None,
    metrics: Mapping[str, Kind] | None = None,
    repeat: int = 1,
    seed: int = 42,
    timeout: str = "30s",
    settings: Mapping[str, str] | None = None,
) -> Callable[[Story], Scenario]:
    """Make an async function a scenario.

    brokers: how many.  topics: name -> (partitions, replication factor); without it, `demo` with 6 partitions.
    session_timeout, timeout: durations; the second bounds one run of the story.  certificates: False shows the session
    timeout at work.  thresholds: metric -> expression(s).  metrics: the scenario's own metrics and their kinds.
    settings: cluster-wide config, written before the story.  Raises ThresholdError or ValueError at import time.
    """
    if brokers < 1:
        raise ValueError(f"brokers={brokers}: a scenario needs at least one broker")
    own = dict(metrics or {})
    clash = sorted(set(own) & set(BUILT_IN))
    if clash:
        raise ValueError(f"metrics: {', '.join(clash)} is measured by every run already; choose another name")
    wanted = (("demo", (6, min(3, brokers))),) if topics is None else tuple(topics.items())

    def declare(story: Story) -> Scenario:
        if not inspect.iscoroutinefunction(story):
            raise ValueError(f"{getattr(story, '__name__', story)!r} must be an async function that takes a Cluster")
        return Scenario(
            name=story.__name__,
            story=story,
            brokers=brokers,
            topics=tuple(Topic(name, partitions, rf) for name, (partitions, rf) in wanted),
            session_timeout_ms=parse_ms(session_timeout),
            certificates=certificates,
            thresholds=parse_all(thresholds or {}, metrics=own),
            metrics=own,
            repeat=repeat,
            seed=seed,
            timeout_ms=parse_ms(timeout),
            file=Path(inspect.getsourcefile(story) or "?"),
            settings=dict(settings or {}),
        )

    return declare
