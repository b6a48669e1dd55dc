"""The short-time Fourier transform and its inverse, of a sound that comes piece by piece.

::

    |silence|------ sound ------------------- ... ------|silence|
    |----- 4,096 -----|
          |----- 4,096 -----|                                      every 1,024

What comes out is, frame by frame and sample by sample, what ``librosa.stft`` and ``librosa.istft``
make of the whole sound (Hann, ``center=True, pad_mode="constant"``).
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from server.audio.spectrum import hann

SAMPLE_RATE_HZ = 44_100
N_FFT = 4096
HOP = 1024
BINS = N_FFT // 2 + 1
_OVERLAP = N_FFT // HOP
_LEAST_WEIGHT = np.float32(1e-8)


class Stft:
    """Turns samples into frames.

    Parameters
    ----------
    channels : int
        Of the sound.
    """

    def __init__(self, channels: int) -> None:
        self._held = np.zeros((channels, N_FFT // 2), np.float32)

    def feed(self, y: NDArray[np.float32]) -> NDArray[np.complex64]:
        """Take the next samples.

        Parameters
        ----------
        y : np.ndarray, shape (n, channels), float32
            Any number.

        Returns
        -------
        np.ndarray, shape (channels, k, 2049), complex64
            The frames that are whole now, k >= 0.
        """
        held = np.concatenate([self._held, y.T], axis=1)
        count = max(0, (held.shape[1] - N_FFT) // HOP + 1)
        self._held = held[:, count * HOP :].copy()
        if not count:
            return np.empty((len(held), 0, BINS), np.complex64)
        frames = np.lib.stride_tricks.sliding_window_view(held, N_FFT, axis=1)[:, ::HOP][:, :count]
        spectrum: NDArray[np.complex64] = scipy.fft.rfft(
            frames * hann(N_FFT), axis=2, overwrite_x=True
        )
        return spectrum

    def finish(self) -> NDArray[np.complex64]:
        """Return the last frames; as `feed`."""
        return self.feed(np.zeros((N_FFT // 2, len(self._held)), np.float32))


class Istft:
    """Turns frames back into samples.

    Parameters
    ----------
    channels : int
        Of the sound.
    """

    def __init__(self, channels: int) -> None:
        self._tail = np.zeros((channels, N_FFT - HOP), np.float32)
        self._weights = np.zeros(N_FFT - HOP, np.float32)
        self._skipped = N_FFT // 2  # the silence before the sound
        self._given = 0

    def feed(self, spectrum: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Take the next frames.

        Parameters
        ----------
        spectrum : np.ndarray, shape (channels, k, 2049), complex64
            Any number of frames.

        Returns
        -------
        np.ndarray, shape (n, channels), float32
            The samples that no later frame reaches.
        """
        channels, count, _ = spectrum.shape
        if not count:
            return np.empty((0, channels), np.float32)
        frames = scipy.fft.irfft(spectrum, axis=2, overwrite_x=True)
        frames *= hann(N_FFT)
        whole = np.zeros((channels, count * HOP + N_FFT - HOP), np.float32)
        whole[:, : N_FFT - HOP] = self._tail
        weights = np.zeros(whole.shape[1], np.float32)
        weights[: N_FFT - HOP] = self._weights
        square = hann(N_FFT) ** 2
        for k in range(_OVERLAP):
            at, part = slice(k * HOP, (k + count) * HOP), slice(k * HOP, (k + 1) * HOP)
            whole[:, at] += frames[:, :, part].reshape(channels, -1)
            weights[at] += np.tile(square[part], count)
        done = count * HOP
        self._tail, self._weights = whole[:, done:].copy(), weights[done:].copy()
        return self._told(whole[:, :done], weights[:done])

    def finish(self, samples: int) -> NDArray[np.float32]:
        """Return the last samples.

        Parameters
        ----------
        samples : int
            Of the whole sound.

        Returns
        -------
        np.ndarray, shape (n, channels), float32
            As many as are missing.
        """
        rest = self._told(self._tail, self._weights)
        return rest[: len(rest) - (self._given - samples)]

    def _told(self, y: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled = (y / np.maximum(weights, _LEAST_WEIGHT)).astype(np.float32, copy=False)
        left_out = min(self._skipped, scaled.shape[1])
        self._skipped -= left_out
        told = np.ascontiguousarray(scaled[:, left_out:].T)
        self._given += len(told)
        return told
