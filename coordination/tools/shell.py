"""The shell behind `coordination cli`: a connection, a history, and a table of verbs; one line at a time.

In:  lines, or the words of one command.  Out: what ZooKeeper 3.9's shell prints; an exit code per line.
Knows no terminal (`line` does) and no command line options (`cli` does).  Answers to ZooKeeperMain.

(1) An error never ends the shell; its exit code is that of the last line.
(2) A verb that needs a connection says `Not connected` without one, and the others work.
"""

import difflib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

from coordination.errors import CoordinationError, KeeperError
from coordination.tools import connect_string, quotas, verbs_read, verbs_write, words
from coordination.tools.client import Client, LocalPathError
from coordination.tools.java_options import OptionError
from coordination.tools.output import Output
from coordination.tools.verb import Call, Verb, VerbError, refused
from coordination.tools.watch_table import Event

VERBS: dict[str, Verb] = {verb.name: verb for verb in (*verbs_read.VERBS, *verbs_write.VERBS, *quotas.VERBS)}
# The shell's own verbs: name -> usage.
OWN_VERBS = {
    "close": "",
    "connect": "host:port",
    "exit": "",
    "help": "[verb]",
    "history": "",
    "printwatches": "on|off",
    "quit": "",
    "redo": "cmdno",
    "version": "",
}
_HISTORY_SHOWN = 10
# A word, or one in quotes of either kind; as ZooKeeper's shell, without escapes.
_WORD = re.compile(r"""\s*([^"']\S*|"[^"]*"|'[^']*')\s*""")


def split_line(line: str) -> list[str]:
    """The words of a line, quotes taken off (source: MyCommandOptions.parseCommand)."""
    found = (match[1] for match in _WORD.finditer(line.strip()))
    return [each[1:-1] if len(each) > 1 and each[0] in "\"'" and each[0] == each[-1] else each for each in found]


@dataclass(frozen=True, slots=True)
class Settings:
    """How the shell connects."""

    make_client: Callable[[connect_string.ConnectString, Callable[[Event], None]], Client]
    connect_timeout_s: float = 10.0
    state_events: bool = True
    """Print the connection's own events too, as ZooKeeper's shell does; not wanted for a single command."""


class QuitError(Exception):
    """The user wants to leave."""


