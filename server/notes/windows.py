"""Windows of a sound as models of the basic-pitch contract take them, and the time of their frames.

::

    3,840 zeros | sound ........................................ | zeros
    |<------------- 43,844 ------------->|                          window 0
                            |<------------- 43,844 ------------->|  window 1, 36,164 later

A window gives 172 frames, 256 samples apart. Windows overlap by 30 frames, of which the middle is
the best heard: 15 are cut from each side, and the 142 that are left follow those of the window
before. 142 frames are 36,352 samples, but windows are only 36,164 apart: the clock of the frames is
set anew by each window. The zeros in front make the first frame that is left that of sample 0.

Source of the numbers: R. Bittner and others, "A lightweight instrument-agnostic model for
polyphonic note transcription and multipitch estimation", 2022, and the package basic-pitch 0.4.0.
"""

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 22_050
HOP = 256
WINDOW = 2 * SAMPLE_RATE_HZ - HOP
FRAMES = 172
TRIM = 15
KEPT = FRAMES - 2 * TRIM
LEAD = TRIM * HOP
WINDOW_HOP = WINDOW - 2 * LEAD


class Windower:
    """Cuts a sound that comes in pieces into windows, holding no more than one window back.

    Attributes
    ----------
    samples : int
        Samples taken so far.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._held = np.zeros(LEAD, np.float32)

    def feed(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next samples.

        Parameters
        ----------
        y : np.ndarray, shape (n,), float32
            Mono samples at 22,050 Hz that follow the last ones; any number.

        Returns
        -------
        np.ndarray, shape (k, 43844, 1), float32
            The windows that are whole now, k >= 0; a read-only view.
        """
        self.samples += len(y)
        held = np.concatenate([self._held, y])
        whole = max(0, (len(held) - WINDOW) // WINDOW_HOP + 1)
        self._held = held[whole * WINDOW_HOP :].copy()
        return _cut(held, whole)

    def finish(self) -> NDArray[np.float32]:
        """Return the last window, filled up with zeros.

        Returns
        -------
        np.ndarray, shape (k, 43844, 1), float32
            One window; two where less than an overlap is left for the second; none of an empty
            sound.
        """
        if not self.samples:
            return _cut(self._held, 0)
        count = -(-len(self._held) // WINDOW_HOP)
        filled = np.zeros((count - 1) * WINDOW_HOP + WINDOW, np.float32)
        filled[: len(self._held)] = self._held
        return _cut(filled, count)


def _cut(held: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    if count == 0:
        return np.empty((0, WINDOW, 1), np.float32)
    views = np.lib.stride_tricks.sliding_window_view(held, WINDOW)
    return views[::WINDOW_HOP][:count, :, None]


def frame_count(samples: int, *, whole: bool = True) -> int:
    """Return how many frames of all windows lie within a sound.

    Parameters
    ----------
    samples : int
        Its length at 22,050 Hz.
    whole : bool
        False counts as basic-pitch 0.4.0 does: 86 frames a second, where the windows give 86.58, so
        that the last 0.7 % of every sound is left unheard (24 s of an hour).

    Returns
    -------
    int
        Frames whose time is before the sound's end.
    """
    if not whole:
        return samples * (SAMPLE_RATE_HZ // HOP) // SAMPLE_RATE_HZ
    windows, rest = divmod(samples, WINDOW_HOP)
    return windows * KEPT + min(KEPT, -(-rest // HOP))


def frame_time_s(frame: int) -> float:
    """Return when a frame of the stitched windows is.

    Parameters
    ----------
    frame : int
        Its place, the windows' trimmed frames one after the other.

    Returns
    -------
    float
        Seconds from the sound's start.
    """
    window, inside = divmod(frame, KEPT)
    return (window * WINDOW_HOP + inside * HOP) / SAMPLE_RATE_HZ
