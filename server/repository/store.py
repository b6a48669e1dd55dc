"""Model files under their digests; the only way in is a link to bytes that were just hashed.

A name that is taken is trusted only after its file was hashed too, and flushed: whoever put it
there may not have come so far. What is wrong there (other bytes, a link, a FIFO, an empty folder)
gives way to the right bytes, in one step.
"""

import asyncio
import errno
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from server.digest import Digest
from server.repository import fsops
from server.repository.fsops import Status
from server.repository.layout import Layout

_NOTHING = {errno.ENOENT, errno.ELOOP, errno.ENXIO}  # no such name, a symbolic link, a socket


class ModelStore:
    """The files in `models/`.

    Parameters
    ----------
    layout : Layout
        Says where a digest lies.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._disk = layout.disk
        self._turns: WeakValueDictionary[Digest, asyncio.Lock] = WeakValueDictionary()

    def turn(self, digest: Digest) -> asyncio.Lock:
        """Return what is held by those who change a model's file and its record together.

        Otherwise a file could be removed between its arrival and its record.
        """
        turn = self._turns.get(digest)
        if turn is None:
            turn = self._turns[digest] = asyncio.Lock()
        return turn

    def adopt(self, fd: int, digest: Digest) -> bool:
        """Make sure that the store has the model's file; True when these bytes had to go in.

        Its name may be lost in a power cut until `flush` has returned.

        Parameters
        ----------
        fd : int
            The very inode whose bytes were hashed, read-only and flushed to disk.
        digest : Digest
            Their SHA-256.

        Returns
        -------
        bool
            False when the right bytes were there before.

        Raises
        ------
        OSError
            If they could not be put there.
        """
        link = partial(fsops.link_file, self._disk, fd)
        return self._adopt(fd, digest, link=link)

    def adopt_new(self, file: fsops.NewFile, digest: Digest) -> bool:
        """Take a file that has no name yet; otherwise as `adopt`, and its name is on disk."""
        adopted = self._adopt(file.fd, digest, link=file.link)
        if not adopted:
            self.flush()  # whoever linked it may not have come so far
        return adopted

    def flush(self) -> None:
        """Wait until the names of all adopted files are on disk."""
        self._disk.flush_folder(self._layout.models)

    def _adopt(self, fd: int, digest: Digest, *, link: Callable[[Path], bool]) -> bool:
        name = self._layout.model(digest)
        if not link(name):
            if self.is_file_of(digest, self._disk.status_of(fd)) or self._is_kept(digest):
                return False
            fsops.replace_file(self._disk, fd, name)
        if not self.is_file_of(digest, self._disk.status_of(fd)):
            raise OSError(errno.ESTALE, "the model's file was replaced meanwhile")
        return True

    def _is_kept(self, digest: Digest) -> bool:
        return self.verify(digest, flushed=True) is not None

    def path(self, digest: Digest) -> Path:
        """Return where the model's file lies, or would lie."""
        return self._layout.model(digest)

    def holds(self, digest: Digest) -> bool:
        """Tell whether the model's file is here, whatever its bytes."""
        try:
            return stat.S_ISREG(self._disk.status(self._layout.model(digest)).st_mode)
        except OSError:
            return False

    def verify(self, digest: Digest, *, flushed: bool = False) -> int | None:
        """Hash the model's file.

        Parameters
        ----------
        digest : Digest
            Its name.
        flushed : bool
            Wait until the bytes are on disk as well.

        Returns
        -------
        int or None
            Its size in bytes; None when there is no regular file, or one with other bytes.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        try:
            fd = self._disk.open(self._layout.model(digest))
        except OSError as error:
            if error.errno in _NOTHING:
                return None
            raise
        try:
            before = self._disk.status_of(fd)
            if not stat.S_ISREG(before.st_mode) or self._disk.digest(fd) != digest:
                return None
            if flushed:
                self._disk.flush(fd)
            after = self._disk.status_of(fd)
        finally:
            self._disk.close(fd)
        same = fsops.is_unchanged(before, after) and self.is_file_of(digest, after)
        return after.st_size if same else None

    def is_file_of(self, digest: Digest, status: Status) -> bool:
        """Tell whether the model's file is this very inode."""
        try:
            return fsops.is_same_file(self._disk.status(self._layout.model(digest)), status)
        except FileNotFoundError:
            return False

    def remove(self, digest: Digest) -> None:
        """Remove the model's file, if it is here; returns once that is on disk."""
        fsops.remove_file(self._disk, self._layout.model(digest))
