"""The pictures of the Kaggle GTZAN set ``images_original``, drawn anew: recipe ``kaggle-gtzan@1``.

The set holds one PNG a clip, 432 x 288 pixels: a white frame around 336 x 218 pixels of a mel
spectrogram in matplotlib's colour map *magma*. Its decibels are doubled, because power was given
to a function that expects amplitude. Models were trained on grey crops of these PNGs::

    columns   54  55                        389 390    432
    rows 35    +---+--------------------------+          white
         50    |   |  picture                 |
               |   |                          |
        250    |   |                          |
        252    +---+--------------------------+
        270       white
        288

=========  ===========================  ==================================================
size       rows and columns             whose crop
=========  ===========================  ==================================================
235 x 335  35..270, 55..390             the box 55, 35, 390, 270: 18 white rows below
200 x 335  50..250, 55..390             the box 55, 50, 390, 250 of the 2020 server
217 x 334  35..252, 55..389             the picture alone
any other  none                         the picture alone, drawn at that size
=========  ===========================  ==================================================

No size is resampled from another: a pixel takes the mel cell under its centre. That the family is
right was measured on the published PNGs (correlation of 5 x 5 blocks 0.97); frame size and
renderer of the originals are not known, so single pixels differ.
"""

import numpy as np
from numpy.typing import NDArray

from server.audio.analysis import Analysis
from server.audio.mel import decibels
from server.audio.spectrum import require
from server.audio.tones import MAGMA

_CANVAS = (288, 432)
_AREA = (slice(35, 252), slice(54, 389))
_CROPS = {
    (235, 335): (slice(35, 270), slice(55, 390)),
    (200, 335): (slice(50, 250), slice(55, 390)),
    (217, 334): (slice(35, 252), slice(55, 389)),
}
_WHITE = 255
_AMPLITUDE_FLOOR = np.float32(1e-5)


def kaggle_picture(sound: Analysis, height: int, width: int) -> NDArray[np.float32]:
    """Draw the picture ``kaggle-gtzan@1``.

    Parameters
    ----------
    sound : Analysis
        At least one sample, about 30 s in the set. The whole sound is drawn.
    height, width : int
        Size in pixels; the three sizes above are crops of the framed picture.

    Returns
    -------
    np.ndarray, shape (height, width, 1), float32
        Whole numbers 0..255, the loudest 245, the frame 255; low frequencies at the bottom.

    Raises
    ------
    SoundTooShort
        If the sound is empty.
    """
    require(sound.y, 1, what="the picture kaggle-gtzan")
    level = _level(sound.mel_in_silence())
    crop = _CROPS.get((height, width))
    if crop is None:
        return _draw(level, height, width)[..., None]
    canvas = np.full(_CANVAS, _WHITE, np.float32)
    rows, columns = _AREA
    canvas[_AREA] = _draw(level, rows.stop - rows.start, columns.stop - columns.start)
    return np.ascontiguousarray(canvas[crop])[..., None]


def _level(power: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return frames x bands as indices of the colour map."""
    db = decibels(np.square(np.maximum(power, _AMPLITUDE_FLOOR)))
    db -= db.min()
    largest = db.max()
    return np.rint(db * (255 / largest if largest > 0 else 0)).astype(np.uint8)


def _draw(level: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    """Take the cell under each pixel's centre, low bands at the bottom."""
    frames, bands = level.shape
    columns = ((np.arange(width) + 0.5) / width * frames).astype(np.intp)
    rows = ((np.arange(height)[::-1] + 0.5) / height * bands).astype(np.intp)
    return MAGMA[level[np.ix_(columns, rows)].T].astype(np.float32)
