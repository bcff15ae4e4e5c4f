"""The lines server.N, group.N and weight.N: judged as ZooKeeper judges them, though this server runs alone.

In: the settings of zoo.cfg, those of its dynamic file, what the file `myid` says.  Out: the client address that the
lone member's line gives, or a ConfigError.
Knows no file and resolves no name.  Answers to QuorumPeerConfig.parseDynamicConfig, QuorumServer, QuorumHierarchical
and ConfigUtils.getHostAndPort.

    server.N=host:port:port[:role][|host:port:port[:role] ...][;[host:]clientPort]

(1) What ZooKeeper refuses to start with is refused, and what it takes for a server of one is taken; a colon, bar or
    semicolon at the end is nothing, as where Java splits.  Blanks at the end of a line are nothing either (there a port
    with one is refused).
(2) The line's client address counts where clientPort does not say; where `myid` makes it this server's own line, the
    two must agree.  (ZooKeeper without `myid` looks at clientPort alone, and without that it listens nowhere.)
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from coordination.server.config_reader import JAVA_INT_MAX, PORT_MAX, ConfigError

_MEMBERSHIP = ("server.", "group", "weight")
_JAVA_LONG_MAX = (1 << 63) - 1
_JAVA_NUMBER = re.compile(r"[+-]?\d{1,40}")
_JAVA_HEXADECIMAL = re.compile(r"[+-]?[0-9a-fA-F]{1,16}")
_FORM = "server.N=host:port:port, host:port:port:participant, or either of them and ;clientPort or ;host:clientPort"
_WHAT_TO_DO = "Correct it, or leave the line out: a server that runs alone needs none."


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """Where the line says clients come in."""

    host: str
    """Empty: it names none."""
    port: int


@dataclass(frozen=True, slots=True)
class _Member:
    key: str
    observes: bool
    client: ClientAddress | None


def lone_client_address(
    static: Mapping[str, str],
    dynamic: Mapping[str, str] | None,
    *,
    my_id: str | None = None,
    multi_address: bool = False,
    standalone: bool = True,
) -> ClientAddress | None:
    """What the one member's line says of the client port, if there is a line and it says so.

    `my_id`: the first line of the file `myid`; None: there is none.  `multi_address`: the property
    multiAddress.enabled.  `standalone`: standaloneEnabled.  ConfigError: something here cannot be, or is an ensemble.
    """
    if dynamic is not None:
        _apart(static, dynamic)
    lines = static if dynamic is None else dynamic
    own_id = None if my_id is None else _own_id(my_id)
    if not _JAVA_HEXADECIMAL.fullmatch(lines.get("version", "0")):
        raise _refusal("version", lines["version"], "is not a hexadecimal number")
    members: dict[int, _Member] = {}
    for key in (key for key in lines if key.startswith("server.")):
        members[_id(key, lines[key])] = _member(key, lines[key], multi_address=multi_address)
    _check_groups(lines, members)
    if len(members) > 1:
        raise ConfigError(
            f"zoo.cfg names {len(members)} members ({', '.join(each.key for each in members.values())}), and this "
            "server cannot form an ensemble yet. Remove the server.N lines to run it alone, or use Apache ZooKeeper "
            "for an ensemble."
        )
    if not members and not standalone:
        raise ConfigError("standaloneEnabled=false and no server.N line: nobody could vote. Leave it out to run alone.")
    for member in members.values():
        if member.observes:
            raise ConfigError(f"{member.key} is an observer, and there is nobody to observe. {_WHAT_TO_DO}")
        if own_id in members and member.client is not None:
            _agree(static, member.client, member.key)
        return member.client
    return None


def _apart(static: Mapping[str, str], dynamic: Mapping[str, str]) -> None:
    """What belongs into which of the two files."""
    for key in static:
        if key.startswith(_MEMBERSHIP):
            raise ConfigError(f"{key} stands beside dynamicConfigFile. Move the line into that file.")
    for key in dynamic:
        if not key.startswith(_MEMBERSHIP):
            raise ConfigError(f"{key} cannot stand in the file that dynamicConfigFile names. Move it into zoo.cfg.")


def _member(key: str, value: str, *, multi_address: bool) -> _Member:
    parts = _split(value, ";")
    if not parts or len(parts) > 2:
        raise _refusal(key, value, f"is not of the form {_FORM}")
    client = None
    if len(parts) == 2:
        fields = _host_and_ports(key, value, parts[1])
        if not 1 <= len(fields) <= 2:
            raise _refusal(key, value, f"is not of the form {_FORM}")
        client = ClientAddress(fields[0] if len(fields) == 2 else "", _port(key, value, fields[-1]))
    addresses = _split(parts[0], "|")
    if len(addresses) > 1 and not multi_address:
        raise _refusal(key, value, "has several addresses, and the property multiAddress.enabled (--props) is off")
    roles = set()
    for address in addresses:
        fields = _host_and_ports(key, value, address)
        if not 3 <= len(fields) <= 4:
            raise _refusal(key, value, f"is not of the form {_FORM}")
        if _port(key, value, fields[1]) == _port(key, value, fields[2]):
            raise _refusal(key, value, "has one port for two things: the first and the second must differ")
        if len(fields) == 4:
            roles.add(fields[3].strip().lower())
    if not roles <= {"participant", "observer"}:
        raise _refusal(key, value, "has a role that is neither participant nor observer")
    if len(roles) > 1:
        raise _refusal(key, value, "has addresses with different roles")
    return _Member(key, "observer" in roles, client)


def _own_id(text: str) -> int:
    if not _JAVA_NUMBER.fullmatch(text):
        raise ConfigError(
            f"the file myid in dataDir begins with {text!r}, which is no id. Write N of server.N into it."
        )
    return int(text)


def _check_groups(lines: Mapping[str, str], members: Mapping[int, _Member]) -> None:
    """Groups and weights are numbers, every voter is in one group and every one in a group has a weight."""
    of_groups = [key for key in lines if key.startswith("group")]
    of_weights = [key for key in lines if key.startswith("weight")]
    if not of_groups and not of_weights:
        return
    weighed = set()
    for key in of_weights:
        weighed.add(_id(key, lines[key]))
        _number(lines[key], _JAVA_LONG_MAX, key, lines[key], "the weight")
    grouped: dict[int, str] = {}
    for key in of_groups:
        _id(key, lines[key])
        for text in _split(lines[key], ":"):
            member = _number(text, _JAVA_LONG_MAX, key, lines[key], "the id of a member")
            if member in grouped:
                raise _refusal(key, lines[key], f"puts member {member} into a second group")
            grouped[member] = key
    voters = {number for number, member in members.items() if not member.observes}
    for number in sorted(voters - grouped.keys()):
        raise ConfigError(f"server.{number} is in no group, and there are groups or weights. {_WHAT_TO_DO}")
    for number in sorted(grouped.keys() - voters - weighed):
        key = grouped[number]
        raise _refusal(key, lines[key], f"names member {number}, and there is neither such a voter nor its weight")


def _agree(static: Mapping[str, str], client: ClientAddress, key: str) -> None:
    """clientPort, where it is given, is that of this server's own line."""
    if "clientPort" not in static:
        return
    said = static["clientPort"]
    if said.isdecimal() and int(said) != client.port:
        raise ConfigError(f"clientPort={said} and {key} (port {client.port}) differ. Make them equal, or drop one.")
    host = static.get("clientPortAddress", "")
    if host and _are_different(host, client.host or "0.0.0.0"):
        raise ConfigError(
            f"clientPortAddress={host} and {key} ({client.host or 'any address'}) differ. Make them equal."
        )


