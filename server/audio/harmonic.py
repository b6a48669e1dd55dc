"""The harmonic and the percussive part of a sound.

Tones are smooth along time, clicks along frequency: medians of 31 along either axis say how much
of each cell belongs to which (D. FitzGerald, "Harmonic/percussive separation using median
filtering", 2010; soft masks of power 2 and margin 1 as in librosa 0.11's ``decompose.hpss``).

Three identities save most of the work, exactly or to float32 rounding:

- the median commutes with squaring, so the *power* is filtered and the mask of power 2 is
  ``h / (h + p)``;
- the two masks add up to one, so the percussive part is what the harmonic one leaves of the
  sound: one inverse transform instead of two;
- no magnitude, no phase: the complex spectrum is scaled by a real mask.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from server.audio.median import median31
from server.audio.spectrum import BLOCK, HOP_LENGTH, N_FFT, hann

_OVERLAP = N_FFT // HOP_LENGTH


@dataclass(frozen=True, slots=True)
class Parts:
    """A sound in two parts that add up to it.

    Attributes
    ----------
    harmonic, percussive : np.ndarray, shape (t - 1, HOP_LENGTH), float32
        Samples in rows of one hop. They end where the last frame is centred: what librosa returns
        when ``istft`` is not told a length.
    """

    harmonic: NDArray[np.float32]
    percussive: NDArray[np.float32]


def separate(
    y: NDArray[np.float32],
    *,
    spectrum: NDArray[np.complex64],
    power: NDArray[np.float32],
    power_by_bin: NDArray[np.float32],
) -> Parts:
    """Separate the harmonic from the percussive part.

    Parameters
    ----------
    y : np.ndarray, shape (n,), float32
        The sound.
    spectrum : np.ndarray, shape (t, BINS), complex64
        Its short-time Fourier transform, t = 1 + n // HOP_LENGTH.
    power : np.ndarray, shape (t, BINS), float32
        Squared magnitude of `spectrum`.
    power_by_bin : np.ndarray, shape (BINS, t), float32
        The same, transposed and contiguous.

    Returns
    -------
    Parts
        Both parts, `t` - 1 hops long.
    """
    hops = len(spectrum) - 1
    along_time = median31(power)
    along_frequency = median31(power_by_bin)
    harmonic = _overlap_add(spectrum, along_time, along_frequency)[2 : hops + 2]
    _divide_by_window_power(harmonic)
    percussive = y[: HOP_LENGTH * hops].reshape(hops, HOP_LENGTH) - harmonic
    return Parts(harmonic, percussive)


def _overlap_add(
    spectrum: NDArray[np.complex64],
    along_time: NDArray[np.float32],
    along_frequency: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Sum the masked, transformed and windowed frames, in rows of one hop."""
    count = len(spectrum)
    window = hann(N_FFT)
    added = np.zeros((count + _OVERLAP - 1, HOP_LENGTH), np.float32)
    for first in range(0, count, BLOCK):
        last = min(count, first + BLOCK)
        mask = _mask(along_time[first:last], along_frequency[:, first:last].T)
        frames = scipy.fft.irfft(spectrum[first:last] * mask, n=N_FFT, axis=1)
        frames *= window
        hops = frames.reshape(last - first, _OVERLAP, HOP_LENGTH)
        for k in range(_OVERLAP):
            added[first + k : last + k] += hops[:, k]
    return added


def _mask(harmonic: NDArray[np.float32], percussive: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the share of each cell that is harmonic; one half where there is nothing at all."""
    both = harmonic + percussive
    empty = both == 0
    has_empty = empty.any()
    if has_empty:
        both[empty] = 1
    np.divide(harmonic, both, out=both)
    if has_empty:
        both[empty] = 0.5
    return both


def _divide_by_window_power(hops: NDArray[np.float32]) -> None:
    """Undo the weight of the squared windows: four on each hop, three on the first and last."""
    square = np.square(hann(N_FFT).astype(np.float64)).reshape(_OVERLAP, HOP_LENGTH)
    total = square.sum(axis=0)
    hops[1:-1] /= total.astype(np.float32)
    hops[0] /= (total - square[-1]).astype(np.float32)
    hops[-1] /= (total - square[0]).astype(np.float32)
