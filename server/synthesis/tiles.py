"""Tiles of a sound of any length, and what their answers make together.

::

    samples  |----------- 130,977 -----------|           or, of a picture: 256 frames
                                     |----------- 130,977 -----------|
             |------- 117,760 -------|                                     230 frames
    faded                            |13,217 |           26 frames, 10 % of a tile

What the answers of two tiles share fades from one to the other, so no more than one tile need be
held, and an hour takes as much memory as a minute.
"""

import numpy as np
from numpy.typing import NDArray

from server.audio.spectrum import HOP_LENGTH

FRAME_HOP = 230
TILE_HOP = FRAME_HOP * HOP_LENGTH


class Joiner:
    """Joins the answers of tiles along their last axis.

    Parameters
    ----------
    hop : int
        From the start of one tile to that of the next, more than half of a tile.
    """

    def __init__(self, hop: int) -> None:
        self._hop = hop
        self._tail: NDArray[np.float32] | None = None

    def add(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the answer of the next tile.

        Parameters
        ----------
        tile : np.ndarray, shape (..., n), float32
            All of one length.

        Returns
        -------
        np.ndarray, shape (..., hop), float32
            What no later tile reaches.
        """
        joined = tile.copy(order="K")
        if self._tail is not None:
            shared = self._tail.shape[-1]
            rising = np.arange(1, shared + 1, dtype=np.float32) / np.float32(shared + 1)
            part = joined[..., :shared]
            part -= self._tail
            part *= rising
            part += self._tail
        self._tail = joined[..., self._hop :]
        return joined[..., : self._hop]

    def finish(self) -> NDArray[np.float32] | None:
        """Return what is left of the last tile; None where there was none."""
        return self._tail
