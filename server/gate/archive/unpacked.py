"""Read a deflated member of an archive at any place, in bounded memory and without a file.

The gate's process may not write, and the member may be larger than its memory. So it is unpacked
once from end to end, which holds it against what is declared, and the state of the unpacking is
kept at the beginning of each block; a block that is wanted later is unpacked again from there::

    packed    |----------|------|--------------|-----|
              ^state 0   ^1     ^2             ^3          48 KiB each, 512 at most
    unpacked  |  block 0 | block 1 | block 2 | block 3 |   the last ones used stay in memory
"""

import zlib
from collections import OrderedDict
from typing import Any, BinaryIO

from server.gate.archive import zips
from server.gate.archive.zips import Member

_STATES = 512
_BLOCK = 1 << 20  # the smallest
_KEPT = 32 << 20  # bytes of blocks in memory
_INPUT = 16 << 10
_AGAIN = 8  # all that is unpacked, over the size of the member
_SLACK = 256 << 20


class Unpacked:
    """A deflated member, as if it were unpacked.

    Parameters
    ----------
    file : BinaryIO
        The archive.
    member : Member
        The member, whose bytes are read once here.

    Raises
    ------
    BadModel
        If its bytes do not unpack to what is declared.
    """

    def __init__(self, file: BinaryIO, member: Member) -> None:
        self._file = file
        self._member = member
        self._block = max(_BLOCK, -(-member.size // _STATES))
        self._left = _AGAIN * member.size + _SLACK
        # the state at the beginning of each block, and where in the file it goes on reading
        self._states: list[tuple[Any, int]] = []
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._check()

    def read_at(self, count: int, at: int) -> bytes:
        """Return bytes from a place.

        Raises
        ------
        OSError
            When the member would be unpacked again and again.
        """
        stop = min(at + count, self._member.size)
        parts = []
        while at < stop:
            number, offset = divmod(at, self._block)
            part = self._at(number)[offset : offset + stop - at]
            parts.append(part)
            at += len(part)
        return b"".join(parts)

    def _check(self) -> None:
        """Unpack all of it, and keep a state for each block."""
        member = self._member
        self._states.append((zlib.decompressobj(-zlib.MAX_WBITS), member.start))
        crc = 0
        for number in range(-(-member.size // self._block)):
            inflater, at = self._states[number]
            inflater = inflater.copy()
            data, at = self._inflate(inflater, at, self._length(number))
            if len(data) < self._length(number):
                raise zips.damaged()
            crc = zlib.crc32(data, crc)
            self._states.append((inflater, at))
            self._keep(number, data)
        inflater, at = self._states.pop()
        # nothing more comes out, and nothing more is there
        more, at = self._inflate(inflater.copy(), at, 1)
        if more or at != member.start + member.packed or crc != member.crc:
            raise zips.damaged()

    def _at(self, number: int) -> bytes:
        data = self._blocks.get(number)
        if data is None:
            length = self._length(number)
            self._left -= length
            if self._left < 0:
                raise OSError("more is unpacked than a model's outline takes")
            inflater, at = self._states[number]
            data, _ = self._inflate(inflater.copy(), at, length)
            self._keep(number, data)
        self._blocks.move_to_end(number)
        return data

    def _length(self, number: int) -> int:
        return min(self._block, self._member.size - number * self._block)

    def _keep(self, number: int, data: bytes) -> None:
        self._blocks[number] = data
        while len(self._blocks) > max(2, _KEPT // self._block):
            self._blocks.popitem(last=False)

    def _inflate(self, inflater: Any, at: int, wanted: int) -> tuple[bytes, int]:
        """Return the next bytes, fewer where it ends, and the place after what they took."""
        stop = self._member.start + self._member.packed
        parts = []
        while wanted and not inflater.eof:
            piece = zips.exactly(self._file, at, min(_INPUT, stop - at))
            try:
                data = inflater.decompress(piece, wanted)
            except zlib.error as error:
                raise zips.damaged() from error
            left = len(inflater.unconsumed_tail) + len(inflater.unused_data)
            if not data and not piece:
                raise zips.damaged()  # it ends before it says so
            at += len(piece) - left
            wanted -= len(data)
            parts.append(data)
        return b"".join(parts), at
