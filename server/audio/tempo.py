"""Beats per minute from the rises of a mel spectrogram.

Source: librosa 0.11 (``onset.onset_strength`` with the median over bands, ``feature.tempo``),
after D. Ellis, "Beat tracking by dynamic programming", 2007.
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from server.audio.spectrum import HOP_LENGTH, N_FFT, SAMPLE_RATE_HZ, hann

WINDOW_FRAMES = 344  # 8 s of onset envelope
_FFT_SIZE = int(scipy.fft.next_fast_len(2 * WINDOW_FRAMES - 1, real=True))
_TINY = np.finfo(np.float32).tiny
_BLOCK = 128  # windows that are transformed together

# An onset shows one frame late (the difference) and the frame centres half a window later.
_ONSET_DELAY = 1 + N_FFT // (2 * HOP_LENGTH)

# A lag of k frames is this many beats per minute; lag 0 is none.
_BEATS_PER_MINUTE = np.concatenate(
    ([np.inf], 60 * SAMPLE_RATE_HZ / (HOP_LENGTH * np.arange(1.0, WINDOW_FRAMES)))
)
# Log-normal around 120 BPM, one octave wide, nothing from 320 BPM up.
_LOG_PRIOR = np.where(
    _BEATS_PER_MINUTE < 320, -0.5 * (np.log2(_BEATS_PER_MINUTE) - np.log2(120)) ** 2, -np.inf
)


def tempo_frequencies() -> NDArray[np.float64]:
    """Return the tempo of each lag of the onset envelope's autocorrelation.

    Returns
    -------
    np.ndarray, shape (344,), float64
        Beats per minute; the first is infinite.
    """
    return _BEATS_PER_MINUTE.copy()


def onset_strength(mel_db: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much louder each frame is than the one before, as the median over mel bands.

    Parameters
    ----------
    mel_db : np.ndarray, shape (t, n_mels), float32
        Mel spectrogram in decibels; n_mels even.

    Returns
    -------
    np.ndarray, shape (t,), float32
        Decibels per frame, not negative.
    """
    middle = mel_db.shape[1] // 2
    rise = np.maximum(np.diff(mel_db, axis=0), 0)
    rise.sort(axis=1)  # an eighth of the time of `partition` with two ranks
    onset = np.mean(rise[:, middle - 1 : middle + 1], axis=1, dtype=np.float32)
    return np.concatenate((np.zeros(_ONSET_DELAY, np.float32), onset))[: len(mel_db)]


def tempo_of(onset: NDArray[np.float32]) -> float:
    """Estimate the tempo from an onset envelope.

    Parameters
    ----------
    onset : np.ndarray, shape (t,), float32
        As `onset_strength` returns it, t >= 1.

    Returns
    -------
    float
        Beats per minute, one of `tempo_frequencies`; 0 when nothing ever rises, as librosa's beat
        tracker says.

    Notes
    -----
    The mean of the windows' autocorrelations is the inverse transform of their mean power
    spectrum, so one inverse transform does for all windows.
    """
    if not onset.any():
        return 0.0
    ramped = np.pad(onset.astype(np.float64), WINDOW_FRAMES // 2, mode="linear_ramp")
    windows = np.lib.stride_tricks.sliding_window_view(ramped.astype(np.float32), WINDOW_FRAMES)
    power = np.zeros(_FFT_SIZE // 2 + 1)
    block = np.zeros((_BLOCK, _FFT_SIZE), np.float32)
    for first in range(0, len(onset), _BLOCK):
        rows = block[: min(_BLOCK, len(onset) - first), :WINDOW_FRAMES]
        np.multiply(windows[first : first + len(rows)], hann(WINDOW_FRAMES), out=rows)
        energy = np.einsum("ij,ij->i", rows, rows)  # each autocorrelation's largest value: lag 0
        energy[energy < _TINY] = 1
        spectrum = scipy.fft.rfft(block[: len(rows)], axis=1)
        power += (1 / energy) @ (np.square(spectrum.real) + np.square(spectrum.imag))
    mean = scipy.fft.irfft(power, n=_FFT_SIZE)[:WINDOW_FRAMES] / len(onset)
    return float(_BEATS_PER_MINUTE[np.argmax(np.log1p(1e6 * mean) + _LOG_PRIOR)])
