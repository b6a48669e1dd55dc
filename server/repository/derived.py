"""What intake made of models: converted files beside them in `models/`, each under its own digest.

A derived file can always be made again from its model, so none is ever mended: one that is missing
or damaged is forgotten, and its model is judged again.
"""

import logging
import os
from collections.abc import Set
from pathlib import Path

from server.digest import Digest
from server.repository import fsops
from server.repository.layout import Layout

_log = logging.getLogger(__name__)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class DerivedFiles:
    """The derived files.

    Parameters
    ----------
    layout : Layout
        Says where a digest lies.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def new(self) -> fsops.NewFile:
        """Open a file without a name, for a child process to fill.

        Raises
        ------
        OSError
            If the disk has no room.
        """
        return fsops.NewFile(self._layout.models)

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
        os.fchmod(file.fd, 0o440)
        file.flush()
        digest = Digest.of_file(file.fd)
        if not file.link(self._layout.derived(digest)):
            # an older one of that name may be damaged; these bytes have just been hashed
            file.replace(self._layout.derived(digest))
        return digest

    def is_intact(self, digest: Digest) -> bool:
        """Tell whether the file is here and has the bytes that its name says."""
        try:
            fd = os.open(self._layout.derived(digest), _READ)
        except OSError:
            return False
        try:
            return Digest.of_file(fd) == digest
        except OSError:
            return False  # a folder, a pipe, a disk that fails
        finally:
            os.close(fd)

    def keep_only(self, used: Set[Digest]) -> int:
        """Remove the files that no model uses any longer, and return how many there were."""
        removed = 0
        for digest in self._layout.all_derived():
            if digest in used:
                continue
            try:
                self._layout.derived(digest).unlink(missing_ok=True)
                removed += 1
            except OSError as error:
                # it is not ours then (a folder, say), and it is in nobody's way
                fields = {"digest": digest.short, "reason": error.strerror}
                _log.warning("derived file could not be removed", extra=fields)
        return removed
