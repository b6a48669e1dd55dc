"""``log-mel-94x64@1``: three seconds of speech as decibels in 64 mel bands.

::

    48,000 samples at 16 kHz --frames of 1,024, every 512, silence around--> power
        --64 triangles, 0 to 8 kHz--> decibels relative to 1, not below -100

Source: the numbers of librosa 0.11 (``librosa.feature.melspectrogram`` with ``sr=16000, n_fft=1024,
hop_length=512, n_mels=64, pad_mode="constant"``, then ``librosa.power_to_db`` with ``ref=1,
amin=1e-10, top_db=None``).
"""

import functools

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from server.audio.mel import mel_frequencies, triangles
from server.audio.spectrum import hann

NAME = "log-mel-94x64@1"
SAMPLE_RATE_HZ = 16_000
WINDOW = 3 * SAMPLE_RATE_HZ
N_FFT = 1024
HOP_LENGTH = 512
BANDS = 64
FRAMES = 1 + WINDOW // HOP_LENGTH
_AMIN = np.float32(1e-10)


def log_mel(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the frontend of several windows.

    Parameters
    ----------
    windows : np.ndarray, shape (n, 48000), float32
        Mono samples at 16 kHz.

    Returns
    -------
    np.ndarray, shape (n, 94, 64, 1), float32
        Decibels, from -100; frame by frame, the lowest band first.
    """
    padded = np.pad(windows, ((0, 0), (N_FFT // 2, N_FFT // 2)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT, axis=1)[:, ::HOP_LENGTH]
    spectrum = scipy.fft.rfft(frames * hann(N_FFT), axis=2)
    power = spectrum.real**2 + spectrum.imag**2
    decibels: NDArray[np.float32] = 10 * np.log10(np.maximum(power @ _bank(), _AMIN))
    return decibels[..., None]


@functools.cache
def _bank() -> NDArray[np.float32]:
    bins_hz = np.linspace(0, SAMPLE_RATE_HZ / 2, N_FFT // 2 + 1)
    return triangles(mel_frequencies(BANDS + 2, SAMPLE_RATE_HZ / 2), bins_hz)
