"""Many numbers as JSON, written piece by piece: others get their turn beside them."""

import asyncio
import math
from array import array

import msgspec

from server.errors import ServerError
from server.inference.frames import Part

_PIECE_VALUES = 1 << 14  # written as text in one turn


async def numbers_of(part: Part, *, otherwise: ServerError) -> bytes:
    """Write the numbers of a tensor, which has float32, with commas between.

    Parameters
    ----------
    part : Part
        The tensor.
    otherwise : ServerError
        Raised if one of them is not finite.
    """
    numbers = array("f", bytes(part.data))
    pieces = []
    for start in range(0, len(numbers), _PIECE_VALUES):
        if start:
            await asyncio.sleep(0)
        piece = numbers[start : start + _PIECE_VALUES].tolist()
        if not all(map(math.isfinite, piece)):
            raise otherwise
        pieces.append(msgspec.json.encode(piece)[1:-1])
    return b",".join(pieces)
