"""A part of a file, read through a bound: what HDF5 gets instead of a path.

A library that is sent from place to place by hostile bytes can read without end. Here it reaches
nothing outside its part, and after so many bytes it gets an error.
"""

import io
import os
from typing import BinaryIO

from server.gate import global_heap

_PAGE = 16 << 10
_READ = 512  # what a read costs of the budget beside its bytes


class Window(io.RawIOBase):
    """Bytes ``start`` to ``start + size`` of a file, open for reading.

    Parameters
    ----------
    file : BinaryIO
        An open file.
    start, size : int
        The part, in bytes.
    budget : int
        Most bytes that may be read through it, all reads together.
    """

    def __init__(self, file: BinaryIO, *, start: int, size: int, budget: int) -> None:
        super().__init__()
        self._fd = file.fileno()
        self._start = start
        self.size = size
        self._left = budget
        self._at = 0
        self._page = b""
        self._page_at = 0

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
            When the budget is spent, or a heap has no end.
        """
        # an outline is read by tens of thousands of small calls: this is written for few steps
        at, count = self._at, len(buffer)
        self._left -= count + _READ
        if self._left < 0:
            raise OSError("more is read than a model's outline takes")
        offset = at - self._page_at
        if offset < 0 or offset + count > len(self._page):
            count = max(min(count, self.size - at), 0)
            # outlines are many small things side by side
            ahead = min(max(count, _PAGE), self.size - at)
            self._page = os.pread(self._fd, ahead, self._start + at) if count else b""
            self._page_at, offset = at, 0
            count = min(count, len(self._page))
        data = self._page[offset : offset + count]
        if data[:4] == global_heap.SIGNATURE:
            self._check_heap(at)
        buffer[:count] = data
        self._at = at + count
        return count

    def _check_heap(self, at: int) -> None:
        def read(count: int) -> bytes:
            return os.pread(self._fd, count, self._start + at)

        if not global_heap.is_whole(read, self.size - at):
            raise OSError("a heap has no end")
