"""How a command ends: what each exit code means, and the one shape every error has.

Pure. An error says what happened, why, and what to do; the last line is something to type. The codes are part of the
interface (`brokerdemo --help` lists them): 10 is a regression of the product, 11 is trouble around it.
"""

from collections.abc import Mapping

from brokerdemo.cluster.errors import ClusterError, Code

ERROR_SCHEMA = "brokerdemo.error/1"

MEANING: Mapping[Code, str] = {
    Code.OK: "ok",
    Code.BUG: "a bug in brokerdemo",
    Code.USAGE: "usage",
    Code.NOT_FOUND: "no such cluster, broker or topic",
    Code.CONFLICT: "conflict: already running, port busy, lock held",
    Code.TIMED_OUT: "timed out waiting",
    Code.UNHEALTHY: "unhealthy (status --check)",
    Code.ENVIRONMENT: "environment (doctor, unsupported system)",
    Code.THRESHOLD: "scenario: a threshold or an assertion failed",
    Code.SCENARIO_BROKEN: "scenario: could not run",
    Code.INTERRUPTED: "interrupted",
}


class Interrupted(BaseException):
    """Ctrl-C, as an exception that the command line's own machinery does not swallow. `note` is said on the way out."""

    def __init__(self, note: str = "") -> None:
        super().__init__(note)
        self.note = note


class ReaderGone(BaseException):
    """Whoever read our output has seen enough (`| head`)."""


def error_lines(error: ClusterError) -> list[str]:
    """`error: what.` / `  why` / `  try: do`, each part only if there is one."""
    what = error.what if error.what.endswith((".", "?", "!")) else f"{error.what}."
    found = [f"error: {what}"]
    found += [f"  {line}" for line in error.why.splitlines()]
    found += [f"  {'try: ' if n == 0 else '     '}{line}" for n, line in enumerate(error.do.splitlines())]
    return found


def error_json(error: ClusterError) -> dict[str, object]:
    """The same for scripts; it goes to stdout in place of the result."""
    return {"schema": ERROR_SCHEMA, "error": error.to_json()}
