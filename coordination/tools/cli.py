"""`coordination cli`: ZooKeeper's shell, as one command or at a terminal.

In: argv.  Out: what the verbs print; the exit code of the last one.
Answers to zkCli.sh and the options of ZooKeeperMain.

(1) Options of the command stand before the verb; `--json` may also stand behind it.
"""

import os
import re
import ssl
import sys
from argparse import REMAINDER, Namespace
from collections.abc import Callable

from coordination.errors import CoordinationError, KeeperError
from coordination.tools import connect_string, words
from coordination.tools.arguments import Parser, fail
from coordination.tools.client import Client
from coordination.tools.output import Output
from coordination.tools.shell import QuitError, Settings, Shell
from coordination.tools.verb import as_given
from coordination.tools.watch_table import Event

DEFAULT_CONNECT = "localhost:2181"
_EPILOG = """\
examples:
  coordination cli ls -R /
  coordination cli -c 10.0.0.1:2181,10.0.0.2:2181/app create -e /member data
  coordination cli --json get /config | jq .data
  coordination cli watch -R /                # prints every change until Ctrl-C
  coordination cli                           # a shell: `help` lists the verbs, Tab completes

exit codes: 0 done, 2 usage, 3 no such znode, 4 refused by the service, 5 no answer, 130 interrupted"""


def _parser() -> Parser:
    parser = Parser("coordination cli", "A shell for any ZooKeeper server, with zkCli.sh's verbs and flags.", _EPILOG)
    default = os.environ.get("COORDINATION_CONNECT", DEFAULT_CONNECT)
    parser.add_argument(
        "-c", "--connect", "-server", metavar="HOST:PORT,.../CHROOT", default=default,
        help=f"servers and chroot; default $COORDINATION_CONNECT or {DEFAULT_CONNECT}",
    )  # fmt: skip
    parser.add_argument(
        "--session-timeout", "-timeout", metavar="30s", default="30s", help="session timeout; a bare number is ms"
    )
    parser.add_argument("--connect-timeout", metavar="10s", default="10s", help="how long to try to connect")
    parser.add_argument("-r", "--read-only", action="store_true", help="a server without a quorum will do")
    parser.add_argument("-waitforconnection", action="store_true", help="accepted for zkCli.sh's sake: always done")
    parser.add_argument("--auth", action="append", default=[], metavar="SCHEME:CREDENTIAL", help="like addauth, first")
    parser.add_argument("--json", action="store_true", help="one JSON object per command, on stdout")
    parser.add_argument("--tls", action="store_true", help="TLS, to the server's secureClientPort")
    parser.add_argument("--tls-ca", metavar="PEM", help="certificates to trust; default the system's")
    parser.add_argument("--tls-cert", metavar="PEM", help="the client's own certificate")
    parser.add_argument("--tls-key", metavar="PEM", help="its key, if not in the same file")
    parser.add_argument("--tls-no-hostname", action="store_true", help="do not check the host name in the certificate")
    parser.add_argument("command", nargs=REMAINDER, metavar="COMMAND", help="a verb and its words; none: a shell")
    return parser


def run(argv: list[str]) -> int:
    """The command; its exit code."""
    options = _parser().parse_args(argv)
    command: list[str] = options.command
    as_json = bool(options.json)
    if "--json" in command and "--" not in command[: command.index("--json")]:
        command.remove("--json")
        as_json = True
    try:
        session_ms = duration_ms(options.session_timeout, bare_ms=True)
        connect_s = duration_ms(options.connect_timeout) / 1000
        tls = _tls(options)
    except (ValueError, OSError) as error:
        return fail(str(error), "coordination cli --help", as_json=as_json)
    out = Output(as_json)
    settings = Settings(_maker(session_ms, options.read_only, tls), connect_s, state_events=not command)
    shell = Shell(options.connect, settings, out)
    terminal = not command and sys.stdin.isatty()
    if terminal:
        print(f"Connecting to {options.connect}")
    try:
        return _converse(shell, options.auth, command, terminal)
    except KeyboardInterrupt:
        return words.EXIT_INTERRUPTED
    finally:
        shell.settings = settings
        shell.print_watches = False
        shell.close()


def _converse(shell: Shell, auths: list[str], command: list[str], terminal: bool) -> int:
    as_json = shell.out.as_json
    try:
        shell.connect(shell.host)
        for each in auths:
            scheme, _, credential = each.partition(":")
            assert shell.client is not None
            shell.client.add_auth(scheme, as_given(credential))
    except KeeperError as error:
        message = f"no session with {shell.host}: {error.args[0]}"
        hint = "is the server up? start one: coordination serve --in-memory, or name it: coordination cli -c HOST:PORT"
        return fail(message, hint, words.exit_code(error), as_json)
    except CoordinationError as error:
        return fail(str(error), "coordination cli -c HOST:PORT", as_json=as_json)
    if command:
        try:
            return shell.run_words(command)
        except QuitError:
            return words.EXIT_OK
    from coordination.tools import line

    return line.run_terminal(shell) if terminal else line.run_stream(shell)


def _maker(
    session_ms: int, read_only: bool, tls: ssl.SSLContext | None
) -> Callable[[connect_string.ConnectString, Callable[[Event], None]], Client]:
    def make(where: connect_string.ConnectString, on_event: Callable[[Event], None]) -> Client:
        return Client(where, session_timeout_ms=session_ms, read_only=read_only, tls=tls, on_event=on_event)

    return make


def _tls(options: Namespace) -> ssl.SSLContext | None:
    if not (options.tls or options.tls_ca or options.tls_cert):
        return None
    context = ssl.create_default_context(cafile=options.tls_ca)
    if options.tls_no_hostname:
        context.check_hostname = False
    if options.tls_cert:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    return context


_DURATION_MS_MAX = (1 << 31) - 1
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|)")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "": 1}


def duration_ms(text: str, bare_ms: bool = False) -> int:
    """`250ms`, `2s`, `1m`; a bare number only where ZooKeeper's own tool takes milliseconds. ValueError otherwise."""
    match = _DURATION.fullmatch(text)
    if match is None or (not match[2] and not bare_ms):
        raise ValueError(f'"{text}" is no duration; write 250ms, 2s or 1m')
    duration = float(match[1]) * _UNIT_MS[match[2]]
    if duration > _DURATION_MS_MAX:
        raise ValueError(f'"{text}" is longer than {_DURATION_MS_MAX}ms, the most a session may be asked for')
    return round(duration)
