"""Model files under their digests; the only way in is a link to bytes that were just hashed.

A name that is taken is trusted only after its file was hashed too. What is wrong there (other
bytes, a link, a FIFO, an empty folder) gives way to the right bytes, in one step.
"""

import errno
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

from server.digest import Digest
from server.repository import fsops
from server.repository.layout import Layout

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ModelStore:
    """The files in `models/`.

    Parameters
    ----------
    layout : Layout
        Says where a digest lies.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def adopt(self, fd: int, digest: Digest) -> bool:
        """Make sure that the store has the model's file; True when these bytes had to go in.

        Its name may be lost in a power cut until `flush` has returned.

        Parameters
        ----------
        fd : int
            The very inode whose bytes were hashed, flushed to disk.
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
        link = partial(fsops.link_file, fd)
        return self._adopt(fd, digest, link=link, replace=partial(fsops.replace_file, fd))

    def adopt_new(self, file: fsops.NewFile, digest: Digest) -> bool:
        """Take a file that has no name yet; otherwise as `adopt`, and its name is on disk."""
        return self._adopt(file.fd, digest, link=file.link, replace=file.replace)

    def flush(self) -> None:
        """Wait until the names of all adopted files are on disk."""
        fsops.flush_folder(self._layout.models)

    def _adopt(
        self,
        fd: int,
        digest: Digest,
        *,
        link: Callable[[Path], bool],
        replace: Callable[[Path], None],
    ) -> bool:
        name = self._layout.model(digest)
        os.fchmod(fd, 0o440)
        if not link(name):
            if self.is_file_of(digest, os.fstat(fd)) or self.verify(digest) is not None:
                return False
            replace(name)
        if not self.is_file_of(digest, os.fstat(fd)):
            raise OSError(errno.ESTALE, "the model's file was replaced meanwhile")
        return True

    def path(self, digest: Digest) -> Path:
        """Return where the model's file lies, or would lie."""
        return self._layout.model(digest)

    def holds(self, digest: Digest) -> bool:
        """Tell whether the model's file is here, whatever its bytes."""
        return self._layout.model(digest).is_file()

    def verify(self, digest: Digest) -> int | None:
        """Hash the model's file.

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
            fd = os.open(self._layout.model(digest), _READ)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENXIO}:
                return None  # nothing there, a symbolic link, a socket
            raise
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode) or Digest.of_file(fd) != digest:
                return None
            after = os.fstat(fd)
        finally:
            os.close(fd)
        same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        return after.st_size if same and self.is_file_of(digest, after) else None

    def is_file_of(self, digest: Digest, status: os.stat_result) -> bool:
        """Tell whether the model's file is this very inode."""
        try:
            return os.path.samestat(self._layout.model(digest).lstat(), status)
        except FileNotFoundError:
            return False

    def remove(self, digest: Digest) -> None:
        """Remove the model's file, if it is here."""
        self._layout.model(digest).unlink(missing_ok=True)
        self.flush()
