"""Model files under their digests; the only way in is a link to bytes that were just hashed."""

import os
from pathlib import Path

from server.digest import Digest
from server.repository import fsops
from server.repository.layout import Layout


class ModelStore:
    """The files in `models/`.

    Parameters
    ----------
    layout : Layout
        Says where a digest lies.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def adopt(self, fd: int, digest: Digest) -> None:
        """Link an open, flushed file into the store; a second time is no error.

        Parameters
        ----------
        fd : int
            The very inode whose bytes were hashed.
        digest : Digest
            Their SHA-256.
        """
        os.fchmod(fd, 0o440)
        fsops.link_file(fd, self._layout.model(digest))

    def adopt_new(self, file: fsops.NewFile, digest: Digest) -> None:
        """Link a file that has no name yet; otherwise as `adopt`."""
        os.fchmod(file.fd, 0o440)
        file.link(self._layout.model(digest))

    def path(self, digest: Digest) -> Path:
        """Return where the model's file lies, or would lie."""
        return self._layout.model(digest)

    def holds(self, digest: Digest) -> bool:
        """Tell whether the model's file is here."""
        return self._layout.model(digest).is_file()

    def is_file_of(self, digest: Digest, status: os.stat_result) -> bool:
        """Tell whether the model's file is this very inode."""
        try:
            return os.path.samestat(self._layout.model(digest).lstat(), status)
        except FileNotFoundError:
            return False

    def remove(self, digest: Digest) -> None:
        """Remove the model's file, if it is here."""
        self._layout.model(digest).unlink(missing_ok=True)
        fsops.flush_folder(self._layout.models)
