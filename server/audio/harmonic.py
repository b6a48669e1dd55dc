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

Blocks of frames are separated as they come, one block late, because the median along time looks 15
frames ahead: what is worked on stays in the cache, and no array is as long as the sound but the
power::

                     16      BINS      15+
                   +----+-----------+----+
                16 |         mirrored    |
                   |    +-----------+    |
    frames         |    |   power   |    |     what both medians read
                   |    +-----------+    |
               16+ |                     |
                   +---------------------+
"""

import threading

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from server.audio.median import BLOCK as ROWS
from server.audio.median import SlidingMedian, mirror
from server.audio.spectrum import BINS, BLOCK, HOP_LENGTH, N_FFT, hann

_OVERLAP = N_FFT // HOP_LENGTH
_BIN_BLOCKS = -(-BINS // ROWS)
_WIDTH = ROWS * (_BIN_BLOCKS + 2)
_BINS = slice(ROWS, ROWS + BINS)


class _Scratch(threading.local):
    """Memory that every sound uses again; each thread has its own."""

    def __init__(self) -> None:
        self.along_time = SlidingMedian(BLOCK // ROWS, ROWS * _BIN_BLOCKS)
        self.along_frequency = SlidingMedian(_BIN_BLOCKS, BLOCK)
        self.mask = np.empty((BLOCK, ROWS * _BIN_BLOCKS), np.float32)


_scratch = _Scratch()


class Separator:
    """Takes the spectrum of a sound block by block and leaves its harmonic part.

    Parameters
    ----------
    count : int
        Frames of the sound, at least 3.

    Attributes
    ----------
    power : np.ndarray, shape (count, BINS), float32
        Squared magnitude of the spectrum, to be filled before each `add`.
    """

    def __init__(self, count: int) -> None:
        rows = BLOCK * -(-count // BLOCK) + 2 * ROWS
        self._count = count
        self._framed = np.zeros((rows, _WIDTH), np.float32)
        self._added = np.zeros((count + _OVERLAP - 1, HOP_LENGTH), np.float32)
        self._waiting: tuple[int, NDArray[np.complex64]] | None = None
        self.power = self._framed[ROWS : ROWS + count, _BINS]

    def add(self, at: slice, spectrum: NDArray[np.complex64]) -> None:
        """Take the next frames.

        Parameters
        ----------
        at : slice
            Which frames; their `power` is there.
        spectrum : np.ndarray, shape (m, BINS), complex64
            Their spectra; overwritten.
        """
        mirror(self._framed[ROWS:][at].T, BINS)
        if at.start == 0 or at.stop == self._count:
            mirror(self._framed, self._count)
        if self._waiting is not None:
            self._separate(*self._waiting)
        self._waiting = at.start, spectrum

    def harmonic(self) -> NDArray[np.float32]:
        """Return the harmonic part, after the last frame.

        Returns
        -------
        np.ndarray, shape (count - 1, HOP_LENGTH), float32
            Samples in rows of one hop. They end where the last frame is centred: what librosa
            returns when ``istft`` is not told a length.
        """
        if self._waiting is not None:
            self._separate(*self._waiting)
            self._waiting = None
        part = self._added[2 : self._count + 1]
        # of the four windows over each hop, the first and the last hop saw three
        whole = _WINDOW_POWER.sum(axis=0)
        part[0] *= whole / (whole - _WINDOW_POWER[-1])
        part[-1] *= whole / (whole - _WINDOW_POWER[0])
        return part

    def _separate(self, first: int, spectrum: NDArray[np.complex64]) -> None:
        """Sum the masked, transformed and windowed frames, in rows of one hop."""
        count = len(spectrum)
        spectrum *= self._mask(first)[:count, :BINS]
        frames = scipy.fft.irfft(spectrum, n=N_FFT, axis=1, overwrite_x=True)
        frames *= _WEIGHTS
        hops = frames.reshape(count, _OVERLAP, HOP_LENGTH)
        for k in range(_OVERLAP):
            self._added[first + k : first + k + count] += hops[:, k]

    def _mask(self, first: int) -> NDArray[np.float32]:
        """Return the share of each cell that is harmonic; one half where there is nothing."""
        along_time, along_frequency = _scratch.along_time, _scratch.along_frequency
        near = self._framed[first : first + BLOCK + 2 * ROWS]
        along_time.rows[...] = near[:, ROWS:-ROWS].reshape(along_time.rows.shape)
        here = near[ROWS:-ROWS].reshape(BLOCK, _BIN_BLOCKS + 2, ROWS)
        along_frequency.rows[...] = here.transpose(1, 2, 0)
        mask = _scratch.mask
        percussive = mask.reshape(BLOCK, _BIN_BLOCKS, ROWS)
        np.copyto(percussive, along_frequency.run().transpose(2, 0, 1))
        both = mask.reshape(along_time.medians.shape)
        harmonic = along_time.run()
        both += harmonic
        if both.min() > 0:
            return np.divide(harmonic, both, out=both).reshape(mask.shape)
        empty = both == 0
        both[empty] = 1
        np.divide(harmonic, both, out=both)
        both[empty] = 0.5
        return mask


_WINDOW_POWER = np.square(hann(N_FFT).astype(np.float64)).reshape(_OVERLAP, HOP_LENGTH)
_WEIGHTS = (
    (hann(N_FFT).reshape(_OVERLAP, HOP_LENGTH) / _WINDOW_POWER.sum(axis=0))
    .astype(np.float32)
    .ravel()
)
