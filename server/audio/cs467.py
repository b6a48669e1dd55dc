"""The picture that the server of 2020 fed to its models: recipe ``cs467-crop@1``.

128 mel bands of the whole sound, stretched to 0..255, drawn without a frame on 640 x 480 pixels
with the colour map *Greys* after an inversion (so loud is bright), and cut by the box 55, 50, 390,
250 that was meant for another canvas. What is left shows columns 9 to 61 % of the time and the
bands from 67 down to 13 of 128, counted from the top. For models trained against that server only.

Drawn by Pillow's bilinear filter instead of matplotlib: mean difference 1.7 of 255 over 20 clips.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.audio.mel import decibels
from server.audio.spectrogram import mel_power
from server.audio.spectrum import require
from server.audio.tones import GREYS

HEIGHT, WIDTH = 200, 335
_CANVAS = (640, 480)
_BOX = (55, 50, 390, 250)
_HOP_LENGTH = 1024
_N_MELS = 128


def cs467_picture(y: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Draw the picture ``cs467-crop@1``.

    Parameters
    ----------
    y : np.ndarray, shape (n,), float32
        Mono samples at 22,050 Hz, n >= 1. The whole sound is drawn.
    height, width : int
        200 and 335: the crop has no other size (`server.audio.frontends` refuses the rest).

    Returns
    -------
    np.ndarray, shape (200, 335, 1), float32
        Whole numbers 0..255, not divided by 255; loud is bright.

    Raises
    ------
    SoundTooShort
        If `y` is empty.
    """
    require(y, 1, what="the picture cs467-crop")
    db = decibels(mel_power(y, hop_length=_HOP_LENGTH, n_mels=_N_MELS)).T[::-1]
    picture = Image.fromarray(np.ascontiguousarray(GREYS[255 - _stretch(db)]))
    canvas = picture.resize(_CANVAS, Image.Resampling.BILINEAR)
    return np.asarray(canvas.crop(_BOX), np.float32)[..., None]


def _stretch(db: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Stretch to 0..255 and truncate, as the original did; a constant picture becomes 0."""
    low, high = db.min(), db.max()
    level: NDArray[np.float32] = (db - low) / (high - low if high > low else 1)
    return (level * 255).astype(np.uint8)
