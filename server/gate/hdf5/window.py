"""A file or a member of an archive, read through a bound: what HDF5 gets instead of a path.

A library that is sent from place to place by hostile bytes can read without end. Here it reaches
nothing outside of it, and after so many bytes it gets an error.
"""

import io
import os
from typing import BinaryIO

from server.gate.hdf5.blocks import Blocks, ReadAt

_PAGE = 16 << 10
_READ = 512  # what a read costs of the budget beside its bytes


class Window(io.RawIOBase):
    """Bytes of anything that can be read at any place, open for reading.

    Parameters
    ----------
    read_at : callable
        Returns so many bytes from a place, fewer only at the end.
    size : int
        How many there are.
    budget : int
        Most bytes that may be read through it, all reads together.
    """

    def __init__(self, read_at: ReadAt, *, size: int, budget: int) -> None:
        super().__init__()
        self._read_at = read_at
        self.size = size
        self._left = budget
        self._at = 0
        self._page = b""
        self._page_at = 0
        self._blocks = Blocks(read_at, size=size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, counted from the start, from here or from the end."""
        if whence == os.SEEK_SET:
            self._at = offset
        else:
            self._at = offset + (self._at if whence == os.SEEK_CUR else self.size)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # as h5py calls it
        """Fill a buffer from the present place; return how many bytes there were.

        Raises
        ------
        OSError
            When the budget is spent, or a block has no end.
        """
        # an outline is read by tens of thousands of small calls: this is written for few steps
        at, count = self._at, len(buffer)
        self._spend(count + _READ)
        offset = at - self._page_at
        if offset < 0 or offset + count > len(self._page):
            count = max(min(count, self.size - at), 0)
            # outlines are many small things side by side
            ahead = min(max(count, _PAGE), self.size - at)
            self._page = self._read_at(ahead, at) if count else b""
            self._page_at, offset = at, 0
            count = min(count, len(self._page))
        data = self._page[offset : offset + count]
        if cost := self._blocks.cost(at, data):
            self._spend(cost)
        buffer[:count] = data
        self._at = at + count
        return count

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise OSError("more is read than a model's outline takes")


def part_of(file: BinaryIO, start: int) -> ReadAt:
    """Return what reads an open file from `start` on, with places counted from there."""
    number = file.fileno()
    return lambda count, at: os.pread(number, count, start + at)
