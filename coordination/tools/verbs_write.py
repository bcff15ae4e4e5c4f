"""The shell's verbs that change: create, set, delete, deleteall, setAcl, reconfig, multi.

In: a `Call`.  Out: what ZooKeeper 3.9's shell prints for it, and the same as JSON fields.
Answers to CreateCommand, SetCommand, DeleteCommand, DeleteAllCommand, SetAclCommand, ReconfigCommand.

(1) deleteall deletes children before parents, in multis of at most -b deletes, a few of them under way at once; it
    stops at the first refusal and says which znode it was.
"""

import base64
import binascii
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from coordination.errors import KeeperError, NoNodeError, RuntimeInconsistencyError
from coordination.paths import join
from coordination.tools import answers, words
from coordination.tools.client import Client, check_path
from coordination.tools.java_options import Options
from coordination.tools.pending import Pending
from coordination.tools.verb import Call, Verb, VerbError, as_given
from coordination.wire import opcodes
from coordination.wire.records import OPEN_ACL, Acl
from coordination.wire.requests import Delete

TTL_MS_MAX = (1 << 40) - 1
_BATCH = 1000
_BATCH_BYTES_MAX = 256 << 10  # below any server's jute.maxbuffer
_BATCHES_UNDER_WAY = 10
_ASKED_AHEAD = 200


def _create(call: Call) -> None:
    ephemeral, sequential, container = call.has("e"), call.has("s"), call.has("c")
    if container and (ephemeral or sequential):
        raise VerbError("-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.")
    ttl_ms = call.integer("t", 0, "-t argument must be a long value", bits=64) if call.has("t") else None
    if ttl_ms is not None:
        if ephemeral:
            raise VerbError("TTLs cannot be used with Ephemeral znodes")
        if container:
            raise VerbError("TTLs cannot be used with Container znodes")
        if not 0 < ttl_ms <= TTL_MS_MAX:
            raise VerbError(f"ttl must be positive and cannot be larger than: {TTL_MS_MAX}")
    if container:
        flags = opcodes.CONTAINER
    elif ttl_ms is not None:
        flags = opcodes.PERSISTENT_SEQUENTIAL_WITH_TTL if sequential else opcodes.PERSISTENT_WITH_TTL
    else:
        flags = (opcodes.EPHEMERAL if ephemeral else 0) | (opcodes.PERSISTENT_SEQUENTIAL if sequential else 0)
    value, acl_text = call.argument(1), call.argument(2)
    acl = OPEN_ACL if acl_text is None else _acl(call, acl_text)
    data = None if value is None else as_given(value)
    created, stat = call.client.create(call.path, data, acl, flags, ttl_ms)
    call.out.put(path=created, stat=words.stat_json(stat))
    if not call.out.as_json:
        call.out.note(f"Created {created}")


def _acl(call: Call, text: str) -> tuple[Acl, ...]:
    acl, complaints = words.parse_acl(text)
    for each in complaints:
        call.out.note(each)
    return acl


def _set(call: Call) -> None:
    text = call.words.args[1]
    if call.has("b"):
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise VerbError(f"the data of -b is not base64: {error}") from None
    else:
        data = as_given(text)
    stat = call.client.set(call.path, data, call.integer("v", -1, "-v argument must be an int value"))
    call.out.put(path=call.path, stat=words.stat_json(stat))
    if call.has("s"):
        call.out.line(words.stat_lines(stat))


def _delete(call: Call) -> None:
    if len(call.words.args) > 1:
        call.out.note("'delete path [version]' has been deprecated. Please use 'delete [-v version] path' instead.")
    call.client.delete(call.path, call.integer("v", -1, "-v argument must be an int value"))
    call.out.put(path=call.path, deleted=1)


def _delete_all(call: Call) -> None:
    batch = call.integer("b", _BATCH, "-b argument must be an int value")
    check_path(call.path)
    tree = _breadth_first(call)
    deleted = 0
    for error in _delete_tree(call.client, tree, batch if batch > 0 else 1):
        if error is not None:
            raise VerbError(
                "Failed to delete some node(s) in the subtree!",
                words.exit_code(error),
                f"{words.keeper_error(error)}; {deleted} of {len(tree)} were deleted, what is left: ls -R {call.path}",
            )
        deleted += 1
        call.out.progress(deleted, len(tree), "deleted")
    call.out.put(path=call.path, deleted=deleted)


def _breadth_first(call: Call) -> list[str]:
    client, top = call.client, call.path
    found = [top]
    asked: deque[Pending] = deque()
    at = 0  # the first of `found` that was not asked for its children
    for seen, path in enumerate(found, 1):  # which grows meanwhile
        while at < len(found) and len(asked) < _ASKED_AHEAD:
            asked.append(client.submit_children(found[at]))
            at += 1
        try:
            names = client.names_of(asked.popleft())
        except NoNodeError:
            if path == top:
                raise
            continue
        found.extend(join(path, name) for name in names)
        call.out.progress(seen, len(found), "looked at")
    return found


