"""Give up root for good, once ports are bound and the key is read."""

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

_PR_SET_NO_NEW_PRIVS = 38


def is_pending(run_as: str) -> bool:
    """Tell whether `drop` would change the user of this process."""
    return bool(run_as) and os.geteuid() == 0


def drop(run_as: str, *, owned: Sequence[Path]) -> list[str]:
    """Become another user, who owns some folders; say in sentences why that cannot be.

    Parameters
    ----------
    run_as : str
        ``uid:gid``; empty, or a process that is not root, changes nothing.
    owned : sequence of Path
        Folders that the user must be able to write; made where they are missing. Those that root
        owns are handed over with what root owns in them, but not below.
    """
    if not is_pending(run_as):
        return []
    uid_text, _, gid_text = run_as.partition(":")
    if not uid_text.isdigit() or not gid_text.isdigit() or not int(uid_text):
        return [f"RUN_AS={run_as!r}: write uid:gid, two numbers, not root's"]
    uid, gid = int(uid_text), int(gid_text)
    for folder in owned:
        try:
            _hand_over(folder, uid, gid)
        except OSError as error:
            return [f"RUN_AS={run_as}: {folder} cannot be handed over ({error.strerror})"]
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        return [f"RUN_AS={run_as}: cannot become that user ({error.strerror})"]
    if os.getresuid() != (uid, uid, uid) or os.getgroups():
        return [f"RUN_AS={run_as}: the system kept some of root's rights"]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return []


def _hand_over(folder: Path, uid: int, gid: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid != 0:
        return  # theirs already, and perhaps not ours to list
    for path in (folder, *folder.iterdir()):
        if path.lstat().st_uid == 0:
            os.chown(path, uid, gid, follow_symlinks=False)
