"""Files in staging, opened only when nobody writes them.

::

    ours, and a lease says that nobody writes it -------> hashed, later linked into the store
    ours, no leases here, but staging itself linked it -> the same
    others: as they were a minute ago ------------------> hashed, later copied into the store

Anybody on this machine may have put something into staging, so a name is trusted with nothing: it
is opened without following a link and without waiting, and only the open file is looked at.
"""

import errno
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from os import geteuid

from server.digest import Digest
from server.repository.fsops import Disk, Status, is_same_file, is_unchanged
from server.repository.layout import UPLOAD_NAME, Layout
from server.repository.looks import Looks, is_untouched


class Left(StrEnum):
    """Why a sweep leaves a name alone."""

    BUSY = "it is being written"
    GONE = "it is gone"
    SYMLINK = "symbolic link"
    NO_FILE = "no regular file"
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
    status : Status
        Of the open file, after it was hashed.
    is_ours : bool
        Whether nobody else can write it from now on: if not, a copy of it is what may be kept.
    """

    fd: int
    digest: Digest
    status: Status
    is_ours: bool


def open_quiet(layout: Layout, name: str, looks: Looks) -> Quiet | Left:
    """Open and hash a file in staging, or say why not.

    Parameters
    ----------
    layout : Layout
        Says where staging is.
    name : str
        In staging.
    looks : Looks
        What earlier calls saw of files that no lease tells of.

    Raises
    ------
    OSError
        If the disk cannot read it.
    """
    disk = layout.disk
    try:
        fd = disk.open(layout.uploads / name)
    except OSError as error:
        return _why_closed(layout, name, error)
    quiet = None
    try:
        before = disk.status_of(fd)
        if (fault := _fault(before)) is not None:
            return fault
        is_written = _is_written(disk, fd, name, before)
        if is_written or (is_written is None and not looks.is_settled(name, before)):
            return Left.BUSY
        file = Quiet(fd, disk.digest(fd), before, is_ours=is_written is not None)
        if is_still_quiet(disk, file, name):
            quiet = file
        return quiet or Left.BUSY
    finally:
        if quiet is None:
            disk.close(fd)


def is_still_quiet(disk: Disk, file: Quiet, name: str) -> bool:
    """Tell whether nobody has written a file since it was hashed, and nobody writes it now."""
    now = disk.status_of(file.fd)
    if not file.is_ours:
        return is_untouched(file.status, now)
    return _is_written(disk, file.fd, name, now) is False and is_unchanged(file.status, now)


def drop_name(layout: Layout, name: str, status: Status) -> None:
    """Remove a name from staging, if it is still this file's."""
    path = layout.uploads / name
    try:
        if is_same_file(layout.disk.status(path), status):
            layout.disk.unlink(path)
    except FileNotFoundError:
        pass


def size_of(layout: Layout, names: Iterable[str]) -> int:
    """Return the bytes of those names that are still in staging."""
    size = 0
    for name in names:
        try:
            size += layout.disk.status(layout.uploads / name).st_size
        except OSError:
            continue  # settled meanwhile
    return size


def _why_closed(layout: Layout, name: str, error: OSError) -> Left:
    if error.errno == errno.ENOENT:
        return Left.GONE
    try:
        return _fault(layout.disk.status(layout.uploads / name)) or Left.UNREADABLE
    except OSError:
        return Left.UNREADABLE


def _fault(status: Status) -> Left | None:
    if stat.S_ISLNK(status.st_mode):
        return Left.SYMLINK
    if not stat.S_ISREG(status.st_mode):
        return Left.NO_FILE
    # a second name is fine when it is the store's: a crash between link and unlink leaves it so
    return Left.LINKS if status.st_nlink > 2 else None


def _is_written(disk: Disk, fd: int, name: str, status: Status) -> bool | None:
    """Tell whether a process has the file open for writing; None where nothing tells."""
    if status.st_uid != geteuid():
        return None  # its owner may open it whenever they like
    try:
        return disk.is_written(fd)
    except OSError:
        # no leases on this file system: only what staging itself linked is known to be complete
        return None if UPLOAD_NAME.fullmatch(name) is None else False
