"""The names of log files, and what they tell: `log.<zxid in hex>`, the zxid of the first record.

In:  a directory, or a path.  Out: log files in order; zxids.  Opens no file.
Answers to Util.getZxidFromName and FileTxnLog.getLogFiles.
"""

import re
from pathlib import Path

_NAME = re.compile(r"log\.([0-9a-f]{1,16})")


def zxid_in_name(path: Path) -> int | None:
    """None: no log file is called so."""
    match = _NAME.fullmatch(path.name)
    return None if match is None else int(match[1], 16)


def log_files(directory: Path) -> list[tuple[int, Path]]:
    """(zxid in the name, path) of every log file, oldest first."""
    named = ((zxid_in_name(path), path) for path in directory.iterdir())
    return sorted((zxid, path) for zxid, path in named if zxid is not None)


def sound_to(path: Path, last_zxid: int) -> int:
    """Up to which zxid all is good where `path` is bad behind `last_zxid` (0: from its first record on): the files
    before it hold what is older than its name.
    """
    return last_zxid or max(0, (zxid_in_name(path) or 0) - 1)
