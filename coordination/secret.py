"""A value that must not be seen: it can be held, compared and handed on, and shows itself only when asked by name.

In: bytes.  Out: the same bytes from `reveal()`, and a mask from everything that prints.
Knows nothing of what the secret is for.  Answers to nothing in ZooKeeper, which prints settings with their passwords
(CVE-2026-24308).

(1) `repr`, `str`, `format` and `%s` give a mask; pickling and copying are refused.
(2) Two secrets are compared in constant time.
"""

import hmac


class Secret:
    """Bytes that printing, logging and pickling do not give away."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """The bytes themselves; the call stands out in a review."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is neither pickled nor copied: hand on reveal() over a channel that is yours")
