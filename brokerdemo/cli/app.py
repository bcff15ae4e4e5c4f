"""The command tree, and the edge where every outcome becomes an exit code.

In: argv.  Out: an exit code. Each group of commands is a file with an `add(app)`; only the file of the command asked
for is imported (all of them for `--help`). Global flags may stand anywhere on the line: people type them at the end.

(1) ClusterError -> its own code and text; Ctrl-C -> 130; a closed pipe (`| head`) is no error; anything else is our
    bug, code 1, with its traceback and how to report it.
"""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from types import FrameType
from typing import Annotated

import typer

from brokerdemo.cli import exits, screen
from brokerdemo.cluster.errors import ClusterError, Code

# Command -> the file that holds it, in the order of `--help`.
FILES: Mapping[str, str] = {
    "up": "up",
    "status": "status",
    "ps": "status",
    "kill": "faults",
    "pause": "faults",
    "resume": "faults",
    "restart": "faults",
    "down": "down",
    "events": "events",
    "timeline": "timeline",
    "logs": "logs",
    "topics": "topics",
    "config": "config",
    "scenario": "scenarios",
    "doctor": "doctor",
    "version": "doctor",
}

_FLAGS = ("--no-color", "--ascii", "--quiet", "-q")

EPILOG = "\n".join(
    [
        "\b",
        "Examples:",
        "  brokerdemo up -n 5                # here, in the foreground",
        "  brokerdemo kill controller        # in a second terminal: time the failover",
        "  brokerdemo scenario run kill_master --repeat 5",
        "",
        "\b",
        "Exit codes:",
        *(f"  {code.value:>3}  {meaning}" for code, meaning in exits.MEANING.items()),
        "",
        "NO_COLOR, FORCE_COLOR, BROKERDEMO_HOME and BROKERDEMO_CLUSTER are honoured.",
    ]
)


def build(command: str | None) -> typer.Typer:
    """The app with the group of `command`, or with every group when that is no command (help, a typing error)."""
    app = typer.Typer(
        name="brokerdemo",
        help="A Kafka-style broker cluster on a ZooKeeper-compatible service. Kill brokers, see failover in ms.",
        epilog=EPILOG,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        add_completion=command not in FILES,
    )
    app.callback()(_globals)
    known = FILES.get(command or "")
    files = [known] if known else list(dict.fromkeys(FILES.values()))
    for file in files:
        importlib.import_module(f"brokerdemo.cli.{file}").add(app)
    return app


def _globals(
    cluster: Annotated[
        str, typer.Option("--cluster", metavar="NAME", help="Which cluster (needed if several run).")
    ] = "",
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours, as with NO_COLOR.")] = False,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="ASCII characters only.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and hints on stderr.")] = False,
) -> None:
    if cluster:
        os.environ["BROKERDEMO_CLUSTER"] = cluster
    screen.use(screen.look_from(os.environ, sys.stdout, no_colour=no_color, ascii_only=ascii_only, quiet=quiet))


def globals_first(argv: list[str]) -> list[str]:
    """The same line with the global flags in front, where the parser wants them. Nothing after `--` is touched."""
    front: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in _FLAGS or word.startswith("--cluster="):
            front.append(word)
        elif word == "--cluster":
            front.append(word)
            front += [value] if (value := next(words, None)) is not None else []
        else:
            rest.append(word)
    return front + rest


def command_of(argv: list[str]) -> str | None:
    """The first word that is no global flag or its value."""
    words = iter(argv)
    for word in words:
        if word == "--cluster":
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


def run(argv: list[str] | None = None) -> int:
    """Parse and do; never raises but for a bug in itself."""
    line = globals_first(sys.argv[1:] if argv is None else argv)
    completing = any(name.endswith("_COMPLETE") and "BROKERDEMO" in name for name in os.environ)
    app = build(None if completing else command_of(line))
    signal.signal(signal.SIGINT, _interrupt)
    try:
        app(args=line, prog_name="brokerdemo")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except ClusterError as error:
        fail(error, as_json="--json" in line)
        return error.code
    except exits.Interrupted as stop:
        screen.say(stop.note)
        return Code.INTERRUPTED
    except exits.ReaderGone:
        # The reader of our output is gone; the interpreter would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Code.OK
    except Exception:
        traceback.print_exc()
        sys.stderr.write(
            "\nerror: this is a bug in brokerdemo.\n"
            "  try: report the lines above with the output of: brokerdemo doctor --json\n"
        )
        return Code.BUG
    return Code.OK


def fail(error: ClusterError, *, as_json: bool) -> None:
    """Print an error where it belongs: for people on stderr; for scripts also as an object on stdout."""
    first, *others = exits.error_lines(error)
    sys.stdout.flush()
    sys.stderr.write(screen.paint_err("error:", "bad") + first.removeprefix("error:") + "\n")
    sys.stderr.writelines(line + "\n" for line in others)
    if as_json:
        screen.emit(exits.error_json(error))


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise exits.Interrupted()
