"""The default spectrogram of new models: recipe ``mel-235x335@1``, for any height and width.

`height` mel bands over the first 30 s, padded with silence, at a hop that makes exactly `width`
frames: no picture library and no resampling. For 235 x 335 the hop is 1980 samples. Decibels
below the loudest cell, cut at 80, scaled to 0..1; low frequencies in the bottom row.
"""

import numpy as np
from numpy.typing import NDArray

from server.audio.mel import TOP_DB, decibels, mel_bands
from server.audio.spectrum import (
    BINS,
    BLOCK,
    SAMPLE_RATE_HZ,
    Frames,
    require,
    spectra,
    square_magnitude,
)

CLIP_SAMPLES = 30 * SAMPLE_RATE_HZ
MAX_HEIGHT = 617  # with one band more, some band holds no frequency bin


def mel_spectrogram(y: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Compute the spectrogram ``mel-235x335@1``.

    Parameters
    ----------
    y : np.ndarray, shape (n,), float32
        Mono samples at 22,050 Hz, n >= 1; what follows 30 s is not looked at.
    height : int
        Rows, which are mel bands; 1 to `MAX_HEIGHT`.
    width : int
        Columns, which are frames; at least 2.

    Returns
    -------
    np.ndarray, shape (height, width, 1), float32
        In [0, 1]; 1 is the loudest cell. Silence is 1 everywhere, as nothing is louder.

    Raises
    ------
    SoundTooShort
        If `y` is empty.
    """
    require(y, 1, what="the spectrogram mel-235x335")
    clip = np.zeros(CLIP_SAMPLES, np.float32)
    clip[: len(y)] = y[:CLIP_SAMPLES]
    power = mel_power(clip, hop_length=CLIP_SAMPLES // (width - 1), n_mels=height)
    db = decibels(power[:width])
    level = (db - db.max() + np.float32(TOP_DB)) / np.float32(TOP_DB)
    return np.ascontiguousarray(level.T[::-1, :, None])


def mel_power(y: NDArray[np.float32], *, hop_length: int, n_mels: int) -> NDArray[np.float32]:
    """Compute the power in mel bands over time, with silence around the sound.

    Parameters
    ----------
    y : np.ndarray, shape (n,), float32
        Mono samples at 22,050 Hz.
    hop_length : int
        Samples from one frame to the next.
    n_mels : int
        Number of bands up to half the sample rate.

    Returns
    -------
    np.ndarray, shape (1 + n // hop_length, n_mels), float32
        One frame a row, low band first.

    Notes
    -----
    Equal to ``librosa.feature.melspectrogram`` of librosa 0.11 with its default padding,
    transposed.
    """
    return mel_of(Frames(y, hop_length, padding="constant"), n_mels)


def mel_of(frames: Frames, n_mels: int, wanted: range | None = None) -> NDArray[np.float32]:
    """Compute the power in mel bands of frames.

    Parameters
    ----------
    frames : Frames
        Of a sound.
    n_mels : int
        Number of bands up to half the sample rate.
    wanted : range, optional
        Which of them, without gaps; all of them without it.

    Returns
    -------
    np.ndarray, shape (frames, n_mels), float32
        One frame a row, low band first.
    """
    wanted = range(frames.count) if wanted is None else wanted
    out = np.empty((len(wanted), n_mels), np.float32)
    block = np.empty((min(BLOCK, len(wanted)), BINS), np.float32)
    for at, spectrum in spectra(frames, wanted):
        power = square_magnitude(spectrum, block[: len(spectrum)])
        mel_bands(power, n_mels, out[at.start - wanted.start : at.stop - wanted.start])
    return out
