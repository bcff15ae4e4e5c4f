"""What a verb of the shell is, and how it fails.

In: a parsed command line and a client.  Out: lines and fields in an `Output`, or a `VerbError`.
Knows no particular verb.  Answers to ZooKeeper's CliCommand and CliException.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from coordination.errors import KeeperError
from coordination.tools import words
from coordination.tools.client import Client
from coordination.tools.java_options import Options, Parsed
from coordination.tools.output import Output

_NUMBER = re.compile(r"[+-]?[0-9]{1,40}")


class VerbError(Exception):
    """A verb was not done: its first line in ZooKeeper's words, then what to do about it."""

    def __init__(self, message: str, exit_code: int = words.EXIT_USAGE, hint: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.hint = hint

    def fields(self) -> dict[str, object]:
        return {"error": {"message": str(self), "hint": self.hint, "exit_code": self.exit_code}}


def refused(error: KeeperError, verb: str) -> VerbError:
    """A refusal of the service as the shell says it."""
    return VerbError(words.keeper_error(error), words.exit_code(error), words.advice(error, verb))


def as_given(text: str) -> bytes:
    """The bytes of a word; also of one that is not UTF-8, which Python hands over in disguise."""
    return text.encode(errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a verb."""

    verb: "Verb"
    words: Parsed
    client: Client
    out: Output
    stay: Callable[[int], None]
    """Wait for that many events (0: until interrupted) while they are printed."""

    @property
    def path(self) -> str:
        return self.words.args[0]

    def argument(self, at: int) -> str | None:
        return self.words.args[at] if len(self.words.args) > at else None

    def has(self, option: str) -> bool:
        return self.words.has(option)

    def integer(self, option: str, default: int, what: str, *, bits: int = 32) -> int:
        """The value of `option` as a number of Java's, of so many bits; VerbError with `what` when it is none."""
        text = self.words.options.get(option)
        if text is None:
            return default
        number = int(text) if _NUMBER.fullmatch(text) else None
        if number is None or not -(1 << bits - 1) <= number < 1 << bits - 1:
            raise VerbError(what)
        return number

    def usage_error(self) -> VerbError:
        return VerbError(self.verb.usage_text())


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of the shell."""

    name: str
    usage: str
    """What stands behind the name, as ZooKeeper's shell prints it."""
    run: Callable[[Call], None]
    options: Options = field(default_factory=Options)
    arguments_min: int = 0
    option_lines: tuple[str, ...] = ()
    watch_as_word: str = ""
    """The new form of `ls PATH watch`, for verbs that have the old one."""

    def usage_text(self) -> str:
        head = f"{self.name} {self.usage}"
        return "\n".join((head, *self.option_lines, "")) if self.option_lines else head
