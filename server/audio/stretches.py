"""Cuts a sound that comes piece by piece into windows of one length."""

import numpy as np
from numpy.typing import NDArray


class Stretches:
    """Windows that begin every `hop` samples; the last one is filled up with silence.

    Parameters
    ----------
    size, hop : int
        Samples of a window, and from one to the next; the hop is the less.

    Attributes
    ----------
    samples : int
        Taken so far.
    """

    def __init__(self, size: int, hop: int) -> None:
        self.samples = 0
        self._size, self._hop = size, hop
        self._held = np.zeros(0, np.float32)
        self._cut = 0  # windows so far

    def feed(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next samples.

        Parameters
        ----------
        y : np.ndarray, shape (n,), float32
            Any number.

        Returns
        -------
        np.ndarray, shape (k, size), float32
            The windows that are whole now, k >= 0; a read-only view.
        """
        self.samples += len(y)
        held = np.concatenate([self._held, y])
        count = max(0, (len(held) - self._size) // self._hop + 1)
        self._held = held[count * self._hop :].copy()
        self._cut += count
        if not count:
            return np.empty((0, self._size), np.float32)
        return np.lib.stride_tricks.sliding_window_view(held, self._size)[:: self._hop][:count]

    def finish(self) -> NDArray[np.float32]:
        """Return the last window, where samples are left that no window has.

        Returns
        -------
        np.ndarray, shape (k, size), float32
            None, or one: k is 0 or 1.
        """
        unseen = len(self._held) - (self._size - self._hop if self._cut else 0)
        if unseen <= 0:
            return np.empty((0, self._size), np.float32)
        last = np.zeros((1, self._size), np.float32)
        last[0, : len(self._held)] = self._held
        return last
