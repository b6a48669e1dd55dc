"""Check the blocks of an HDF5 file that the library follows without looking, as it reads them.

What it goes through must not be more than the file is long, and it (1.14.6) is held for ever, or
for as long as somebody likes, by

- a heap, where longer texts lie, with an object of no length: each says where the next begins;
- a list of what is free among names, which may lead in a circle;
- a B-tree whose nodes have children in common, which are gone through once for each way to them;
- an index of chunks that says how many there may be, whatever is stored;
- a heap that is packed, and unpacks to more than it is.

::

    "GCOL" version 0 0 0  size      | index  references  0 0 0 0  length  data, padded to 8 | ...
    0                     8         | 16                          24      32
    "TREE" kind level  used | left  right | key  child  key  child ...
    0      4    5      6    | 8     16    | 24
"""

import struct
from collections.abc import Callable

ReadAt = Callable[[int, int], bytes]

MIN_HEAP, MAX_HEAP = 4096, 16 << 20
_HEAD = 16
_OBJECT = struct.Struct("<HH4xQ")
_STEP = 128  # what a step costs of a budget that is counted in bytes
_NODE_HEAD = 24
CHUNKS_OF_NODE = 64  # children that a node of an index of chunks has room for
_MAX_DEPTH, _MIN_NODE, _MAX_NODE = 2, 64, 2048  # of B-trees of the second kind
_NODE_FRAME = 10  # bytes of such a node beside its records
_KINDS = range(1, 12)
_MAX_WIDTH, _MAX_BLOCK = 64, 1 << 20  # of heaps of the second kind
# what ends a list of free places, the shortest of them, and how many there may be
_LAST_FREE, _FREE_BYTES, _MAX_FREE = 1, 16, 4096


class Blocks:
    """The blocks of one file that were read so far.

    Parameters
    ----------
    read_at : callable
        Returns so many bytes from a place.
    size : int
        Of the file.
    """

    def __init__(self, read_at: ReadAt, *, size: int) -> None:
        self._read_at = read_at
        self._size = size
        self._known: set[int] = set()
        self._children: set[int] = set()
        self._rules: dict[bytes, Callable[[int, bytes], int]] = {
            b"GCOL": self._heap,
            b"TREE": self._node,
            b"HEAP": self._names,
            b"BTHD": self._deep_tree,
            b"FRHP": _wide_heap,
            b"EAHD": _extensible,
            b"FAHD": _fixed,
        }

    def cost(self, at: int, data: bytes) -> int:
        """Return what it costs the library to follow what it has just read, in bytes.

        Parameters
        ----------
        at : int
            Where it lies.
        data : bytes
            All that was read.

        Raises
        ------
        OSError
            If it would never come to an end.
        """
        rule = self._rules.get(data[:4])
        if rule is None or at in self._known:
            return 0
        self._known.add(at)
        try:
            return rule(at, data)
        except struct.error as error:
            raise OSError("a block is cut short") from error

    def _heap(self, at: int, _: bytes) -> int:
        size = int.from_bytes(self._read_at(_HEAD, at)[8:], "little")
        if not MIN_HEAP <= size <= min(MAX_HEAP, self._size - at):
            raise OSError("a heap is larger than it may be")
        data, steps = self._read_at(size, at), 0
        place = _HEAD
        while place + _OBJECT.size <= size:
            index, _references, length = _OBJECT.unpack_from(data, place)
            # what is free counts its own head, what is used does not
            step = _OBJECT.size + -(-length // 8) * 8 if index else length
            if step < _OBJECT.size or place + step > size:
                raise OSError("a heap has no end")
            place += step
            steps += 1
        return size + _STEP * steps

    def _node(self, _: int, data: bytes) -> int:
        """Look at a node, of which the library reads no more and no less than the whole."""
        kind, _level, used = struct.unpack_from("<BBH", data, 4)
        key = 8
        if kind == 1:  # of chunks, whose keys are as long as an array has axes
            room = len(data) - _NODE_HEAD - 8 * CHUNKS_OF_NODE
            key, rest = divmod(room, CHUNKS_OF_NODE + 1)
            if rest or key < 8:
                raise OSError("a node of an index has another size than it may")
        for k in range(used):
            (child,) = struct.unpack_from("<Q", data, _NODE_HEAD + key + k * (key + 8))
            if child in self._children:
                raise OSError("two nodes have a child in common")
            self._children.add(child)
        return _STEP * int(used)

    def _names(self, _: int, data: bytes) -> int:
        """Follow the free places among the names of a group."""
        size, place, at = struct.unpack_from("<QQQ", data, 8)
        if size > self._size - at:
            raise OSError("names lie outside of the file")
        steps = 0
        while place != _LAST_FREE:
            steps += 1
            if place + _FREE_BYTES > size or steps > _MAX_FREE:
                raise OSError("a list of free places has no end")
            place = int.from_bytes(self._read_at(8, at + place), "little")
        return _STEP * steps

    def _deep_tree(self, _: int, data: bytes) -> int:
        kind, node, record, depth = struct.unpack_from("<BIHH", data, 5)
        if depth > _MAX_DEPTH or node > _MAX_NODE:
            raise OSError("a tree has more than a model's outline takes")
        if kind not in _KINDS or node < _MIN_NODE or not 0 < record <= node - _NODE_FRAME:
            raise OSError("a tree has no room for what it says is in it")
        (records,) = struct.unpack_from("<Q", data, 26)
        return _STEP * int(records) // 4


def _wide_heap(_: int, data: bytes) -> int:
    (filters,) = struct.unpack_from("<H", data, 7)
    width, first, largest = struct.unpack_from("<HQQ", data, 110)
    if filters:
        raise OSError("a heap is packed")
    if not (0 < width <= _MAX_WIDTH and 0 < first <= largest <= _MAX_BLOCK):
        raise OSError("a heap has no room for what it says is in it")
    return 0


def _extensible(_: int, data: bytes) -> int:
    (highest,) = struct.unpack_from("<Q", data, 44)
    return _STEP * int(highest) // 4


def _fixed(_: int, data: bytes) -> int:
    (count,) = struct.unpack_from("<Q", data, 8)
    return _STEP * int(count) // 4
