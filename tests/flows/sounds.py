"""Sounds made here: music-like chords, and files that are no sounds."""

import io
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 22_050
Samples = NDArray[np.float32]


def song(seconds: float = 30.0, *, seed: int = 7) -> Samples:
    """Make decaying chords with clicks and noise, already rounded to 16 bits."""
    rng = np.random.default_rng(seed)
    n = int(seconds * SAMPLE_RATE_HZ)
    time_s = np.arange(n) / SAMPLE_RATE_HZ
    beat_s = 60 / (90 + 10 * (seed % 7))
    since = time_s % beat_s
    beat = (time_s / beat_s).astype(np.int64)
    root = 110 * 2 ** (np.array([0, 5, 7, 3])[beat % 4] / 12)
    y = 0.003 * rng.standard_normal(n)
    for harmonic in (1, 1.26, 1.5, 2, 3.01):
        y += 0.08 / harmonic * np.exp(-4 * since) * np.sin(2 * np.pi * root * harmonic * since)
    y += 0.2 * np.exp(-300 * since) * rng.standard_normal(n)
    rounded: Samples = (np.round(y.clip(-1, 1) * 32767) / 32768).astype(np.float32)
    return rounded


def encode(
    y: NDArray[Any], sample_rate_hz: int = SAMPLE_RATE_HZ, *, fmt: str = "WAV", subtype: str = ""
) -> bytes:
    """Write samples as a sound file."""
    file = io.BytesIO()
    soundfile.write(file, y, sample_rate_hz, format=fmt, subtype=subtype or None)
    return file.getvalue()
