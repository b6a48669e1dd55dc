"""Every act of the repository on the file system, and the order that makes crashes harmless.

A file is written without a name, flushed to disk, then linked to its name, and the folder is
flushed: a crash before the link leaves nothing, a crash after it leaves the whole file. Where the
file system knows no unnamed files, a name that starts with a dot stands in and is removed at the
next start. A name that holds a wrong file is replaced in one step, by a rename.

::

    Disk                    one act each; tests hand in a disk that fails, or that forgets
    NewFile, link_file,     several acts in their order
    replace_file, ...
"""

import errno
import fcntl
import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from server.digest import Digest

Status = os.stat_result
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
READ_ONLY = 0o440  # of every file that got its name here: no child process may change a model
GROWING = 0o600  # until it is whole
_NO_UNNAMED = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_CLOEXEC
_PART = ".part-"
_log = logging.getLogger(__name__)


class Disk:
    """The acts; every method is one of them, blocks, and raises OSError when it fails."""

    def create_unnamed(self, folder: Path) -> int:
        """Open a new file without a name on the folder's file system."""
        return os.open(folder, os.O_TMPFILE | _WRITE, READ_ONLY)

    def create(self, name: Path) -> int:
        """Open a new file under a name that is free."""
        return os.open(name, os.O_CREAT | os.O_EXCL | _WRITE, READ_ONLY)

    def open_growing(self, name: Path) -> int:
        """Open a file that is written bit by bit, at its end; made when it is not there."""
        return os.open(name, os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | _WRITE, GROWING)

    def truncate(self, fd: int, size: int) -> None:
        """Drop what an open file holds behind so many bytes."""
        os.ftruncate(fd, size)

    def open(self, name: Path) -> int:
        """Open what has a name for reading, without following a link and without waiting."""
        return os.open(name, _READ)

    def write(self, fd: int, pieces: Sequence[bytes | memoryview]) -> int:
        """Append the first bytes of some pieces, and return how many."""
        return os.writev(fd, pieces)

    def digest(self, fd: int) -> Digest:
        """Hash an open file."""
        return Digest.of_file(fd)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Read some bytes of an open file; none at its end."""
        return os.pread(fd, size, offset)

    def forget_pages(self, fd: int) -> None:
        """Let the next read of an open file come from the disk itself, where it can."""
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def protect(self, fd: int) -> None:
        """Let nobody write an open file any more."""
        os.fchmod(fd, READ_ONLY)

    def flush(self, fd: int) -> None:
        """Wait until the bytes of an open file are on disk."""
        os.fsync(fd)

    def flush_folder(self, folder: Path) -> None:
        """Wait until the names in a folder are on disk."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def link(self, fd: int, name: Path) -> None:
        """Give an open file a name that is free, whatever has happened to its old one."""
        # any src_dir_fd makes CPython call linkat(2), the only call that follows the /proc link
        os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=fd, follow_symlinks=True)

    def rename(self, old: Path, new: Path) -> None:
        """Move a name, in one step, onto whatever file has the new one."""
        old.rename(new)

    def unlink(self, name: Path) -> None:
        """Remove the name of a file, if it is there."""
        name.unlink(missing_ok=True)

    def remove_folder(self, name: Path) -> None:
        """Remove an empty folder."""
        name.rmdir()

    def make_folder(self, name: Path) -> None:
        """Make a folder."""
        name.mkdir()

    def close(self, fd: int) -> None:
        """Close an open file; without a name it is gone."""
        os.close(fd)

    def status(self, name: Path) -> Status:
        """Look at a name, without following a link."""
        return name.lstat()

    def status_of(self, fd: int) -> Status:
        """Look at an open file."""
        return os.fstat(fd)

    def is_same(self, one: Path, two: Path) -> bool:
        """Tell whether two names lead to the same file or folder."""
        return one.samefile(two)

    def names(self, folder: Path) -> list[str]:
        """List a folder, in order."""
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)

    def is_written(self, fd: int) -> bool:
        """Tell whether a process has an open file open for writing.

        Raises
        ------
        OSError
            If the file system, or a foreign owner, gives no leases, which would tell.
        """
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except BlockingIOError:
            return True
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False

    def free_bytes(self, folder: Path) -> int:
        """Return the room that this process may still fill on the folder's file system."""
        stats = os.statvfs(folder)
        return stats.f_bavail * stats.f_frsize


