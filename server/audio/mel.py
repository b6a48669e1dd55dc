"""Mel bands and decibels.

Source: M. Slaney, "Auditory Toolbox", 1998 (linear below 1 kHz, logarithmic above, triangles of
equal area), with the numbers of librosa 0.11 (``librosa.filters.mel``, ``librosa.power_to_db``).
"""

import functools
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from server.audio.spectrum import BINS, FREQUENCIES_HZ, SAMPLE_RATE_HZ

TOP_DB = 80.0
_AMIN = np.float32(1e-10)

_HZ_PER_MEL = 200 / 3
_LOG_FROM_HZ = 1000.0
_LOG_FROM_MEL = _LOG_FROM_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27

_CUTS = (0, 100, 220, 400, 650, BINS)  # a third of the time of the whole bank at once


def mel_frequencies(count: int, top_hz: float = SAMPLE_RATE_HZ / 2) -> NDArray[np.float64]:
    """Return frequencies that are evenly spaced in mels, from 0 Hz on.

    Parameters
    ----------
    count : int
        How many; at least 2.
    top_hz : float
        The last; above 1,000.

    Returns
    -------
    np.ndarray, shape (count,), float64
        Hz, ascending.
    """
    top = _LOG_FROM_MEL + np.log(top_hz / _LOG_FROM_HZ) / _LOG_STEP
    mels = np.linspace(0.0, top, count)
    logarithmic = _LOG_FROM_HZ * np.exp(_LOG_STEP * (mels - _LOG_FROM_MEL))
    hz: NDArray[np.float64] = np.where(mels >= _LOG_FROM_MEL, logarithmic, _HZ_PER_MEL * mels)
    return hz


@functools.lru_cache(maxsize=16)
def mel_bank(n_mels: int) -> NDArray[np.float32]:
    """Return the mel filter bank as a matrix to multiply power spectra with.

    Parameters
    ----------
    n_mels : int
        Number of bands; above 617 some are narrower than a bin and empty.

    Returns
    -------
    np.ndarray, shape (BINS, n_mels), float32
        One triangle a column, low band first; read-only.
    """
    return triangles(mel_frequencies(n_mels + 2), FREQUENCIES_HZ)


def triangles(
    corners_hz: NDArray[np.float64], frequencies_hz: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return triangles of equal area, each from one corner over the next to the one after it.

    Parameters
    ----------
    corners_hz : np.ndarray, shape (n + 2,), float64
        Ascending.
    frequencies_hz : np.ndarray, shape (bins,), float64
        Of the bins.

    Returns
    -------
    np.ndarray, shape (bins, n), float32
        One triangle a column; read-only.
    """
    hz = corners_hz
    slopes = (frequencies_hz - hz[:, None]) / np.diff(hz, append=np.inf)[:, None]
    falling = (hz[2:, None] - frequencies_hz) / np.diff(hz)[1:, None]
    rows = np.maximum(0, np.minimum(slopes[:-2], falling)).astype(np.float32)
    rows *= (2 / (hz[2:] - hz[:-2]))[:, None]
    bank = np.ascontiguousarray(rows.T)
    bank.setflags(write=False)
    return bank


def mel_bands(
    power: NDArray[np.float32], n_mels: int, out: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Write the power in mel bands into `out` and return it.

    Parameters
    ----------
    power : np.ndarray, shape (m, BINS), float32
        Power spectra, one a row.
    n_mels : int
        Number of bands.
    out : np.ndarray, shape (m, n_mels), float32
        Overwritten.

    Returns
    -------
    np.ndarray, float32
        `out`, equal to ``power @ mel_bank(n_mels)`` but for rounding.
    """
    out.fill(0)
    for bins, bands, weights in _pieces(n_mels):
        out[:, bands] += power[:, bins] @ weights
    return out


@functools.lru_cache(maxsize=16)
def _pieces(n_mels: int) -> tuple[tuple[slice, slice, NDArray[np.float32]], ...]:
    """Cut the bank along frequency: each piece reaches few bands, and the rest of it is zeros."""
    bank = mel_bank(n_mels)
    pieces = []
    for first, last in pairwise(_CUTS):
        (bands,) = np.nonzero(bank[first:last].any(axis=0))
        if len(bands):
            reached = slice(int(bands[0]), int(bands[-1]) + 1)
            weights = np.ascontiguousarray(bank[first:last, reached])
            pieces.append((slice(first, last), reached, weights))
    return tuple(pieces)


def decibels(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn power into decibels relative to 1, cut 80 dB below the largest.

    Parameters
    ----------
    power : np.ndarray, float32
        Any shape, not negative; values below 1e-10 count as 1e-10.

    Returns
    -------
    np.ndarray, float32
        Same shape; the range is at most 80 dB wide.
    """
    db: NDArray[np.float32] = 10 * np.log10(np.maximum(power, _AMIN))
    np.maximum(db, db.max() - np.float32(TOP_DB), out=db)
    return db
