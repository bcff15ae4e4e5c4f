"""Options several commands share, spelled once; and the reading of their values.

Pure but for asking the supervisor. The parser hands over text and this file turns it into values, because its own
conversions would import a validation library that costs more than the command.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from brokerdemo.cluster.control import ControlClient
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.durations import parse_ms

COMPLETION_WITHIN_S = 0.05


def complete_targets(incomplete: str) -> list[str]:
    """What the cluster has to offer, for the shell; nothing if it does not answer at once, and never an error."""
    try:
        found = ControlClient.find(timeout_s=COMPLETION_WITHIN_S).call("targets").get("targets", ())
    except ClusterError:
        return []
    return [str(target) for target in found if str(target).startswith(incomplete)]


Json = Annotated[bool, typer.Option("--json", help="One JSON object (or one per line, for streams).")]
Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="TARGET",
        help="3, 1-3, controller, leader, leader:TOPIC/0, follower:TOPIC/0, random, coordinator, all.",
        show_default=False,
        autocompletion=complete_targets,
    ),
]
Within = Annotated[str, typer.Option("--within", metavar="DURATION", help="Exit 5 if it takes longer.")]


def client() -> ControlClient:
    """The supervisor this command means: `--cluster`, `$BROKERDEMO_CLUSTER`, or the only one running."""
    return ControlClient.find()


def duration_ms(text: str, option: str) -> int | None:
    """Milliseconds of an option's value; None when it was not given; usage error with the fix otherwise."""
    if not text:
        return None
    try:
        return parse_ms(text)
    except ValueError as error:
        raise usage(f"{option}: {error}", f"brokerdemo ... {option} 1500ms") from None


def pairs(words: Sequence[str], example: str) -> dict[str, str]:
    """`KEY=VALUE` words as a dict; usage error naming the word that is none."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise usage(f"{word!r} is not KEY=VALUE", example)
        found[key.strip()] = value
    return found


def usage(what: str, do: str) -> ClusterError:
    return ClusterError(Code.USAGE, what, "", do)


def examples(*lines: str) -> str:
    """An epilog. The backspace on a line of its own tells the help formatter to leave the paragraph's lines alone."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def with_schema(schema: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """A result as a script sees it: what it is comes first."""
    return {"schema": schema, **{key: item for key, item in value.items() if key != "schema"}}
