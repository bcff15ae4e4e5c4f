"""Cluster errors: what happened, why, what to do; and the exit code a command ends with.

Pure values, the same in the supervisor, on the control socket and in the command line. Stdlib only.

(1) `do` is always an action the reader can take; it is the last line printed.
(2) The codes are documented in `--help` and never change their meaning.
"""

import enum
from collections.abc import Mapping
from typing import Any


class Code(enum.IntEnum):
    """Exit codes of every command."""

    OK = 0
    BUG = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    TIMED_OUT = 5
    UNHEALTHY = 6
    ENVIRONMENT = 7
    THRESHOLD = 10
    SCENARIO_BROKEN = 11
    INTERRUPTED = 130


class ClusterError(Exception):
    """Something a person can act on. `str()` is the three parts on three lines."""

    def __init__(
        self, code: int, what: str, why: str = "", do: str = "", *, result: Mapping[str, Any] | None = None
    ) -> None:
        self.code = int(code)
        self.what = what
        self.why = why
        self.do = do
        self.result = None if result is None else dict(result)
        """What is known all the same, e.g. the fault's stages so far when waiting for the rest timed out."""
        super().__init__("\n  ".join(part for part in (what, why, f"try: {do}" if do else "") if part))

    def to_json(self) -> dict[str, Any]:
        """The object of the control protocol."""
        said: dict[str, Any] = {"code": self.code, "what": self.what, "why": self.why, "do": self.do}
        if self.result is not None:
            said["result"] = self.result
        return said

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "ClusterError":
        """Read `to_json` back; missing parts become empty, so an answer of another version still reads."""
        return cls(
            int(said.get("code", Code.BUG)),
            str(said.get("what", "an error without a text")),
            str(said.get("why", "")),
            str(said.get("do", "")),
            result=said.get("result"),
        )


def cause(error: BaseException) -> ClusterError | None:
    """The ClusterError in an exception or in a group of them; None when there is none: then it is a bug."""
    if isinstance(error, ClusterError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := cause(inner)) is not None), None)
    return None
