"""What waits until the rest has caught up: arrays that come and go along one axis."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Held:
    """A queue of arrays.

    Parameters
    ----------
    axis : int
        Along which they follow each other.
    """

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._parts: list[NDArray[Any]] = []

    def __len__(self) -> int:
        return sum(part.shape[self._axis] for part in self._parts)

    def put(self, part: NDArray[Any]) -> None:
        """Add an array."""
        if part.shape[self._axis]:
            self._parts.append(part)

    def look(self, count: int) -> NDArray[Any]:
        """Return the first of them, as far as there are so many, and keep them."""
        self._join()
        return self._first(count)

    def take(self, count: int) -> NDArray[Any]:
        """Return the first of them, as far as there are so many."""
        self._join()
        taken = self._first(count)
        places = [slice(None)] * taken.ndim
        places[self._axis] = slice(count, None)
        self._parts = [self._parts[0][tuple(places)]]
        return taken

    def _first(self, count: int) -> NDArray[Any]:
        whole = self._parts[0]
        places = [slice(None)] * whole.ndim
        places[self._axis] = slice(0, count)
        return whole[tuple(places)]

    def _join(self) -> None:
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts, axis=self._axis)]


def with_end(blocks: Iterator[NDArray[np.float32]]) -> Iterator[tuple[NDArray[np.float32], bool]]:
    """Give blocks as they come, each with False, and then an empty one of stereo with True."""
    for block in blocks:
        yield block, False
    yield np.zeros((0, 2), np.float32), True
