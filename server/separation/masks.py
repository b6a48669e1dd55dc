"""Which part of each cell of a spectrum is drums, bass, voice or the rest, without a model.

::

    drums    clicks are smooth along frequency, tones along time: medians of 31 either way
    bass     what is left below 180 Hz
    voice    what is left and moves: tones that last longer than about a second belong to the rest
    other    the rest

A demonstration: it knows nothing of instruments.

Source: D. FitzGerald, "Harmonic/percussive separation using median filtering", 2010, and the same
idea a second time, with a longer median, for what moves and what stays.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from server.audio.median import median31
from server.separation.stft import BINS, N_FFT, SAMPLE_RATE_HZ

_HZ_PER_BIN = SAMPLE_RATE_HZ / N_FFT
_BASS_HZ, _CROSSING_HZ = 180.0, 60.0
_VOICE = slice(round(120 / _HZ_PER_BIN), round(9000 / _HZ_PER_BIN))
_EVERY = 2  # of the frames is enough to see what lasts: 31 of them are 1.4 s
_LEAST = np.float32(1e-12)


def masks(power: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Say how much of each cell belongs to which part.

    Parameters
    ----------
    power : np.ndarray, shape (t, 2049), float32
        Squared magnitudes, frame by frame; t >= 1.

    Returns
    -------
    dict of str to np.ndarray, shape (t, 2049), float32
        ``drums``, ``bass`` and ``vocals``, in [0, 1], of the power; what they leave of 1 is the
        rest.
    """
    tones = median31(power)
    clicks = median31(np.ascontiguousarray(power.T)).T
    drums = clicks / (tones + clicks + _LEAST)
    left = 1 - drums
    low = left * _low_pass()
    left -= low
    voice = np.zeros_like(power)
    voice[:, _VOICE] = left[:, _VOICE] * _moving(power[:, _VOICE])
    return {"drums": drums, "bass": low, "vocals": voice}


@functools.cache
def _low_pass() -> NDArray[np.float32]:
    hz = np.arange(BINS) * _HZ_PER_BIN
    place = np.clip((hz - _BASS_HZ) / _CROSSING_HZ + 0.5, 0, 1)
    shape: NDArray[np.float32] = (0.5 + 0.5 * np.cos(np.pi * place)).astype(np.float32)
    return shape


def _moving(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much of each cell is not of a tone that lasts."""
    lasting = np.repeat(median31(power[::_EVERY]), _EVERY, axis=0)[: len(power)]
    lasting = np.sqrt(np.minimum(lasting, power))
    moving = (np.sqrt(power) - lasting) ** 2
    share: NDArray[np.float32] = moving / (moving + lasting**2 + _LEAST)
    return share
