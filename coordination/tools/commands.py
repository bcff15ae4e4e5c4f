"""The commands of this room, by name: what `coordination` looks up when the first word is none of its own.

In: argv.  Out: an exit code.  Imports a command's module only to run it.
"""

import errno
import io
import os
import sys
from importlib import import_module
from typing import TextIO

# name -> (module with `run(argv) -> int`, one line of help)
COMMANDS = {
    "cli": ("coordination.tools.cli", "a shell for any ZooKeeper server, with zkCli.sh's verbs"),
    "4lw": ("coordination.tools.four_letter_words", "send a four letter word: ruok, srvr, stat, mntr, conf, ..."),
    "digest": ("coordination.tools.digest", "USER:PASSWORD as the digest an ACL holds"),
    "log": ("coordination.tools.logs", "dump, verify or truncate transaction logs"),
    "snapshot": ("coordination.tools.snapshots", "dump, verify, compare or convert snapshots"),
    "doctor": ("coordination.tools.doctor", "examine a data directory: lock, logs, snapshots, gaps, space"),
}

EXIT_NO_ROOM = 7  # words.EXIT_ENVIRONMENT, which is not imported here: the command's own help starts without it
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def run(name: str, argv: list[str]) -> int:
    """Run the command called `name`, which must be in `COMMANDS`; its exit code."""
    # Both are None where the caller closed them (`>&-`).
    out: TextIO | None = sys.stdout
    err: TextIO | None = sys.stderr
    sys.stdout = out or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = err or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a terminal that cannot show a character is no reason to fail
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # values and passwords need not be UTF-8, as in argv
    module = import_module(COMMANDS[name][0])
    try:
        code: int = module.run(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of a pipe went away, as `head` does: not an error, and the exit must not try to write again.
        _write_no_more()
        return 0
    except OSError as error:
        if error.errno not in (*NO_ROOM, errno.EIO):
            raise
        _write_no_more()
        sys.stderr.write(f"error: the output could not be written: {error.strerror}\n  try: free some space: df .\n")
        return EXIT_NO_ROOM
    return code


def _write_no_more() -> None:
    """What is still in the buffer of stdout goes nowhere at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
