"""The shell at a terminal: prompt, history and completion through the standard library's readline.

In: a `Shell` and a terminal, or any stream of lines.  Out: the exit code of the last line.
Knows no verb but their names.  Answers to the JLine part of ZooKeeperMain and JLineZNodeCompleter.

(1) A line with a credential (addauth) is not kept on disk.
(2) Ctrl-C gives up the line, Ctrl-D the shell.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from coordination.errors import CoordinationError
from coordination.tools.shell import OWN_VERBS, VERBS, QuitError, Shell, split_line

_HISTORY_LINES = 1000


def complete(line: str, text: str, children: Callable[[str], list[str]]) -> list[str]:
    """What `text`, the last word of `line`, may become: verbs, options of the verb, or znode paths.

    `children` gives the names under a path, nothing when that cannot be told.
    """
    before = split_line(line[: len(line) - len(text)] if text else line)
    if not before:
        return sorted(each for each in (*VERBS, *OWN_VERBS) if each.startswith(text))
    if text.startswith("-"):
        verb = VERBS.get(before[0])
        names = (*verb.options.flags, *verb.options.valued) if verb is not None else ()
        return sorted(f"-{each}" for each in names if f"-{each}".startswith(text) and each != "?")
    if before[0] == "help":
        return sorted(each for each in (*VERBS, *OWN_VERBS) if each.startswith(text))
    if text and not text.startswith("/"):
        return []
    if before[0] in OWN_VERBS:
        return []
    directory, _, start = text.rpartition("/")
    return sorted(f"{directory}/{name}" for name in children(directory or "/") if name.startswith(start))


def run_stream(shell: Shell) -> int:
    """Every line of stdin; no prompt, as ZooKeeper's shell without a terminal."""
    for line in sys.stdin:
        try:
            shell.run_line(line.rstrip("\n"))
        except QuitError:
            break
    return shell.exit_code


def run_terminal(shell: Shell) -> int:
    """Prompt, read, do, until `quit` or Ctrl-D."""
    import readline

    _set_up(readline, shell)
    shell.out.after_event = lambda: _draw_again(readline, shell)
    try:
        while True:
            try:
                line = input(shell.prompt)
            except KeyboardInterrupt:
                print("^C")
                continue
            except EOFError:
                print()
                break
            if line.strip() and "addauth" not in line:
                readline.add_history(line)
            try:
                shell.run_line(line)
            except KeyboardInterrupt:
                print("^C")
            except QuitError:
                break
    finally:
        shell.out.after_event = None
        _save(readline)
    return shell.exit_code


def history_path() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "brokerdemo" / "coordination_cli_history"


def _set_up(readline, shell: Shell) -> None:  # type: ignore[no-untyped-def]
    readline.set_auto_history(False)
    readline.set_history_length(_HISTORY_LINES)
    with suppress(OSError):
        readline.read_history_file(str(history_path()))
    found: list[str] = []

    def completer(text: str, at: int) -> str | None:
        if at == 0:
            line = readline.get_line_buffer()[: readline.get_endidx()]
            found[:] = complete(line, text, lambda path: _children(shell, path))
        return found[at] if at < len(found) else None

    readline.set_completer(completer)
    readline.set_completer_delims(" \t\n")
    libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")


def _children(shell: Shell, path: str) -> list[str]:
    client = shell.client
    if client is None or not client.state.is_connected:
        return []
    try:
        return client.child_names(path)
    except CoordinationError:
        return []


def _draw_again(readline, shell: Shell) -> None:  # type: ignore[no-untyped-def]
    sys.stdout.write(shell.prompt + readline.get_line_buffer())
    sys.stdout.flush()


def _save(readline) -> None:  # type: ignore[no-untyped-def]
    path = history_path()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        readline.write_history_file(str(path))
