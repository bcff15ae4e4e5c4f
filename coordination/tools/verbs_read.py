"""The shell's verbs that look and watch: ls, get, stat, getAcl, getEphemerals, sync, config, whoami, addWatch ...

In: a `Call`.  Out: what ZooKeeper 3.9's shell prints for it, and the same as JSON fields.
Answers to LsCommand, GetCommand, StatCommand and the others of org.apache.zookeeper.cli.

(1) ls -R prints parents before children and each level sorted, as the original (ZKUtil.visitSubTreeDFS); a znode that
    goes while it is walked is left out.
"""

import base64
from collections.abc import Iterator

from coordination.errors import NoNodeError
from coordination.paths import join
from coordination.tools import words
from coordination.tools.client import Client
from coordination.tools.java_options import Options
from coordination.tools.pending import Pending
from coordination.tools.verb import Call, Verb, VerbError, as_given
from coordination.wire import opcodes

_WATCH_KINDS = (
    ("c", opcodes.WATCHES_CHILDREN),
    ("d", opcodes.WATCHES_DATA),
    ("p", opcodes.WATCHES_PERSISTENT),
    ("r", opcodes.WATCHES_PERSISTENT_RECURSIVE),
    ("a", opcodes.WATCHES_ANY),
)
_ASKED_AHEAD = 200
_MODES = {"PERSISTENT": False, "PERSISTENT_RECURSIVE": True}


def walk(client: Client, top: str, watch: bool = False) -> Iterator[str]:
    """`top` and every znode under it; NoNodeError only for `top`."""
    client.get(top, watch)
    yield top
    stack = [top]
    asked: dict[str, Pending] = {}
    while stack:
        if stack[-1] not in asked:
            # The next ones are asked for at once: a round trip per znode would make a large tree slow.
            for path in stack[-_ASKED_AHEAD:]:
                if path not in asked:
                    asked[path] = client.submit_children(path, watch)
        path = stack.pop()
        try:
            names = client.names_of(asked.pop(path))
        except NoNodeError:
            continue
        under = [join(path, name) for name in sorted(names)]
        yield from under
        stack.extend(reversed(under))


def _ls(call: Call) -> None:
    watch = call.has("w")
    call.out.put(path=call.path)
    if call.has("R"):
        found = []
        for path in walk(call.client, call.path, watch):
            call.out.line(path)
            if call.out.as_json:
                found.append(path)
        call.out.put(paths=found)
        return
    names, stat = call.client.children(call.path, watch)
    names.sort()
    call.out.line(f"[{', '.join(names)}]")
    call.out.put(children=names)
    if call.has("s"):
        call.out.line(words.stat_lines(stat))
    call.out.put(stat=words.stat_json(stat))


def _get(call: Call) -> None:
    value, stat = call.client.get(call.path, call.has("w"))
    call.out.put(path=call.path, **words.data_json(value), stat=words.stat_json(stat))
    shown = b"null" if value is None else value
    if call.has("x"):
        call.out.line(words.hex_dump(shown))
    elif call.has("b"):
        call.out.line(base64.b64encode(shown).decode())
    else:
        call.out.line(shown.decode(errors="replace"))
    if call.has("s"):
        call.out.line(words.stat_lines(stat))


def _stat(call: Call) -> None:
    stat = call.client.exists(call.path, call.has("w"))
    if stat is None:
        raise NoNodeError(call.path)
    call.out.line(words.stat_lines(stat))
    call.out.put(path=call.path, stat=words.stat_json(stat))


def _get_acl(call: Call) -> None:
    acl, stat = call.client.get_acl(call.path)
    call.out.line(words.acl_lines(acl))
    call.out.put(path=call.path, acl=words.acl_json(acl), stat=words.stat_json(stat))
    if call.has("s"):
        call.out.line(words.stat_lines(stat))


def _get_ephemerals(call: Call) -> None:
    found = call.client.ephemerals(call.argument(0) or "/")
    call.out.line(f"[{', '.join(found)}]")
    call.out.put(ephemerals=found)


def _get_all_children_number(call: Call) -> None:
    number = call.client.all_children_number(call.path)
    call.out.line(str(number))
    call.out.put(path=call.path, children=number)


