"""A stand-in for a model of emotions: how lively a voice is, and nothing else.

Angry, frightened, happy and surprised voices are loud, bright and changing; sad, calm and neutral
ones are not. That axis, called arousal, can be heard without training; which of the lively ones it
is cannot. A demonstration: it tells lively from quiet, and no more.

Source of the places on the axis: J. A. Russell, "A circumplex model of affect", 1980, read off
roughly.
"""

import numpy as np
from numpy.typing import NDArray

LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_AROUSAL = np.array([-0.3, -0.7, 0.5, -0.6, 0.9, 0.7, 0.2, 0.8])
_SPREAD = 0.5
_VOICED_DB = 30.0  # below the loudest frame there is no voice
_BRIGHT_FROM, _DARK_TO = 28, 14  # bands: above 1.6 kHz, below 0.6 kHz
_QUIET_TILT_DB, _TILT_RANGE_DB = -16.0, 10.0
_STEADY_DB, _CHANGE_RANGE_DB = 7.5, 4.0


def arousal_baseline(log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Tell how likely each emotion is by the liveliness of a voice.

    Parameters
    ----------
    log_mel : np.ndarray, shape (n, 94, 64, 1), float32
        Decibels, of `server.audio.log_mel`.

    Returns
    -------
    np.ndarray, shape (n, 8), float32
        For each of `LABELS`; rows sum to 1.
    """
    arousal = np.array([_arousal(window[..., 0]) for window in log_mel])
    closeness = -(((arousal[:, None] - _AROUSAL) / _SPREAD) ** 2)
    weights = np.exp(closeness)
    shares: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def _arousal(window: NDArray[np.float32]) -> float:
    """Return how lively a window is, -1 to 1: how bright its voice is, and how much it changes."""
    power = 10.0 ** (window.astype(np.float64) / 10)
    level = 10 * np.log10(power.sum(axis=1))
    voiced = level > level.max() - _VOICED_DB
    spectrum = power[voiced].mean(axis=0)
    bright, dark = spectrum[_BRIGHT_FROM:].sum(), spectrum[:_DARK_TO].sum()
    tilt = 10 * np.log10(bright / dark)
    change = level[voiced].std()
    brightness = (tilt - _QUIET_TILT_DB) / _TILT_RANGE_DB
    liveliness = (change - _STEADY_DB) / _CHANGE_RANGE_DB
    return float(np.clip(0.7 * brightness + 0.3 * liveliness, -1, 1))
