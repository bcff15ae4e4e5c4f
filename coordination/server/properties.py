"""Files of `key=value` lines, as Java writes and reads them: zoo.cfg, --props, the dynamic configuration.

In: text.  Out: a dict, keys and values trimmed as ZooKeeper trims them; a later line wins.  And where each key stands.
Knows no key.  Answers to java.util.Properties.

(1) `=`, `:` or blank space ends a key; `#` and `!` begin comments; an odd number of backslashes at the end of a line
    continues it; `\\t \\n \\r \\f \\uXXXX` are those characters, any other escaped character is itself.
"""

import re
from collections.abc import Iterator

_LINE_END = re.compile(r"\r\n|[\r\n]")  # and no other: str.splitlines knows eight more
_TRIMMED = "".join(map(chr, range(33)))  # String.trim
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def decode(data: bytes) -> str:
    """The text of a file: UTF-8, or where it cannot be that, ISO 8859-1, which Java takes it for."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def parse_properties(text: str) -> dict[str, str]:
    """Never raises: what cannot be an escape is taken as it stands."""
    found: dict[str, str] = {}
    for _, line in _logical_lines(text):
        key, value = _split(line)
        found[_unescape(key).strip(_TRIMMED)] = _unescape(value).strip(_TRIMMED)
    return found


def lines_of(text: str) -> dict[str, int]:
    """Key -> the number of the line that says it last, from 1."""
    return {_unescape(_split(line)[0]).strip(_TRIMMED): number for number, line in _logical_lines(text)}


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    pending, begin = "", 0
    for number, raw in enumerate(_LINE_END.split(text), 1):
        line = raw.lstrip(" \t\f")
        if not pending:
            begin = number
            if not line or line[0] in "#!":
                continue
        line = pending + line
        if (len(line) - len(line.rstrip("\\"))) % 2:
            pending = line[:-1]
        else:
            pending = ""
            yield begin, line
    if pending:
        yield begin, pending


def _split(line: str) -> tuple[str, str]:
    """The key ends at the first separator that no backslash protects; blanks around one separator belong to it."""
    end, size = 0, len(line)
    while end < size and line[end] not in "=: \t\f":
        end += 2 if line[end] == "\\" else 1
    rest = line[end:].lstrip(" \t\f")
    if rest[:1] in ("=", ":"):
        rest = rest[1:].lstrip(" \t\f")
    return line[:end], rest


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    parts: list[str] = []
    at, size = 0, len(text)
    while at < size:
        letter = text[at]
        at += 1
        if letter != "\\" or at == size:
            parts.append(letter)
            continue
        letter = text[at]
        at += 1
        if letter == "u":
            digits = text[at : at + 4]
            if len(digits) == 4 and all(each in "0123456789abcdefABCDEF" for each in digits):
                parts.append(chr(int(digits, 16)))
                at += 4
                continue
        parts.append(_ESCAPES.get(letter, letter))
    return "".join(parts)
