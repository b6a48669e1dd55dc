"""Files in staging, opened only when they are ours alone and nobody writes them.

Anybody on this machine may have put something into staging, so a name is trusted with nothing: it
is opened without following a link and without waiting, and only the open file is looked at.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from server.digest import Digest
from server.repository.layout import UPLOAD_NAME, Layout


class Left(StrEnum):
    """Why a sweep leaves a name alone."""

    BUSY = "it is being written"
    GONE = "it is gone"
    SYMLINK = "symbolic link"
    NO_FILE = "no regular file"
    OWNER = "foreign owner"
    LINKS = "hard links"
    UNREADABLE = "it cannot be opened"


@dataclass(frozen=True, slots=True)
class Quiet:
    """A file that was hashed while nobody wrote it.

    Attributes
    ----------
    fd : int
        Open for reading; whoever has this closes it.
    digest : Digest
        Of its bytes.
    status : os.stat_result
        Of the open file, after it was hashed.
    """

    fd: int
    digest: Digest
    status: os.stat_result


def open_quiet(layout: Layout, name: str) -> Quiet | Left:
    """Open and hash a file in staging, or say why not.

    Raises
    ------
    OSError
        If the disk cannot read it.
    """
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(layout.uploads / name, flags)
    except OSError as error:
        return _why_closed(layout, name, error)
    quiet = None
    try:
        before = os.fstat(fd)
        if (fault := _fault(before)) is not None:
            return fault
        if _is_quiet(fd, name):
            digest = Digest.of_file(fd)
            after = os.fstat(fd)
            if _is_quiet(fd, name) and _unchanged(before, after):
                quiet = Quiet(fd, digest, after)
        return quiet or Left.BUSY
    finally:
        if quiet is None:
            os.close(fd)


def is_still_quiet(file: Quiet, name: str) -> bool:
    """Tell whether nobody has written a file since it was hashed, and nobody writes it now."""
    return _is_quiet(file.fd, name) and _unchanged(file.status, os.fstat(file.fd))


def drop_name(layout: Layout, name: str, status: os.stat_result) -> None:
    """Remove a name from staging, if it is still this file's."""
    path = layout.uploads / name
    try:
        if os.path.samestat(os.lstat(path), status):
            path.unlink()
    except FileNotFoundError:
        pass


def size_of(layout: Layout, names: Iterable[str]) -> int:
    """Return the bytes of those names that are still in staging."""
    size = 0
    for name in names:
        try:
            size += os.lstat(layout.uploads / name).st_size
        except OSError:
            continue  # settled meanwhile
    return size


def _why_closed(layout: Layout, name: str, error: OSError) -> Left:
    if error.errno == errno.ENOENT:
        return Left.GONE
    try:
        return _fault(os.lstat(layout.uploads / name)) or Left.UNREADABLE
    except OSError:
        return Left.UNREADABLE


def _fault(status: os.stat_result) -> Left | None:
    if stat.S_ISLNK(status.st_mode):
        return Left.SYMLINK
    if not stat.S_ISREG(status.st_mode):
        return Left.NO_FILE
    if status.st_uid != os.geteuid():
        return Left.OWNER
    # a second name is fine when it is the store's: a crash between link and unlink leaves it so
    return Left.LINKS if status.st_nlink > 2 else None


def _is_quiet(fd: int, name: str) -> bool:
    """Tell whether no process has the file open for writing."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return False
    except OSError:
        # no leases on this file system: only what staging itself linked is known to be complete
        return UPLOAD_NAME.fullmatch(name) is not None
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


def _unchanged(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
