"""Durations as people write them: `250ms`, `2s`, `1m`. Text in, milliseconds out.

Pure text. A bare number is refused everywhere, because half of the readers would take it for seconds and half
for milliseconds, and a session timeout wrong by a factor of 1000 looks like a broken cluster.
"""

import re

_PATTERN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def parse_ms(text: str | float) -> int:
    """Whole milliseconds of `250ms`, `1.5s`, `1m`, `1h`; ValueError, with what to write instead, for anything else.

    Parts add up (`1m30s`). Numbers are refused on purpose, also as int or float: see the module's first lines.
    """
    written = str(text).strip()
    if re.fullmatch(r"\d+(\.\d+)?", written):
        raise ValueError(f"{written!r} has no unit: write {written}ms or {written}s")
    parts = _PATTERN.findall(written)
    if not parts or "".join(number + unit for number, unit in parts) != written:
        raise ValueError(f"{written!r} is not a duration: write it like 250ms, 2s or 1m")
    total_ms = sum(float(number) * _UNIT_MS[unit] for number, unit in parts)
    return round(total_ms)


def format_ms(ms: float) -> str:
    """The shortest exact spelling `parse_ms` reads back: 1500 -> `1500ms`, 2000 -> `2s`, 60000 -> `1m`."""
    whole = round(ms)
    for unit in ("h", "m", "s"):
        if whole and whole % _UNIT_MS[unit] == 0:
            return f"{whole // _UNIT_MS[unit]}{unit}"
    return f"{whole}ms"


def clock(ms: float) -> str:
    """An age for humans, `00:02:11`; days are counted in hours."""
    seconds = int(ms // 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