class Shell:
    """`connect`, then `run_line` or `run_words`, then `close`."""

    def __init__(self, host: str, settings: Settings, out: Output) -> None:
        self.host, self.settings, self.out = host, settings, out
        self.client: Client | None = None
        self.print_watches = True
        self.history: dict[int, str] = {}
        self.count = 0
        self.exit_code = 0
        self._events = 0
        self._news = threading.Condition()

    @property
    def prompt(self) -> str:
        state = self.client.state.value if self.client is not None else "NOT_CONNECTED"
        return f"[zk: {self.host}({state}) {self.count}] "

    def connect(self, host: str) -> None:
        """Leave the present server and attach a new session at `host`; a KeeperError says why that did not work."""
        self.close()
        where = connect_string.parse(host)
        self.host = host
        client = self.settings.make_client(where, self._event)
        client.start(self.settings.connect_timeout_s)
        self.client = client

    def close(self) -> None:
        if self.client is not None:
            self.client.close()

    def run_line(self, line: str) -> int:
        """Do one line and note it; its exit code."""
        if not line.strip():
            return self.exit_code
        self.history[self.count] = line
        try:
            self.run_words(split_line(line))
        finally:
            self.count += 1
        return self.exit_code

    def run_words(self, command: list[str]) -> int:
        """Do one command; errors are said, not raised."""
        self.exit_code = 0
        try:
            try:
                self._run(command)
            except KeeperError as error:
                raise refused(error, command[0]) from error
            except LocalPathError as error:
                raise VerbError(str(error), hint="a path is /NAME/NAME..., or / itself") from error
            except UnicodeEncodeError as error:  # of what goes as text: an ACL, a scheme, a list of members
                raise VerbError("what is no value and no credential must be UTF-8") from error
            except CoordinationError as error:
                raise VerbError(str(error), words.EXIT_NO_ANSWER) from error
        except VerbError as error:
            self.exit_code = error.exit_code
            self.out.fields = error.fields() if self.out.as_json else {}
            self.out.note(str(error))
            if error.hint:
                self.out.note(f"  try: {error.hint}")
        self.out.finish()
        return self.exit_code

    # -- inside

    def _run(self, command: list[str]) -> None:
        if not command:  # of a line that is one quote
            raise VerbError("No command entered", hint="help")
        name, rest = command[0], command[1:]
        if name in OWN_VERBS:
            self._run_own(name, rest)
            return
        verb = VERBS.get(name)
        if verb is None:
            raise VerbError(f"Command not found: {name}", hint=_nearest(name))
        if self.client is None or not self.client.state.is_alive:
            raise VerbError("Not connected", words.EXIT_NO_ANSWER, f"connect {self.host}")
        try:
            if verb.watch_as_word and len(rest) > 1:
                rest = self._old_watch(verb, rest)
            parsed = verb.options.parse(rest)
        except OptionError as error:
            raise VerbError(str(error), hint=f"{verb.name} {verb.usage}") from error
        if len(parsed.args) < verb.arguments_min:
            raise VerbError(verb.usage_text())
        verb.run(Call(verb, parsed, self.client, self.out, self._stay))

    def _old_watch(self, verb: Verb, rest: list[str]) -> list[str]:
        if len(verb.options.parse(rest).args) < 2:
            return rest
        self.out.note(f"'{verb.name} path [watch]' has been deprecated. Please use '{verb.watch_as_word}' instead.")
        return [rest[0], "-w", *rest[2:]]

    def _run_own(self, name: str, rest: list[str]) -> None:
        if name in ("quit", "exit"):
            raise QuitError
        if name == "connect":
            self.connect(rest[0] if rest else self.host)
            self.out.put(connected=True, server=self.host)
        elif name == "close":
            if self.client is None or not self.client.state.is_alive:
                raise VerbError("Not connected", words.EXIT_NO_ANSWER, f"connect {self.host}")
            self.close()
            self.out.put(connected=False, server=self.host)
        elif name == "history":
            for at in range(max(0, self.count - _HISTORY_SHOWN), self.count + 1):
                self.out.line(f"{at} - {_without_secret(self.history.get(at, 'null'))}")
            self.out.put(history={at: _without_secret(line) for at, line in self.history.items()})
        elif name == "redo":
            self._redo(rest)
        elif name == "printwatches":
            if rest:
                self.print_watches = rest[0] == "on"
            else:
                self.out.line(f"printwatches is {'on' if self.print_watches else 'off'}")
            self.out.put(printwatches=self.print_watches)
        elif name == "version":
            self._version()
        else:
            self._help(rest)

    def _redo(self, rest: list[str]) -> None:
        if not rest:
            raise VerbError("redo cmdno")
        try:
            number = int(rest[0], 0)
        except ValueError:
            raise VerbError(f"{rest[0]} is no number", hint="the numbers: history") from None
        if not 0 <= number < self.count:
            raise VerbError("Command index out of range", hint="the numbers: history")
        line = self.history[number]
        again = split_line(line)
        if again and again[0] == "redo":
            raise VerbError("No redoing redos")
        self.history[self.count] = line
        if again:
            self._run(again)

    def _version(self) -> None:
        from importlib.metadata import version

        own = version("brokerdemo")
        self.out.line(f"ZooKeeper CLI version: brokerdemo {own}, verbs of ZooKeeper 3.9")
        self.out.put(version=own, verbs="3.9")

    def _help(self, rest: list[str]) -> None:
        if rest:
            verb = VERBS.get(rest[0])
            if verb is None and rest[0] not in OWN_VERBS:
                raise VerbError(f"Command not found: {rest[0]}", hint=_nearest(rest[0]))
            usage = verb.usage_text() if verb is not None else f"{rest[0]} {OWN_VERBS[rest[0]]}".rstrip()
            self.out.line(usage)
            self.out.put(verb=rest[0], usage=usage)
            return
        for name in sorted({*VERBS, *OWN_VERBS}):
            usage = VERBS[name].usage if name in VERBS else OWN_VERBS[name]
            self.out.line(f"\t{name} {usage}".rstrip())
        self.out.put(verbs=sorted({*VERBS, *OWN_VERBS}))

    def _event(self, event: Event) -> None:
        if event.type == -1 and not self.settings.state_events:
            return
        if self.print_watches:
            self.out.event(words.event_lines(event), words.event_json(event))
        with self._news:
            self._events += event.type != -1
            self._news.notify_all()

    def _stay(self, count: int) -> None:
        """Until `count` more watch events were printed, the session is gone, or Ctrl-C."""
        client = self.client
        assert client is not None
        with self._news:
            target = self._events + count
            # Ctrl-C interrupts a wait only when it has an end.
            while client.state.is_alive and not (count and self._events >= target):
                self._news.wait(0.5)


def _without_secret(line: str) -> str:
    """A line of the history to be shown: what follows addauth's scheme is nobody's business."""
    found = split_line(line)
    return " ".join([*found[:2], "***"]) if found[:1] == ["addauth"] and len(found) > 2 else line


def _nearest(name: str) -> str:
    known = sorted({*VERBS, *OWN_VERBS})
    close = difflib.get_close_matches(name, known, 1, 0.6)
    by_case = [each for each in known if each.lower() == name.lower()]
    return by_case[0] if by_case else close[0] if close else "help"
