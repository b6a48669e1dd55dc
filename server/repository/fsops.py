"""The few file operations that decide whether a crash loses or invents a file.

A file is written without a name, flushed to disk, then linked to its name, and the folder is
flushed: a crash before the link leaves nothing, a crash after it leaves the whole file. Where the
file system knows no unnamed files, a name that starts with a dot stands in and is removed at the
next start. A name that holds a wrong file is replaced in one step, by a rename.
"""

import errno
import logging
import os
import secrets
from pathlib import Path

_NO_UNNAMED = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}
_PART = ".part-"
_log = logging.getLogger(__name__)


class NewFile:
    """A file being written in `folder` that has no name yet.

    Close it to forget it; `link` it to keep it.
    """

    def __init__(self, folder: Path) -> None:
        self._part: Path | None = None
        try:
            self.fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o640)
        except (OSError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_UNNAMED:
                raise
            self._part = _part_name(folder)
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
            self.fd = os.open(self._part, flags, 0o640)

    def write(self, data: bytes) -> None:
        """Append all of `data`."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]

    def flush(self) -> None:
        """Wait until the bytes are on disk."""
        os.fsync(self.fd)

    def link(self, name: Path) -> bool:
        """Give the file its name and flush the folder; False when the name was taken."""
        if not link_file(self.fd, name, source=self._part):
            return False
        flush_folder(name.parent)
        return True

    def replace(self, name: Path) -> None:
        """Give the file its name, whatever has that name now, and flush the folder."""
        replace_file(self.fd, name, source=self._part)

    def close(self) -> None:
        """Drop the descriptor, and the stand-in name where there is one."""
        os.close(self.fd)
        if self._part is not None:
            self._part.unlink(missing_ok=True)


def link_file(fd: int, name: Path, *, source: Path | None = None) -> bool:
    """Link an open file to `name`, not flushed yet; False when the name was taken.

    The inode that `fd` holds is the one that is linked, whatever has happened to its old name.
    """
    try:
        _link(fd, name, source)
    except FileExistsError:
        return False
    return True


def replace_file(fd: int, name: Path, *, source: Path | None = None) -> None:
    """Put an open file in the place of whatever has the name, in one step, and flush the folder.

    Raises
    ------
    OSError
        If that cannot be replaced: a folder with something in it.
    """
    part = _part_name(name.parent)
    _link(fd, part, source)
    try:
        try:
            part.replace(name)
        except IsADirectoryError:
            name.rmdir()
            part.replace(name)
    finally:
        part.unlink(missing_ok=True)
    flush_folder(name.parent)


def _link(fd: int, name: Path, source: Path | None) -> None:
    if source is None:
        # any src_dir_fd makes CPython call linkat(2), the only call that follows the /proc link
        os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=fd, follow_symlinks=True)
    else:
        os.link(source, name)


def _part_name(folder: Path) -> Path:
    return folder / f"{_PART}{secrets.token_hex(8)}"


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def try_link(source: Path, target: Path) -> None:
    """Write a file in `source` and link it into `target`, then remove it.

    Raises
    ------
    OSError
        If the folders cannot be written, or a link between them cannot be made.
    """
    file = NewFile(source)
    name = _part_name(target)
    try:
        file.link(name)
    finally:
        file.close()
        name.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove the stand-in names that a crash left behind."""
    for part in folder.glob(f"{_PART}*"):
        try:
            part.unlink(missing_ok=True)
        except OSError as error:
            # it is not ours then (a folder, say), and it is in nobody's way
            fields = {"part": part.name, "reason": error.strerror}
            _log.warning("stand-in could not be removed", extra=fields)


def free_bytes(folder: Path) -> int:
    """Return the room that this process may still fill on the folder's file system."""
    stats = os.statvfs(folder)
    return stats.f_bavail * stats.f_frsize
