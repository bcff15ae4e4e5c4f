"""Typed access to settings: numbers, ports, switches, sizes, levels, each with its range and its complaint.

In: `key=value` pairs.  Out: values; ConfigError where one cannot be used.  Remembers which keys were asked for.
Knows no key by name.  Answers to the parsing half of QuorumPeerConfig.

(1) An error names the key, what stood there (never of a key that may hold a secret) and what may stand there.
"""

import re
from collections.abc import Mapping
from typing import NoReturn

JAVA_INT_MAX = (1 << 31) - 1
PORT_MAX = 65535
_UNITS = {"": 1, "B": 1, "K": 1 << 10, "KB": 1 << 10, "M": 1 << 20, "MB": 1 << 20, "G": 1 << 30, "GB": 1 << 30}
_INTEGER = re.compile(r"[+-]?([0-9]{1,40}|0[xX][0-9a-fA-F]{1,32})")  # 0x... as Java's Integer.getInteger takes it
_LEADING_KEY = re.compile(r"[\w.-]*\w")
# log4j's and logback's names of levels.
_LEVELS = {
    "ALL": "debug",
    "TRACE": "debug",
    "DEBUG": "debug",
    "INFO": "info",
    "WARN": "warning",
    "WARNING": "warning",
    "ERROR": "error",
    "FATAL": "error",
    "OFF": "off",
}


class ConfigError(Exception):
    """The settings cannot be used; the message begins with the key, if it is about one, and says why and what to do."""

    def located(self, places: Mapping[str, str]) -> str:
        """The message, behind the file and line that say the key it begins with.  `places`: key -> `file:line`."""
        message = str(self)
        key = _LEADING_KEY.match(message)
        place = "" if key is None else places.get(key[0].removeprefix("zookeeper."), "")
        return f"{place}: {message}" if place else message


class ConfigReader:
    """Typed access to the merged keys."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.read: set[str] = set()

    def has(self, key: str) -> bool:
        self.read.add(key)
        return key in self._values

    def text(self, key: str, default: str) -> str:
        self.read.add(key)
        return self._values.get(key, default)

    def integer(self, key: str, default: int, *, at_least: int = -(1 << 31), at_most: int = JAVA_INT_MAX) -> int:
        raw = self.text(key, str(default))
        if not _INTEGER.fullmatch(raw):
            self._refuse(key, raw, "is not a whole number")
        number = int(raw, 16 if "x" in raw.lower() else 10)
        if number < at_least:
            self._refuse(key, raw, f"is below {at_least}")
        if number > at_most:
            self._refuse(key, raw, f"is above {at_most}")
        return number

    def port(self, key: str, default: int) -> int:
        """0 lets the system choose."""
        return self.integer(key, default, at_least=0, at_most=PORT_MAX)

    def flag(self, key: str, default: bool) -> bool:
        raw = self.text(key, "yes" if default else "no").lower()
        if raw in ("yes", "true"):
            return True
        if raw not in ("no", "false"):
            self._refuse(key, raw, "is neither yes nor no (nor true, false)")
        return False

    def size(self, key: str, default: str) -> int:
        """Bytes, of `256MB`, `64K` or plain digits."""
        raw = self.text(key, default).upper()
        digits = raw.rstrip("BKMG ")
        unit = raw[len(digits) :].strip()
        if not digits.isdecimal() or unit not in _UNITS or int(digits) == 0:
            self._refuse(key, raw, "is no size such as 256MB")
        return int(digits) * _UNITS[unit]

    def share(self, key: str, default: float) -> float:
        """A number from 0 to 1."""
        raw = self.text(key, str(default))
        try:
            number = float(raw)
        except ValueError:
            self._refuse(key, raw, "is not a number")
        if not 0 <= number <= 1:
            self._refuse(key, raw, "is not between 0 and 1")
        return number

    def names(self, key: str) -> tuple[str, ...]:
        """What stands between commas."""
        return tuple(each.strip() for each in self.text(key, "").split(",") if each.strip())

    def level(self, key: str, default: str) -> str:
        raw = self.text(key, default)
        if raw.upper() not in _LEVELS:
            self._refuse(key, raw, f"is no level; there are {', '.join(_LEVELS)}")
        return _LEVELS[raw.upper()]

    def _refuse(self, key: str, raw: str, why: str) -> NoReturn:
        raise ConfigError(f"{key}={raw} {why}. Correct it, or leave the line out for the default.")
