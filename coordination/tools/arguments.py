"""Command lines of the tools: the standard library's argparse, with our exit codes and hints.

In: argv.  Out: a namespace; or exit code 2 and a last line that says what to do.
Knows no command.  (Not typer: these commands are health checks and script steps, and must start in milliseconds.)
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from coordination.tools import words


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: what happened, then what to do."""

    def __init__(self, prog: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._as_json = False

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        # Whoever asked for JSON gets a usage error as JSON too, and that may come before --json was parsed.
        self._as_json = self._as_json or "--json" in (args or ())
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise SystemExit(fail(message, f"{self.prog} --help", as_json=self._as_json))


def fail(message: str, hint: str = "", exit_code: int = words.EXIT_USAGE, as_json: bool = False) -> int:
    """Say an error, on stderr for people and on stdout for programs that asked for JSON; gives the exit code."""
    if as_json:
        print(json.dumps({"error": {"message": message, "hint": hint, "exit_code": exit_code}}))
    sys.stderr.write(f"error: {message}\n")
    if hint:
        sys.stderr.write(f"  try: {hint}\n")
    return exit_code