def _sync(call: Call) -> None:
    call.client.sync(call.path)
    call.out.line("Sync is OK")
    call.out.put(path=call.path, synced=True)


def _who_am_i(call: Call) -> None:
    found = call.client.who_am_i()
    call.out.line("Auth scheme: User")
    for scheme, user in found:
        call.out.line(f"{scheme}: {user}")
    call.out.put(identities=[{"scheme": scheme, "user": user} for scheme, user in found])


def _config(call: Call) -> None:
    value, stat = call.client.get_config(call.has("w"))
    text = "null" if value is None else value.decode(errors="replace")
    call.out.line(client_config(text) if call.has("c") else text)
    if call.has("s"):
        call.out.line(words.stat_lines(stat))
    call.out.put(config=text, client=client_config(text), stat=words.stat_json(stat))


def client_config(text: str) -> str:
    """`version host:port,...`: what a client needs of an ensemble's configuration (ConfigUtils.getClientConfigStr)."""
    version, found = "", []
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "version":
            version = value.strip()
        elif key.strip().startswith("server."):
            address = value.rpartition(";")[2].strip() if ";" in value else ""
            # A member without a client address of its own leaves its place empty.
            found.append(f"0.0.0.0:{address}" if address and ":" not in address else address)
    return f"{version} {','.join(found)}"


def _add_watch(call: Call) -> None:
    mode = call.words.options.get("m", "PERSISTENT_RECURSIVE").upper()
    if mode not in _MODES or len(call.words.args) != 1:
        raise call.usage_error()
    call.client.add_watch(call.path, _MODES[mode])
    call.out.put(path=call.path, mode=mode)


def _remove_watches(call: Call) -> None:
    kind = next((kind for letter, kind in _WATCH_KINDS if call.has(letter)), opcodes.WATCHES_ANY)
    call.client.remove_watches(call.path, kind, local=call.has("l"))
    call.out.put(path=call.path, removed=True)


def _add_auth(call: Call) -> None:
    credential = call.argument(1)
    call.client.add_auth(call.path, as_given(credential or ""))
    call.out.put(scheme=call.path, added=True)


def _watch(call: Call) -> None:
    """Ours: stay, and print what happens."""
    count = call.integer("n", 0, "-n argument must be an int value")
    if count < 0:
        raise VerbError("-n argument must be an int value")
    call.client.add_watch(call.path, recursive=call.has("R"))
    call.out.note(f"watching {call.path}{' and all under it' if call.has('R') else ''}; Ctrl-C ends it")
    call.stay(count)


_SHOW = (" -b   Output data in base64 format", " -s   Print znode stats additionally")
VERBS = (
    Verb("ls", "[-s] [-w] [-R] path", _ls, Options(("?", "s", "w", "R")), 1, watch_as_word="ls [-w] path"),
    Verb(
        "get",
        "[-s] [-w] [-b] [-x] path",
        _get,
        Options(("s", "w", "b", "x")),
        1,
        (*_SHOW, " -w   Watch for changes on the znode", " -x   Output data in hexdump format"),
        watch_as_word="get [-s] [-w] path",
    ),
    Verb("stat", "[-w] path", _stat, Options(("w",)), 1, watch_as_word="stat [-w] path"),
    Verb("getAcl", "[-s] path", _get_acl, Options(("s",)), 1),
    Verb("getEphemerals", "path", _get_ephemerals),
    Verb("getAllChildrenNumber", "path", _get_all_children_number, Options(), 1),
    Verb("sync", "path", _sync, Options(), 1),
    Verb("whoami", "", _who_am_i),
    Verb("config", "[-c] [-w] [-s]", _config, Options(("s", "w", "c"))),
    Verb(
        "addWatch",
        "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is PERSISTENT_RECURSIVE",
        _add_watch,
        Options(valued=("m",)),
        1,
    ),
    Verb("removewatches", "path [-c|-d|-a] [-l]", _remove_watches, Options(("c", "d", "p", "r", "a", "l")), 1),
    Verb("addauth", "scheme auth", _add_auth, Options(), 1),
    Verb("watch", "[-R] [-n count] path # stays and prints the events", _watch, Options(("R",), ("n",)), 1),
)
