"""The command `coordination`: `serve`, and what an operator needs around it.

In: an argument list.  Out: an exit code.  Thin: parse, call one plain function, say what went wrong.
Built on argparse and late imports: a server's start-up time is part of a cluster's.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from coordination.tools.commands import COMMANDS
from coordination.tools.commands import run as run_tool

EXIT_USAGE = 2
JAVA_INT_MAX, PORT_MAX = (1 << 31) - 1, 65535  # as config_reader's, which only `serve` needs


def milliseconds(text: str) -> int:
    """`1500`, `1500ms` or `2s` as ms."""
    number, factor = text, 1.0
    if text.endswith("ms"):
        number = text[:-2]
    elif text.endswith("s"):
        number, factor = text[:-1], 1000.0
    try:
        value = int(float(number) * factor)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 1500, 1500ms or 2s") from None
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be more than zero")
    if value > JAVA_INT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is more than a client can be told: {JAVA_INT_MAX}ms at most")
    return value


def port_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= PORT_MAX):
        raise argparse.ArgumentTypeError(f"{text!r} is no port; a port is a number from 0 to {PORT_MAX}")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="coordination", description="A coordination server that speaks ZooKeeper's protocol."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve in the foreground until SIGTERM")
    serve.add_argument("--config", type=Path, metavar="zoo.cfg", help="settings as Apache ZooKeeper's")
    serve.add_argument("--props", type=Path, metavar="FILE", help="key=value lines, what Java is given as -D")
    serve.add_argument("--host", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=port_number, help="client port (2181); 0 lets the system choose")
    serve.add_argument("--data", type=Path, metavar="DIR", help="where the log and the snapshots lie")
    serve.add_argument("--in-memory", action="store_true", help="keep nothing")
    serve.add_argument("--ready-fd", type=int, metavar="N", help="write 'ready PORT' there once it serves")
    serve.add_argument("--4lw", dest="words", metavar="all|srvr,...", help="four letter words to answer (srvr)")
    serve.add_argument("--tick-time", dest="tick_time_ms", type=milliseconds, metavar="2000ms")
    serve.add_argument("--min-session-timeout", dest="min_session_timeout_ms", type=milliseconds, metavar="4000ms")
    serve.add_argument("--max-session-timeout", dest="max_session_timeout_ms", type=milliseconds, metavar="40s")
    serve.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    serve.add_argument("--log-file", type=Path, metavar="FILE", help="JSON lines; rotates, see log.maxfilesize")
    serve.set_defaults(run=_serve)
    for name, (_, what) in COMMANDS.items():
        commands.add_parser(name, help=what, add_help=False)
    return parser


def _serve(options: argparse.Namespace) -> int:
    from coordination.server.config import ConfigError, build
    from coordination.server.properties import decode, lines_of, parse_properties

    given: dict[str, Any] = vars(options)
    places: dict[str, str] = {}

    def read(file: Path) -> dict[str, str]:
        text = decode(file.read_bytes())
        for key, line in lines_of(text).items():
            places.setdefault(key.removeprefix("-D").removeprefix("zookeeper."), f"{file}:{line}")  # the first one wins
        return parse_properties(text)

    try:
        zoo_cfg = read(options.config) if options.config else {}
        dynamic_file = zoo_cfg.get("dynamicConfigFile")
        dynamic = read(Path(dynamic_file)) if dynamic_file else None
        my_id = _my_id(zoo_cfg.get("dataDir"))
        properties = read(options.props) if options.props else {}
        login = "java.security.auth.login.config"
        jaas_file = properties.get(login) or properties.get("-D" + login)
        jaas_text = Path(jaas_file).read_text() if jaas_file else None
        config = build(zoo_cfg, properties, given, jaas_text=jaas_text, dynamic=dynamic, my_id=my_id, places=places)
    except (OSError, UnicodeDecodeError) as error:
        print(f"Cannot read the settings: {error}. Check the paths given, and those inside the files.", file=sys.stderr)
        return EXIT_USAGE
    except ConfigError as error:
        print(f"Cannot use the settings: {error.located(places)}", file=sys.stderr)
        return EXIT_USAGE
    from coordination.server.logs import open_journal
    from coordination.server.main import run

    try:
        journal = open_journal(config.log, options.log_level, config.audit)
    except ConfigError as error:
        print(f"Cannot use the settings: {error.located(places)}", file=sys.stderr)
        return EXIT_USAGE
    return run(config, ready_fd=options.ready_fd, journal=journal)


def _my_id(data_dir: str | None) -> str | None:
    """The first line of the file by which a member of an ensemble knows itself; None: there is none."""
    file = None if data_dir is None else Path(data_dir, "myid")
    return file.read_text().partition("\n")[0].rstrip("\r") if file is not None and file.is_file() else None


def preload() -> None:
    """Import what `serve` will need: for a process that forks servers, so that they start in milliseconds."""
    import coordination.server.config
    import coordination.server.logs
    import coordination.server.main  # noqa: F401


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] in COMMANDS:
        return run_tool(words[0], words[1:])
    options = build_parser().parse_args(words)
    code: int = options.run(options)
    return code