def _are_different(one: str, other: str) -> bool:
    """Two addresses that are written out; of names nobody knows before they are resolved."""
    try:
        first, second = ip_address(one.strip("[]")), ip_address(other)
    except ValueError:
        return False
    return first != second and not first.is_unspecified


# --- as Java reads


def _split(text: str, separator: str) -> list[str]:
    """String.split: what is empty at the end is left out, but a text without separator is one part, empty or not."""
    parts = text.split(separator)
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return parts if parts != [""] or not text else []


def _host_and_ports(key: str, value: str, text: str) -> list[str]:
    """The parts between colons; a host in brackets is one of them, and the character behind it is not looked at."""
    if not text.startswith("["):
        return _split(text, ":")
    host, bracket, rest = text[1:].partition("]")
    if not bracket:
        raise _refusal(key, value, "has a [ without its ]")
    if len(rest) == 1:
        raise _refusal(key, value, "has no port behind its last colon")
    return [host, *_split(rest[1:], ":")] if rest else [host]


def _id(key: str, value: str) -> int:
    return _number(key.partition(".")[2] if "." in key else key, _JAVA_LONG_MAX, key, value, "the id in its name")


def _port(key: str, value: str, text: str) -> int:
    port = _number(text, JAVA_INT_MAX, key, value, "a port")
    if not 0 <= port <= PORT_MAX:
        raise _refusal(key, value, f"has port {port}; a port is a number from 0 to {PORT_MAX}")
    return port


def _number(text: str, most: int, key: str, value: str, what: str) -> int:
    number = int(text) if _JAVA_NUMBER.fullmatch(text) else None
    if number is None or not -most - 1 <= number <= most:
        raise _refusal(key, value, f"cannot be: {what} ({text!r}) is not a whole number")
    return number


def _refusal(key: str, value: str, why: str) -> ConfigError:
    return ConfigError(f"{key}={value} {why}. {_WHAT_TO_DO}")