class NewFile:
    """A file being written in `folder` that has no name yet.

    Close it to forget it; `link` it to keep it.
    """

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk = disk
        self._part: Path | None = None
        try:
            self.fd = disk.create_unnamed(folder)
        except (OSError, AttributeError) as error:  # some systems have no O_TMPFILE at all
            if isinstance(error, OSError) and error.errno not in _NO_UNNAMED:
                raise
            self._part = part_name(folder)
            self.fd = disk.create(self._part)

    @classmethod
    def of_open(cls, disk: Disk, fd: int) -> Self:
        """Take over an open file that has a name of its own, which its owner gives up."""
        file = cls.__new__(cls)
        file._disk, file._part, file.fd = disk, None, fd
        return file

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Append all of some pieces."""
        write_all(self._disk, self.fd, pieces)

    def flush(self) -> None:
        """Wait until the bytes are on disk; after an error the file must be abandoned.

        The kernel tells of a failed write once and forgets the pages: a second flush would succeed.
        """
        self._disk.flush(self.fd)

    def link(self, name: Path) -> bool:
        """Give the file its name and flush the folder; False when the name was taken."""
        if not link_file(self._disk, self.fd, name):
            return False
        self._disk.flush_folder(name.parent)
        return True

    def replace(self, name: Path) -> None:
        """Give the file its name, whatever has that name now, and flush the folder."""
        replace_file(self._disk, self.fd, name)

    def close(self) -> None:
        """Drop the descriptor, and the stand-in name where there is one."""
        try:
            if self._part is not None:
                self._disk.unlink(self._part)
        finally:
            self._disk.close(self.fd)


def write_all(disk: Disk, fd: int, pieces: Sequence[bytes | memoryview]) -> None:
    """Append all of some pieces to an open file."""
    written = disk.write(fd, pieces)
    for piece in pieces:
        view = memoryview(piece)[written:]
        written = max(0, written - len(piece))
        while view:
            view = view[disk.write(fd, [view]) :]


def link_file(disk: Disk, fd: int, name: Path) -> bool:
    """Link an open file to `name`, not flushed yet; False when the name was taken."""
    try:
        disk.link(fd, name)
    except FileExistsError:
        return False
    return True


def replace_file(disk: Disk, fd: int, name: Path) -> None:
    """Put an open file in the place of whatever has the name, in one step, and flush the folder.

    Raises
    ------
    OSError
        If that cannot be replaced: a folder with something in it.
    """
    part = part_name(name.parent)
    disk.link(fd, part)
    try:
        try:
            disk.rename(part, name)
        except IsADirectoryError:
            disk.remove_folder(name)
            disk.rename(part, name)
    finally:
        disk.unlink(part)
    disk.flush_folder(name.parent)


def remove_file(disk: Disk, name: Path) -> None:
    """Remove a name; returns once that is on disk."""
    disk.unlink(name)
    disk.flush_folder(name.parent)


def make_folders(disk: Disk, folder: Path) -> None:
    """Make a folder and those above it; returns once their names are on disk."""
    if folder.is_dir():
        return
    make_folders(disk, folder.parent)
    disk.make_folder(folder)
    disk.flush_folder(folder.parent)


def is_same_file(one: Status, two: Status) -> bool:
    """Tell whether two looks were at the same file."""
    return os.path.samestat(one, two)


def is_unchanged(before: Status, after: Status) -> bool:
    """Tell whether nobody wrote a file between two looks."""
    return (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def is_part(name: str) -> bool:
    """Tell whether a name is a stand-in."""
    return name.startswith(_PART)


def remove_parts(disk: Disk, folder: Path) -> int:
    """Remove the stand-in names that a crash left behind, and return how many there were."""
    removed = 0
    for name in filter(is_part, disk.names(folder)):
        try:
            disk.unlink(folder / name)
            removed += 1
        except OSError as error:
            # it is not ours then (a folder, say), and it is in nobody's way
            fields = {"part": name, "reason": error.strerror}
            _log.warning("stand-in could not be removed", extra=fields)
    return removed


def part_name(folder: Path) -> Path:
    """Return a stand-in name that is free."""
    return folder / f"{_PART}{secrets.token_hex(8)}"
