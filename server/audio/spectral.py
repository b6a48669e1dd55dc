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
_SIDE = 32  # sums are taken over 32 blocks of 32 bins first

# Columns 1, f, f**2; in kHz, because sums over Hz**2 lose digits. Then the same within a block, and
# what turns the sums of a block into those over all bins: (c + u)**2 = c**2 + 2 c u + u**2.
_POWERS = (FREQUENCIES_HZ[:, None] / 1e3) ** np.arange(3)
_WITHIN = _POWERS[:_SIDE].astype(np.float32)
_ACROSS = np.array(
    [
        row
        for _, c, c2 in _POWERS[: _SIDE * _SIDE : _SIDE]
        for row in ((1, c, c2), (0, 1, 2 * c), (0, 0, 1))
    ]
)


def rms(y: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Return the root mean square of each frame.

    Parameters
    ----------
    y : np.ndarray, shape (n,), float32
        Samples, n > `N_FFT` // 2; they are reflected at both ends.
    count : int
        Number of frames.

    Returns
    -------
    np.ndarray, shape (count,), float64
        Same unit as the samples.
    """
    half = N_FFT // 2
    whole = HOP_LENGTH * (count - 1)
    rest = np.concatenate((y[whole:], y[-2 : -half - 2 : -1]))[:half]
    energy = [_energies(part) for part in (y[half:0:-1], y[:whole], rest)]
    return np.sqrt(_frame_sums(np.concatenate(energy)) / N_FFT)


def _energies(y: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the energy of each hop."""
    hops = y.reshape(-1, HOP_LENGTH)
    energies: NDArray[np.float32] = np.einsum("ij,ij->i", hops, hops)
    return energies.astype(np.float64)


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
    crossing = np.zeros((count + _HOPS - 1) * HOP_LENGTH, np.bool_)  # none in the padding
    within = crossing[N_FFT // 2 :][1 : len(y)]
    negative = y < -_SILENCE
    np.not_equal(negative[1:], negative[:-1], out=within)
    hops = crossing.reshape(-1, HOP_LENGTH)
    # eight bytes are added at once: none of them passes 255
    eights = hops.view(np.uint64).sum(axis=1).view(np.uint8).reshape(-1, 8)
    counts = _frame_sums(eights.sum(axis=1, dtype=np.float64))
    return (counts - hops[:count, 0]) / N_FFT


def _frame_sums(per_hop: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up the four hops of each frame."""
    return per_hop[:-3] + per_hop[1:-2] + per_hop[2:-1] + per_hop[3:]


def block_sums(magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sums of magnitude x u**k over blocks of 32 bins.

    Parameters
    ----------
    magnitude : np.ndarray, shape (m, BINS), float32
        Magnitude spectra, one a row.

    Returns
    -------
    np.ndarray, shape (m, 32, 3), float32
        For k of 0, 1 and 2, with u in kHz from the block's first bin; the last bin is in no block.
    """
    blocks = magnitude[:, : _SIDE * _SIDE].reshape(-1, _SIDE, _SIDE)
    sums: NDArray[np.float32] = blocks @ _WITHIN
    return sums


def moments(power: NDArray[np.float32], sums: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sums of magnitude, magnitude x f and magnitude x f**2 over frequency.

    Parameters
    ----------
    power : np.ndarray, shape (m, BINS), float32
        Power spectra, one a row.
    sums : np.ndarray, shape (m, 32, 3), float32
        The `block_sums` of their roots: short enough for float32, which sums over all bins are not.

    Returns
    -------
    np.ndarray, shape (m, 3), float64
        With f in kHz.
    """
    flat = sums.reshape(len(sums), -1).astype(np.float64)
    whole: NDArray[np.float64] = flat @ _ACROSS + np.sqrt(power[:, -1:]) * _POWERS[-1]
    return whole


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


def rolloff(power: NDArray[np.float32], sums: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the frequency below which 85 % of the magnitude lies.

    Parameters
    ----------
    power : np.ndarray, shape (m, BINS), float32
        Power spectra, one a row.
    sums : np.ndarray, shape (m, 32, 3), float32
        The `block_sums` of their roots: the block is found first, then the bin in it.

    Returns
    -------
    np.ndarray, shape (m,), float64
        Hz; 0 in a silent frame.
    """
    rows = np.arange(len(power))
    running = np.cumsum(sums[:, :, 0], axis=1)
    threshold = (ROLLOFF_SHARE * (running[:, -1] + np.sqrt(power[:, -1])))[:, None]
    block = np.minimum((running < threshold).sum(axis=1), _SIDE - 1)
    before = np.where(block > 0, running[rows, block - 1], 0)
    bins = _SIDE * block[:, None] + np.arange(_SIDE)
    inside = np.cumsum(np.sqrt(power[rows[:, None], bins]), axis=1) + before[:, None]
    k = block * _SIDE + (inside < threshold).sum(axis=1)
    hz: NDArray[np.float64] = FREQUENCIES_HZ[np.minimum(k, _SIDE * _SIDE)]
    return hz
