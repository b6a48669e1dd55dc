"""Check the heaps of an HDF5 file, where longer texts lie, before the library reads them.

A heap is a row of objects, each of which says where the next begins. The library (1.14.6) follows
it without looking: an object of no length holds it for ever. A flipped bit does that as well.

::

    "GCOL" version 0 0 0   size      | index  references  0 0 0 0   length   data, padded to 8 | ...
    0                      8         | 16                           24       32
"""

import struct
from collections.abc import Callable

SIGNATURE = b"GCOL"
MIN_SIZE, MAX_SIZE = 4096, 16 << 20
_HEAD = 16
_OBJECT = struct.Struct("<HH4xQ")


def is_whole(read: Callable[[int], bytes], room: int) -> bool:
    """Return whether the objects of a heap lead to its end.

    Parameters
    ----------
    read : callable
        Returns so many bytes from the heap's beginning.
    room : int
        Bytes from there to the end of the file.
    """
    size = int.from_bytes(read(_HEAD)[8:], "little")
    if not MIN_SIZE <= size <= min(MAX_SIZE, room):
        return False
    data = read(size)
    at = _HEAD
    while at + _OBJECT.size <= size:
        index, _, length = _OBJECT.unpack_from(data, at)
        # what is free counts its own head, what is used does not
        step = _OBJECT.size + -(-length // 8) * 8 if index else length
        if step < _OBJECT.size or at + step > size:
            return False
        at += step
    return True
