"""Where each option of `up` comes from: flag, environment, brokerdemo.toml here, the user's config file, default.

In: what was typed, the environment and two files.  Out: a value and its origin per option, as text.
Reads files; decides nothing else. A key nobody knows in a file is refused with its file named: a misspelt setting that
is silently ignored costs an afternoon.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from brokerdemo.cluster.errors import ClusterError, Code

# Option -> default, as text; "" is "not set". The name with dashes is the flag, with underscores the key in a file.
DEFAULTS: Mapping[str, str] = {
    "brokers": "5",
    "name": "default",
    "connect": "",
    "topic": "",
    "session-timeout": "1500ms",
    "base-port": "19092",
    "data": "",
    "seed": "",
    "certificates": "true",
    "racks": "",
    "wait": "30s",
    "broker-ids": "",
    "host": "127.0.0.1",
    "advertise": "",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One option's value and the place it was found in."""

    value: str
    origin: str


def resolve(
    flags: Mapping[str, str | None], environ: Mapping[str, str], *, cwd: Path | None = None
) -> dict[str, Setting]:
    """Every option of `up`: the first place that has it wins."""
    files = [(path, _read(path)) for path in _files(environ, cwd or Path.cwd())]
    found: dict[str, Setting] = {}
    for name, default in DEFAULTS.items():
        variable = "BROKERDEMO_" + name.replace("-", "_").upper()
        flag = flags.get(name)
        if flag is not None:
            found[name] = Setting(flag, f"--{name}")
        elif variable in environ:
            found[name] = Setting(environ[variable], f"${variable}")
        else:
            in_file = next(((path, values[name]) for path, values in files if name in values), None)
            found[name] = Setting(in_file[1], str(in_file[0])) if in_file else Setting(default, "default")
    return found


def _files(environ: Mapping[str, str], cwd: Path) -> list[Path]:
    config_home = Path(
        environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or os.path.expanduser("~")) / ".config"
    )
    return [cwd / "brokerdemo.toml", config_home / "brokerdemo" / "config.toml"]


def _read(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    import tomllib

    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ClusterError(Code.USAGE, f"{path} cannot be read", str(error), "correct it, or move it away") from None
    table = table.get("up", table)
    found: dict[str, str] = {}
    for key, value in table.items():
        name = key.replace("_", "-")
        if name not in DEFAULTS:
            raise ClusterError(
                Code.USAGE,
                f"{path}: {key!r} is not a setting of `up`",
                f"there are {', '.join(DEFAULTS)}",
                "correct it, or move the file away",
            )
        found[name] = _text(value)
    return found


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)
