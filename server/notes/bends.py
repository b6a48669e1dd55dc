"""How far a note strays from its key, frame by frame.

Source: Bittner and others, 2022 (see `windows`); the width and the weight are those of
basic-pitch 0.4.0.
"""

import numpy as np
from numpy.typing import NDArray

BINS_PER_KEY = 3
_REACH = 25
_WEIGHT = np.exp(-0.5 * (np.arange(-_REACH, _REACH + 1) / 5.0) ** 2)


def bends(contour: NDArray[np.float32], key: int) -> tuple[int, ...]:
    """Read the pitch of a note from its contour.

    Parameters
    ----------
    contour : np.ndarray, shape (frames, 264), float32
        How sure the model is of each third of a semitone, the frames of the note alone.
    key : int
        From 0 for A0 to 87 for C8.

    Returns
    -------
    tuple of int
        One for each frame: thirds of a semitone above the key, -25 to 25.
    """
    centre = key * BINS_PER_KEY
    low, high = max(0, centre - _REACH), min(contour.shape[1], centre + _REACH + 1)
    near = contour[:, low:high] * _WEIGHT[low - centre + _REACH : high - centre + _REACH]
    return tuple((near.argmax(axis=1) + (low - centre)).tolist())
