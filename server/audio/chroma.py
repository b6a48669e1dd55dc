"""Pitch classes: a filter bank for twelve of them, and how far a recording is out of tune.

Source: librosa 0.11 (``filters.chroma``, ``piptrack``, ``pitch_tuning``); the bank follows D.
Ellis, "Chroma feature analysis and synthesis", 2007, the peaks J. O. Smith, "Spectral Audio Signal
Processing" (parabolic interpolation).
"""

import functools

import numpy as np
from numpy.typing import NDArray

from server.audio.spectrum import BINS, FREQUENCIES_HZ, N_FFT, SAMPLE_RATE_HZ

CLASSES = 12
_A0_HZ = 440 / 16
_CENTRE_OCTAVE = 5.0
_OCTAVE_WIDTH = 2.0
_C_ABOVE_A = 3

# Peaks count from 150 Hz up to 4 kHz, where they reach a tenth of the frame's largest power.
_FIRST_BIN = int(np.argmax(FREQUENCIES_HZ >= 150))
_LAST_BIN = int(np.searchsorted(FREQUENCIES_HZ, 4000))
_PEAK_THRESHOLD = np.float32(0.1)
_TUNING_EDGES = np.linspace(-0.5, 0.5, 101)


@functools.lru_cache(maxsize=128)
def chroma_bank(tuning: float) -> NDArray[np.float32]:
    """Return the chroma filter bank as a matrix to multiply power spectra with.

    Parameters
    ----------
    tuning : float
        Deviation from A = 440 Hz in fractions of a semitone, as `tuning_of` finds it (100 values
        at most).

    Returns
    -------
    np.ndarray, shape (BINS, 12), float32
        One pitch class a column, C first; read-only.
    """
    hz = np.linspace(0, SAMPLE_RATE_HZ, N_FFT, endpoint=False)[1:]
    semitones = CLASSES * np.log2(hz / (_A0_HZ * 2.0 ** (tuning / CLASSES)))
    # 0 Hz has no pitch: place it 1.5 octaves below the first bin, where it weighs next to nothing
    semitones = np.concatenate(([semitones[0] - 1.5 * CLASSES], semitones))
    widths = np.concatenate((np.maximum(np.diff(semitones), 1.0), [1.0]))
    half = CLASSES // 2
    distance = np.subtract.outer(semitones, np.arange(CLASSES))
    distance = np.remainder(distance + half + 10 * CLASSES, CLASSES) - half
    bank = np.exp(-0.5 * (2 * distance / widths[:, None]) ** 2)
    bank /= np.sqrt(np.sum(bank**2, axis=1, keepdims=True))
    octave = (semitones / CLASSES - _CENTRE_OCTAVE) / _OCTAVE_WIDTH
    bank *= np.exp(-0.5 * octave**2)[:, None]
    values: NDArray[np.float32] = np.roll(bank, -_C_ABOVE_A, axis=1)[:BINS].astype(np.float32)
    values.setflags(write=False)
    return values


def tuning_of(power: NDArray[np.float32], peak: NDArray[np.float32]) -> float:
    """Estimate how far a recording is out of tune, from the peaks of its spectrum.

    Parameters
    ----------
    power : np.ndarray, shape (t, BINS), float32
        Power spectrogram.
    peak : np.ndarray, shape (t,), float32
        Largest value of each row.

    Returns
    -------
    float
        Fraction of a semitone in [-0.5, 0.5), in steps of 0.01; 0 when there are no peaks.
    """
    pitch_hz, magnitude = _peaks(power, peak)
    if not len(pitch_hz):
        return 0.0
    loud = pitch_hz[magnitude >= np.median(magnitude)]
    residual = np.mod(CLASSES * np.log2(loud / _A0_HZ), 1.0)
    residual[residual >= 0.5] -= 1.0
    counts, _ = np.histogram(residual, _TUNING_EDGES)
    return float(_TUNING_EDGES[np.argmax(counts)])


def _peaks(
    power: NDArray[np.float32], peak: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return frequency (Hz) and power of the interpolated peaks of all frames."""
    is_loud = power[:, _FIRST_BIN:_LAST_BIN] > _PEAK_THRESHOLD * peak[:, None]
    # a fifth of the time of `nonzero` in two dimensions
    row, k = np.divmod(np.flatnonzero(is_loud), is_loud.shape[1])
    k += _FIRST_BIN
    below, at, above = (power[row, k + step] for step in (-1, 0, 1))
    is_peak = (at > below) & (at >= above)
    k, below, at, above = (values[is_peak] for values in (k, below, at, above))
    curve = above + below - 2 * at
    slope = (above - below) / 2
    flat = np.abs(slope) >= np.abs(curve)
    shift = np.where(flat, 0, -slope / np.where(flat, 1, curve)).astype(np.float32)
    height = (at + np.float32(0.5) * slope * shift).astype(np.float32, copy=False)
    return (k + shift) * SAMPLE_RATE_HZ / N_FFT, height
