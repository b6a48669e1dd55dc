"""A stored file hashed again in steps, so that the one who does it can pace it, or show how far."""

import hashlib
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from server.digest import Digest
from server.repository.fsops import Disk

_STEP_BYTES = 1 << 20


class Rehash:
    """One file on its way through the hash; every method blocks, and raises OSError.

    Parameters
    ----------
    disk : Disk
        What it lies on.
    name : Path
        Its name; a link is not followed.

    Attributes
    ----------
    is_file : bool
        Whether it is a regular file at all.
    """

    def __init__(self, disk: Disk, name: Path) -> None:
        self._disk = disk
        self._fd = disk.open(name)
        self._sha256 = hashlib.sha256()
        self._offset = 0
        self.is_file = stat.S_ISREG(disk.status_of(self._fd).st_mode)

    def __enter__(self) -> Self:
        self._forget_pages()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        try:
            self._forget_pages()
        finally:
            self._disk.close(self._fd)

    def _forget_pages(self) -> None:
        # what is cached says nothing of the disk, and what nobody asks for shall push nothing out
        if self.is_file:
            self._disk.forget_pages(self._fd)

    def step(self) -> int:
        """Hash the next bytes, and return how many; 0 at the end."""
        piece = self._disk.read(self._fd, _STEP_BYTES, self._offset)
        self._sha256.update(piece)
        self._offset += len(piece)
        return len(piece)

    def digest(self) -> Digest:
        """Return the digest of what was hashed."""
        return Digest(self._sha256.digest())
