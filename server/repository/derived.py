"""What intake made of models: converted files beside them in `models/`, each under its own digest.

A derived file can always be made again from its model, so none is ever mended: one that is missing
or damaged is forgotten, and its model is judged again.
"""

import logging
from collections.abc import Set
from pathlib import Path

from server.digest import Digest
from server.repository import fsops
from server.repository.layout import Layout

_log = logging.getLogger(__name__)


class DerivedFiles:
    """The derived files.

    Parameters
    ----------
    layout : Layout
        Says where a digest lies.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._disk = layout.disk

    def new(self) -> fsops.NewFile:
        """Open a file without a name, for a child process to fill.

        Raises
        ------
        OSError
            If the disk has no room.
        """
        return fsops.NewFile(self._disk, self._layout.models)

    def path(self, digest: Digest) -> Path:
        """Return where a derived file lies."""
        return self._layout.derived(digest)

    def keep(self, file: fsops.NewFile) -> Digest:
        """Give a filled file its name; returns once it is on disk.

        Returns
        -------
        Digest
            Of its bytes.

        Raises
        ------
        OSError
            If the disk has no room.
        """
        file.flush()
        digest = self._disk.digest(file.fd)
        if not file.link(self._layout.derived(digest)):
            # an older one of that name may be damaged; these bytes have just been hashed
            file.replace(self._layout.derived(digest))
        return digest

    def is_intact(self, digest: Digest) -> bool:
        """Tell whether the file is here and has the bytes that its name says."""
        try:
            fd = self._disk.open(self._layout.derived(digest))
        except OSError:
            return False
        try:
            return self._disk.digest(fd) == digest
        except OSError:
            return False  # a folder, a pipe, a disk that fails
        finally:
            self._disk.close(fd)

    def keep_only(self, used: Set[Digest]) -> int:
        """Remove the files that no model uses any longer, and return how many there were."""
        removed = 0
        for digest in self._layout.all_derived():
            if digest in used:
                continue
            try:
                self._disk.unlink(self._layout.derived(digest))
                removed += 1
            except OSError as error:
                # it is not ours then (a folder, say), and it is in nobody's way
                fields = {"digest": digest.short, "reason": error.strerror}
                _log.warning("derived file could not be removed", extra=fields)
        return removed
