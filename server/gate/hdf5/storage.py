"""Look at how an HDF5 array is stored: where, in which pieces, and packed by what.

The library unpacks a piece until its stream ends, however little of that it was to hold. So each
one is unpacked here first, as far as it may go, and forgotten.
"""

import zlib
from math import prod
from typing import Any

from h5py import h5d, h5z

from server.gate.hdf5.blocks import ReadAt
from server.gate.refusals import refused

MAX_PIECES = 1 << 16
# in this order, as h5py and Keras write them
_FILTERS = (h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE, h5z.FILTER_FLETCHER32)
_CHECKSUM = 4  # bytes of fletcher32
_AT_ONCE = 1 << 20


def check_place(plan: Any, path: str) -> None:
    """Refuse an array that lies in another file, whatever else is said of where it lies."""
    if plan.get_external_count():
        raise refused("hdf5-external", "an array lies in another file", where=path)


def pieces_of(plan: Any, path: str, shape: tuple[int, ...]) -> int:
    """Return how many pieces an array may have, which the library goes through one by one.

    Raises
    ------
    BadModel
        If it is stored or packed in a way that no model needs.
    """
    layout = plan.get_layout()
    if layout not in (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED):
        raise refused("hdf5-virtual", "an array is a view of other files", where=path)
    filters = [plan.get_filter(k)[0] for k in range(plan.get_nfilters())]
    if filters != [kind for kind in _FILTERS if kind in filters]:
        raise refused("hdf5-filter", "an array is packed by an unknown filter", where=path)
    if layout != h5d.CHUNKED:
        return 0
    return prod(-(-n // wide) for n, wide in zip(shape, plan.get_chunk(), strict=True))


def check_pieces(
    item: Any, plan: Any, path: str, width: int, read_at: ReadAt, *, most: int
) -> None:
    """Refuse an array of which a piece holds not exactly what it says.

    Of more the library takes memory for all; behind less it reads on in its own memory.

    Parameters
    ----------
    item, plan : h5d.DatasetID, h5p.PropDCID
        The array, in pieces, and how it was made.
    path : str
        Its path.
    width : int
        Bytes of one number.
    read_at : callable
        Returns so many bytes from a place of the file.
    most : int
        How many pieces there may be.

    Raises
    ------
    BadModel
        If there is one.
    OSError
        If a piece is damaged.
    """
    whole = width * prod(plan.get_chunk())
    filters = [plan.get_filter(k)[0] for k in range(plan.get_nfilters())]
    pieces: list[Any] = []

    def note(piece: Any) -> bool | None:
        pieces.append(piece)
        return True if len(pieces) > most else None

    if item.chunk_iter(note):
        raise refused("hdf5-bomb", "an array is stored in more pieces than it has", where=path)
    for piece in pieces:
        # a filter that would make a piece longer is left out of it
        applied = {kind for k, kind in enumerate(filters) if not piece.filter_mask >> k & 1}
        behind = _CHECKSUM if h5z.FILTER_FLETCHER32 in applied else 0
        stop = piece.byte_offset + piece.size - behind
        if h5z.FILTER_DEFLATE in applied:
            holds = _unpacked(read_at, piece.byte_offset, stop, whole)
        else:
            holds = piece.size - behind
        if holds != whole:
            sentence = "a piece of an array holds more or less than it declares"
            raise refused("hdf5-bomb", sentence, where=path)


def _unpacked(read_at: ReadAt, at: int, stop: int, limit: int) -> int:
    """Return how many bytes a packed piece holds, counted up to a little over a limit."""
    stream, found = zlib.decompressobj(), 0
    while found <= limit and not stream.eof:
        data = stream.unconsumed_tail
        if not data:
            data = read_at(max(min(_AT_ONCE, stop - at), 0), at)
            at += len(data)
        if not data:
            raise OSError("the end of a piece is missing")
        try:
            found += len(stream.decompress(data, min(_AT_ONCE, limit + 1)))
        except zlib.error as error:
            raise OSError("a piece is damaged") from error
    if found <= limit and (stream.unused_data or at != stop):
        raise OSError("there is more behind a packed piece")
    return found
