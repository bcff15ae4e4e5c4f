"""A JAAS file's login sections, as far as a ZooKeeper server needs them: the users of DIGEST-MD5 and their passwords.

In: the file's text.  Out: sections -> login modules with their options; or user name -> masked password.
Reads no file.  Answers to javax.security.auth.login's ConfigFile and ZooKeeper's DigestLoginModule.

    file    := section*            section := NAME "{" module* "}" ";"
    module  := CLASS FLAG option* ";"        option := NAME "=" (WORD | "quoted")
    comments: // ...   # ...   /* ... */

(1) What is not understood is an error with its line, never skipped: a typing error must not open or close a server
    silently.
(2) Values are masked from the moment they are read; an error names an option, never its value.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from coordination.secret import Secret

FLAGS = ("required", "requisite", "sufficient", "optional")
DIGEST_MODULES = ("org.apache.zookeeper.server.auth.DigestLoginModule",)
USER_PREFIX = "user_"

_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|\#[^\n]*|/\*.*?\*/)
    |(?P<quoted>"(?:[^"\\\n]|\\.)*")
    |(?P<mark>[{};=])
    |(?P<word>(?!/\*)[^\s{};="\#]+)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "b": "\b", "a": "\a", "v": "\v"}


class JaasError(ValueError):
    """What is wrong with the file, and where."""


class LoginModule(NamedTuple):
    class_name: str
    flag: str
    options: dict[str, Secret]


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def parse(text: str) -> dict[str, list[LoginModule]]:
    """Every section by name; `JaasError` names the line."""
    tokens = _Tokens(text)
    sections: dict[str, list[LoginModule]] = {}
    while not tokens.at_end():
        name = tokens.take("word", "quoted", what="a section's name")
        if name.text in sections:
            raise JaasError(f"line {name.line}: section {name.text!r} stands here a second time")
        tokens.mark("{")
        modules = []
        while not tokens.next_is("}"):
            modules.append(_module(tokens))
        tokens.mark("}")
        tokens.mark(";")
        sections[name.text] = modules
    return sections


def digest_users(text: str, section: str = "Server") -> dict[str, Secret]:
    """The users of `section`: its options `user_NAME="password"`.

    `JaasError` if the section is missing, or asks for a login module other than ZooKeeper's DigestLoginModule
    (Kerberos is not
    supported).
    """
    sections = parse(text)
    if section not in sections:
        have = ", ".join(sorted(sections)) or "none"
        raise JaasError(f"no section {section!r}; sections there: {have}")
    users: dict[str, Secret] = {}
    for module in sections[section]:
        if module.class_name not in DIGEST_MODULES:
            raise JaasError(
                f"section {section!r} asks for {module.class_name}; "
                f"this server does DIGEST-MD5 only: use {DIGEST_MODULES[0]}"
            )
        users.update(
            (option.removeprefix(USER_PREFIX), password)
            for option, password in module.options.items()
            if option.startswith(USER_PREFIX)
        )
    return users


def _module(tokens: "_Tokens") -> LoginModule:
    class_name = tokens.take("word", what="a login module's class")
    flag = tokens.take("word", what=f"one of {', '.join(FLAGS)}")
    if flag.text.lower() not in FLAGS:
        raise JaasError(f"line {flag.line}: {' or '.join(FLAGS)} must follow the login module's class")
    options: dict[str, Secret] = {}
    while not tokens.next_is(";"):
        name = tokens.take("word", what="an option's name, or ; at the end of the login module")
        tokens.mark("=")
        value = tokens.take("word", "quoted", what=f"a value for {name.text}")
        options[name.text] = Secret(value.text.encode())
    tokens.mark(";")
    return LoginModule(class_name.text, flag.text.lower(), options)


class _Tokens:
    """The file's tokens, one ahead."""

    def __init__(self, text: str) -> None:
        self._tokens = _scan(text)
        self._next = next(self._tokens)

    def at_end(self) -> bool:
        return self._next.kind == "end"

    def next_is(self, mark: str) -> bool:
        if self.at_end():
            raise JaasError(f"line {self._next.line}: the file ends where {mark} is wanted")
        return self._next.kind == "mark" and self._next.text == mark

    def mark(self, mark: str) -> None:
        if not self.next_is(mark):
            raise JaasError(f"line {self._next.line}: {mark} is wanted here")
        self._next = next(self._tokens)

    def take(self, *kinds: str, what: str) -> _Token:
        token = self._next
        if token.kind not in kinds:
            raise JaasError(f"line {token.line}: {what} is wanted here")
        self._next = next(self._tokens)
        return token


def _scan(text: str) -> Iterator[_Token]:
    pos, line = 0, 1
    while pos < len(text):
        found = _TOKEN.match(text, pos)
        if found is None:
            what = "a quoted text does not end on its line" if text[pos] == '"' else "a comment does not end"
            raise JaasError(f"line {line}: {what}")
        kind, piece = str(found.lastgroup), found.group()
        if kind == "quoted":
            yield _Token(kind, _ESCAPE.sub(lambda each: _ESCAPES.get(each[1], each[1]), piece[1:-1]), line)
        elif kind != "skip":
            yield _Token(kind, piece, line)
        line += piece.count("\n")
        pos = found.end()
    yield _Token("end", "", line)
    raise JaasError(f"line {line}: the file ends too early")
