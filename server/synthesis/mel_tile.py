"""The mel power spectrogram of one tile: the numbers that pix2pix models of music were trained on.

Equal to ``librosa.feature.melspectrogram(y=y, sr=22050, n_mels=256)`` of librosa 0.11: frames of
2048 every 512 samples, the first centred on the first sample, silence around the sound, power.
"""

import numpy as np
from numpy.typing import NDArray

from server.audio.mel import mel_bands
from server.audio.spectrum import BINS, BLOCK, HOP_LENGTH, Frames, spectra, square_magnitude

BANDS = 256
FRAMES = 256
TILE = 130_977  # samples, 5.94 s


def mel_power(y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute a mel power spectrogram.

    Parameters
    ----------
    y : np.ndarray, shape (n,), float32
        Mono samples at 22,050 Hz, n >= 1; a tile has 130,977.

    Returns
    -------
    np.ndarray, shape (256, 1 + n // 512), float32
        Rows are bands, low first; columns are frames.
    """
    frames = Frames(y, HOP_LENGTH, padding="constant")
    rows = np.empty((frames.count, BANDS), np.float32)
    power = np.empty((BLOCK, BINS), np.float32)
    for at, spectrum in spectra(frames):
        mel_bands(square_magnitude(spectrum, power[: len(spectrum)]), BANDS, rows[at])
    return np.ascontiguousarray(rows.T)