def _delete_tree(client: Client, tree: list[str], batch: int) -> Iterator[KeeperError | None]:
    """None for each znode deleted, or the first refusal with its path and an end."""
    under_way: deque[tuple[list[str], Pending]] = deque()
    for paths in _batches(tree, batch):
        if len(under_way) == _BATCHES_UNDER_WAY:
            yield from _settled(client, *under_way.popleft())
        under_way.append((paths, client.submit_multi([Delete(0, path, -1) for path in paths])))
    while under_way:
        yield from _settled(client, *under_way.popleft())


def _batches(tree: list[str], batch: int) -> Iterator[list[str]]:
    paths: list[str] = []
    size = 0
    for path in reversed(tree):
        paths.append(path)
        size += len(path.encode()) + 24
        if len(paths) == batch or size >= _BATCH_BYTES_MAX:
            yield paths
            paths, size = [], 0
    if paths:
        yield paths


def _settled(client: Client, paths: list[str], pending: Pending) -> Iterator[KeeperError | None]:
    try:
        reply = pending.wait(client.call_timeout_s)
    except KeeperError as error:
        yield error
        return
    results = answers.multi(reply.buffer, reply.start, reply.end)
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, KeeperError) and not isinstance(result, RuntimeInconsistencyError):
            result.path = path
            yield result
            return
    yield from [None] * len(paths)


def _set_acl(call: Call) -> None:
    acl = _acl(call, call.words.args[1])
    version = call.integer("v", -1, "-v argument must be an int value")
    call.out.put(path=call.path)
    if not call.has("R"):
        stat = call.client.set_acl(call.path, acl, version)
        call.out.put(stat=words.stat_json(stat))
        if call.has("s"):
            call.out.line(words.stat_lines(stat))
        return
    from coordination.tools.verbs_read import walk

    changed = 0
    first: KeeperError | None = None
    for path in walk(call.client, call.path):
        try:
            call.client.set_acl(path, acl, version)
            changed += 1
        except KeeperError as error:
            first = first or error
            call.out.note(words.keeper_error(error))
    call.out.put(changed=changed)
    if first is not None:
        raise VerbError("Failed to set the ACL of some node(s) in the subtree!", words.exit_code(first))


def _reconfig(call: Call) -> None:
    options = call.words.options
    whole = "file" in options or "members" in options
    if not whole and "add" not in options and "remove" not in options:
        raise call.usage_error()
    try:
        version = int(options["v"], 16) if "v" in options else -1
        if not -(1 << 63) <= version < 1 << 63:
            raise ValueError
    except ValueError:
        raise VerbError("-v must be followed by a long (configuration version)") from None
    if whole and ("add" in options or "remove" in options):
        raise VerbError(
            "Can't use -file or -members together with -add or -remove (mixing incremental and non-incremental modes "
            "is not allowed)"
        )
    if "file" in options and "members" in options:
        raise VerbError("Can't use -file and -members together (conflicting non-incremental modes)")
    joining, leaving, members = (
        options[name].lower() if name in options else None for name in ("add", "remove", "members")
    )
    if "file" in options:
        members = _members_in(options["file"])
    value, stat = call.client.reconfigure(joining, leaving, members, version)
    text = (value or b"").decode(errors="replace")
    call.out.line(f"Committed new configuration:\n{text}")
    call.out.put(config=text, stat=words.stat_json(stat))
    if call.has("s"):
        call.out.line(words.stat_lines(stat))


def _members_in(name: str) -> str:
    """The server lines of a dynamic configuration file, as the request wants them."""
    try:
        lines = Path(name).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VerbError(f"Error processing {name}: {error}") from None
    members = [line.strip() for line in lines if line.strip().startswith(("server.", "group.", "weight."))]
    if not members:
        raise VerbError(f"Error processing {name}: it has no server.N= line")
    return ",".join(members)


VERBS = (
    Verb("create", "[-s] [-e] [-c] [-t ttl] path [data] [acl]", _create, Options(("e", "s", "c"), ("t",)), 1),
    Verb(
        "set",
        "path data [-s] [-v version] [-b]",
        _set,
        Options(("s", "b"), ("v",)),
        2,
        (
            " -b         Supply data in base64 format",
            " -s         Print znode stats additionally",
            " -v <arg>   Set with an expected version",
        ),
    ),
    Verb("delete", "[-v version] path", _delete, Options(valued=("v",)), 1),
    Verb("deleteall", "path [-b batch size]", _delete_all, Options(valued=("b",)), 1),
    Verb("setAcl", "[-s] [-v version] [-R] path acl", _set_acl, Options(("s", "R"), ("v",)), 2),
    Verb(
        "reconfig",
        "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | "
        "[-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
        _reconfig,
        Options(("s",), ("v", "file", "members", "add", "remove")),
    ),
)
