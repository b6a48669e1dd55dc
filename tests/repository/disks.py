"""Disks that fail: the real one, but for what a test says."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

from server.digest import Digest
from server.repository.fsops import Disk


class FailingDisk(Disk):
    """Fails where it is told to.

    Attributes
    ----------
    fails : callable
        Takes the name of an act and what it is done to (a path, or a descriptor's file); returns an
        error number, or 0.
    free : int or None
        The room that there is, when it is not the real disk's.
    """

    def __init__(self, fails: Callable[[str, Path], int] = lambda _act, _name: 0) -> None:
        self.fails = fails
        self.free: int | None = None

    def _act(self, act: str, what: Path | int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{what}")) if isinstance(what, int) else what
        if code := self.fails(act, name):
            raise OSError(code, os.strerror(code))

    def create_unnamed(self, folder: Path) -> int:
        self._act("create", folder)
        return super().create_unnamed(folder)

    def open_growing(self, name: Path) -> int:
        self._act("open growing", name)
        return super().open_growing(name)

    def truncate(self, fd: int, size: int) -> None:
        self._act("truncate", fd)
        super().truncate(fd, size)

    def open(self, name: Path) -> int:
        self._act("open", name)
        return super().open(name)

    def write(self, fd: int, pieces: object) -> int:
        self._act("write", fd)
        return super().write(fd, pieces)  # type: ignore[arg-type]  # whatever it was given

    def read(self, fd: int, size: int, offset: int) -> bytes:
        self._act("read", fd)
        return super().read(fd, size, offset)

    def digest(self, fd: int) -> Digest:
        self._act("digest", fd)
        return super().digest(fd)

    def flush(self, fd: int) -> None:
        self._act("flush", fd)
        super().flush(fd)

    def flush_folder(self, folder: Path) -> None:
        self._act("flush folder", folder)
        super().flush_folder(folder)

    def link(self, fd: int, name: Path) -> None:
        self._act("link", name)
        super().link(fd, name)

    def rename(self, old: Path, new: Path) -> None:
        self._act("rename", old)
        super().rename(old, new)

    def unlink(self, name: Path) -> None:
        self._act("unlink", name)
        super().unlink(name)

    def status(self, name: Path) -> os.stat_result:
        self._act("status", name)
        return super().status(name)

    def names(self, folder: Path) -> list[str]:
        self._act("names", folder)
        return super().names(folder)

    def is_written(self, fd: int) -> bool:
        self._act("lease", fd)
        return super().is_written(fd)

    def free_bytes(self, folder: Path) -> int:
        self._act("free", folder)
        return super().free_bytes(folder) if self.free is None else self.free


def always(act: str, code: int = errno.EIO) -> Callable[[str, Path], int]:
    """Return what makes every act of one kind fail."""
    return lambda done, _name: code if done == act else 0
