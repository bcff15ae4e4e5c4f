"""Why a log is refused, in words an operator can act on: file, offset, the zxids around it, and what to do.

In:  where something was found, and what.  Out: a `LogDamagedError`; raising it is for whoever found it.
Reads no file and decides nothing.
"""

import shlex
from pathlib import Path

from coordination.storage.api import LogDamagedError
from coordination.storage.log_format import HEADER, Buffer, End
from coordination.storage.log_names import sound_to


def repair_command(after_zxid: int, data_dir: Path, log_dir: Path) -> str:
    """What cuts the log behind a zxid; the directories are those of the settings, one or two."""
    apart = f"--log-dir {shlex.quote(str(log_dir))} " if log_dir.absolute() != data_dir.absolute() else ""
    return f"coordination log truncate --after 0x{after_zxid:x} {apart}{shlex.quote(str(data_dir))}"


def damaged(path: Path, end: End, behind: tuple[int, int] | None, data_dir: Path) -> LogDamagedError:
    """`behind`: offset and zxid of what goes on there, offset 0 for the next file; None: nothing does, but the bad
    record was whole.
    """
    offset, zxid = behind or (0, 0)
    last_zxid = sound_to(path, end.last_zxid)
    fault = end.fault or "zeros end the log, but records follow them"
    if behind is None:
        where = "no crash leaves a record so: it was written whole and has changed since"
    elif offset:
        where = f"a good record with zxid 0x{zxid:x} follows at offset {offset}"
    else:
        where = f"the next file goes on at zxid 0x{zxid:x}"
    return LogDamagedError(
        f"{path} is damaged at offset {end.offset}: {fault}, and {where}; the last good record before it is "
        f"zxid 0x{last_zxid:x}. Acknowledged writes may lie in between, so nothing was changed. "
        f"Restore {path.name} from a copy or another member. If the machine lost power during these writes, or if "
        "losing them is acceptable: keep a copy of the directory, then cut the log with "
        f"`{repair_command(last_zxid, data_dir, path.parent.parent)}`.",
        path,
        end.offset,
        last_zxid,
        zxid,
    )


def backwards(path: Path, zxid: int, last_zxid: int) -> LogDamagedError:
    return LogDamagedError(
        f"{path} begins with zxid 0x{zxid:x}, but the file before it ends with 0x{last_zxid:x}: "
        "the files do not belong to one history. Move the ones that came from elsewhere out of the directory.",
        path,
        HEADER.size,
        last_zxid,
        zxid,
    )


def missing_file(path: Path, last_zxid: int, zxid: int) -> LogDamagedError:
    return LogDamagedError(
        f"{path} begins with zxid 0x{zxid:x}, but the file before it ends with 0x{last_zxid:x}: the log file in "
        "between is missing. Put it back from a copy; "
        f"starting without it would lose {zxid - last_zxid - 1} acknowledged writes.",
        path,
        HEADER.size,
        last_zxid,
        zxid,
    )


def not_a_log(path: Path, buffer: Buffer, last_zxid: int) -> LogDamagedError:
    return LogDamagedError(
        f"{path} is not a transaction log: it begins with {bytes(buffer[:4])!r}, not b'ZKLG'. "
        "If it is not yours, move it out of the directory; if it is, restore it from a copy.",
        path,
        0,
        last_zxid,
        0,
    )
