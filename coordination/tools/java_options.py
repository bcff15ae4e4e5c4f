"""A verb's words taken apart as Apache Commons CLI does it, on which ZooKeeper's shell stands.

In: words and the options a verb has.  Out: what stood where; `OptionError` in Commons CLI's words.
Knows no verb.  Answers to org.apache.commons.cli.DefaultParser.

(1) Options may stand anywhere, before, between and behind arguments; `--` ends them.
(2) Single letters cluster (`-sw`), and the last may hold its value (`-v3`, `-v=3`).
(3) A word that begins with `-` and is no option is an error, not an argument, but as the value of an option.
"""

from dataclasses import dataclass, field


class OptionError(Exception):
    """The words do not fit the verb."""


@dataclass(slots=True)
class Parsed:
    """Arguments in order, and options with their value ("" for a flag)."""

    args: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        return name in self.options


@dataclass(frozen=True, slots=True)
class Options:
    """What a verb takes: names of flags, names of options with a value, and names of which at most one may be given."""

    flags: tuple[str, ...] = ()
    valued: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    one_needed: str = ""
    """Commons CLI's list of the group, if one of it must be given."""

    def takes(self, name: str) -> bool:
        return name in self.flags or name in self.valued

    def parse(self, words: list[str]) -> Parsed:
        """`words` without the verb itself."""
        return _Parser(self).run(words)


class _Parser:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.found = Parsed()
        self.waiting: str | None = None  # an option that has no value yet

    def run(self, words: list[str]) -> Parsed:
        rest = iter(words)
        for word in rest:
            if word == "--":
                self.found.args.extend(rest)
            elif self.waiting is not None and not self._is_option(word):
                self.found.options[self.waiting] = _unquoted(word)
                self.waiting = None
            elif word.startswith("-") and word != "-":
                self._option(word)
            else:
                self.found.args.append(word)
        self._nothing_waits()
        if self.options.one_needed and not any(self.found.has(each) for each in self.options.one_of):
            raise OptionError(f"Missing required option: [{self.options.one_needed}]")
        return self.found

    def _is_option(self, word: str) -> bool:
        if not word.startswith("-") or word == "-":
            return False
        name, _, _ = word.lstrip("-").partition("=")
        if word.startswith("--"):
            return any(each.startswith(name) for each in self._long_names())
        return self.options.takes(name) or (bool(name) and self.options.takes(name[0]))

    def _long_names(self) -> list[str]:
        return [each for each in (*self.options.flags, *self.options.valued) if len(each) > 1]

    def _option(self, word: str) -> None:
        name, equals, value = word.lstrip("-").partition("=")
        double = word.startswith("--")
        if self.options.takes(name) and not (double and len(name) == 1):
            self._take(name)
            if equals:
                if self.waiting is None:
                    raise OptionError(f"Unrecognized option: {word}")
                self.found.options[name], self.waiting = value, None
            return
        if not double and self._cluster(word[1:]):
            return
        raise OptionError(f"Unrecognized option: {word}")

    def _cluster(self, letters: str) -> bool:
        """`-sw`, `-v3`: False when the first letter is no option."""
        for at, letter in enumerate(letters):
            if not self.options.takes(letter):
                if at == 0:
                    return False
                raise OptionError(f"Unrecognized option: -{letters}")
            self._take(letter)
            if self.waiting is not None and at + 1 < len(letters):
                self.found.options[letter], self.waiting = _unquoted(letters[at + 1 :]), None
                return True
        return True

    def _take(self, name: str) -> None:
        self._nothing_waits()
        group = self.options.one_of
        if name in group:
            chosen = next((each for each in group if self.found.has(each) and each != name), None)
            if chosen is not None:
                raise OptionError(
                    f"The option '{name}' was specified but an option from this group has already been selected: "
                    f"'{chosen}'",
                )
        self.found.options[name] = ""
        self.waiting = name if name in self.options.valued else None

    def _nothing_waits(self) -> None:
        if self.waiting is not None:
            raise OptionError(f"Missing argument for option: {self.waiting}")


def _unquoted(word: str) -> str:
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] == '"' else word
