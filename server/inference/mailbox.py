"""Memory through which large payloads pass between the web process and one child.

::

    call      prefix, head ------------- socket -----------------> child
              payload --copied into--> inbox   (the child reads)
    answer    prefix, head <------------ socket ------------------ child
              payload <--copied out--- outbox  (the child writes)

A socket of the system holds 208 KiB: a picture goes through it in pieces, each copied twice and
each waking somebody up. Here it is copied once, and the child works on what it was given where it
lies, until it has answered. Each box holds two payloads in turn, so that the next is there already.

Neither box can be resized, nor the inbox be written by the child: a hostile one does the web
process no harm, which takes a copy of an answer before it looks at it.
"""

import fcntl
import mmap
import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

HALF_BYTES = 8 << 20  # taken only as far as it was ever filled; larger payloads use the socket
LEAST_BYTES = 16 << 10  # smaller ones are there sooner with their head
_BYTES = 2 * HALF_BYTES
_F_SEAL_FUTURE_WRITE = 0x10  # Linux 5.1; Python 3.11 does not name it
_SIZE_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class Mailbox:
    """One side of a box.

    Parameters
    ----------
    fd : int
        Of the memory; the parent's, to be inherited.
    memory : mmap.mmap
        The same, mapped.
    """

    def __init__(self, fd: int, memory: mmap.mmap) -> None:
        self.fd = fd
        self._memory = memory
        self._view = memoryview(memory)
        self._half = 1

    @classmethod
    def make(cls, *, child_writes: bool) -> Self | None:
        """Return the parent's side of a new box; None where memory cannot be sealed."""
        seals = _SIZE_SEALS | fcntl.F_SEAL_SEAL | (0 if child_writes else _F_SEAL_FUTURE_WRITE)
        with ExitStack() as undo:
            try:
                fd = os.memfd_create("mailbox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
                undo.callback(os.close, fd)
                os.ftruncate(fd, _BYTES)
                memory = mmap.mmap(fd, _BYTES)
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
            except OSError:
                return None
            undo.pop_all()
        return cls(fd, memory)

    @classmethod
    def open(cls, fd: int, *, writes: bool) -> Self:
        """Return the child's side of an inherited box."""
        memory = mmap.mmap(fd, _BYTES, prot=mmap.PROT_READ | (mmap.PROT_WRITE if writes else 0))
        os.close(fd)
        return cls(-1, memory)

    def put(self, payload: Sequence[bytes | memoryview]) -> int | None:
        """Write a payload over the last but one.

        Returns
        -------
        int or None
            Which half has it; none when it is too large, or better sent with its head.
        """
        if not LEAST_BYTES <= sum(map(len, payload)) <= HALF_BYTES:
            return None
        self._half = 1 - self._half
        start = self._half * HALF_BYTES
        for piece in payload:
            self._view[start : start + len(piece)] = piece
            start += len(piece)
        return self._half

    def get(self, half: int, size: int) -> memoryview:
        """Return a payload where it lies, shorter when it cannot be that long."""
        start = half * HALF_BYTES
        return self._view[start : start + min(size, HALF_BYTES)]

    def close(self) -> None:
        """Give the parent's side back; the child keeps its own."""
        self._view.release()
        self._memory.close()
        os.close(self.fd)
