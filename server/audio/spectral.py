"""Shape of the waveform and of its spectrum, one number a frame.

Source: librosa 0.11 (``feature.rms``, ``zero_crossing_rate``, ``spectral_centroid``,
``spectral_bandwidth`` with p = 2, ``spectral_rolloff`` at 85 %).
"""

import numpy as np
from numpy.typing import NDArray

from server.audio.spectrum import FREQUENCIES_HZ, HOP_LENGTH, N_FFT

ROLLOFF_SHARE = np.float32(0.85)
_SILENCE = 1e-10
_TINY = np.finfo(np.float32).tiny
_HOPS = N_FFT // HOP_LENGTH
_SIDE = 32  # rolloff looks at 32 blocks of 32 bins, then into one of them

# Columns 1, f, f**2; in kHz, because sums over Hz**2 lose digits.
_MOMENTS = (FREQUENCIES_HZ[:, None] / 1e3) ** np.arange(3)


def rms(padded: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Return the root mean square of each frame.

    Parameters
    ----------
    padded : np.ndarray, shape (n + N_FFT,), float32
        Samples, reflected by `N_FFT` // 2 at both ends.
    count : int
        Number of frames.

    Returns
    -------
    np.ndarray, shape (count,), float64
        Same unit as the samples.
    """
    hops = padded[: (count + _HOPS - 1) * HOP_LENGTH].reshape(-1, HOP_LENGTH)
    energy = np.einsum("ij,ij->i", hops, hops).astype(np.float64)
    return np.sqrt(_frame_sums(energy) / N_FFT)


def zero_crossing_rate(y: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Return the share of samples in each frame at which the sign changes.

    Parameters
    ----------
    y : np.ndarray, shape (n,), float32
        Samples; they are padded with their first and last value.
    count : int
        Number of frames.

    Returns
    -------
    np.ndarray, shape (count,), float64
        In [0, 1]. Samples within 1e-10 of zero count as zero, zero as positive, and the first
        sample of a frame is no crossing.
    """
    padded = np.pad(y, N_FFT // 2, mode="edge")[: (count + _HOPS - 1) * HOP_LENGTH]
    negative = padded < -_SILENCE
    crossing = np.zeros(negative.shape, np.bool_)
    np.not_equal(negative[1:], negative[:-1], out=crossing[1:])
    hops = crossing.reshape(-1, HOP_LENGTH)
    counts = _frame_sums(hops.sum(axis=1, dtype=np.float64))
    return (counts - hops[:count, 0]) / N_FFT


def _frame_sums(per_hop: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up the four hops of each frame."""
    return per_hop[:-3] + per_hop[1:-2] + per_hop[2:-1] + per_hop[3:]


def moments(magnitude: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sums of magnitude, magnitude x f and magnitude x f**2 over frequency.

    Parameters
    ----------
    magnitude : np.ndarray, shape (m, BINS), float32
        Magnitude spectra, one a row.

    Returns
    -------
    np.ndarray, shape (m, 3), float64
        With f in kHz.
    """
    return magnitude.astype(np.float64) @ _MOMENTS


def centroid_and_bandwidth(
    sums: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn moments into the centre of the spectrum and its spread.

    Parameters
    ----------
    sums : np.ndarray, shape (t, 3), float64
        As `moments` returns them.

    Returns
    -------
    tuple of two np.ndarray, shape (t,), float64
        Centroid and bandwidth in Hz; 0 in a silent frame. The bandwidth of a pure tone is the
        rounding noise of the Fourier transform: codes differ by some percent.
    """
    total = np.where(sums[:, 0] < _TINY, 1, sums[:, 0])
    centroid = sums[:, 1] / total
    spread = sums[:, 2] / total - centroid**2 * (2 - sums[:, 0] / total)
    return centroid * 1e3, np.sqrt(np.maximum(spread, 0)) * 1e3


def rolloff(magnitude: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the frequency below which 85 % of the magnitude lies.

    Parameters
    ----------
    magnitude : np.ndarray, shape (m, BINS), float32
        Magnitude spectra, one a row.

    Returns
    -------
    np.ndarray, shape (m,), float64
        Hz; 0 in a silent frame.
    """
    rows = np.arange(len(magnitude))
    blocks = magnitude[:, : _SIDE * _SIDE].reshape(-1, _SIDE, _SIDE)
    running = np.cumsum(blocks.sum(axis=2), axis=1)
    threshold = (ROLLOFF_SHARE * (running[:, -1] + magnitude[:, -1]))[:, None]
    block = np.minimum((running < threshold).sum(axis=1), _SIDE - 1)
    before = np.where(block > 0, running[rows, block - 1], 0)
    inside = np.cumsum(blocks[rows, block], axis=1) + before[:, None]
    k = block * _SIDE + (inside < threshold).sum(axis=1)
    hz: NDArray[np.float64] = FREQUENCIES_HZ[np.minimum(k, _SIDE * _SIDE)]
    return hz
