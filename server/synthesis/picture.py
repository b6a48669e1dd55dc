"""Pictures of mel power, with axes: decibels below the loudest, in the colours of magma.

::

    8000 Hz +------------------------+
            |  464 pixels: 232 bands |
            |                        |  512 pixels: the whole sound
       0 Hz +------------------------+
            0 s                     5.9

The frequencies are those of `mel_tile`, of which the bands up to 8,000 Hz are shown. A sound of any
length is drawn: while it comes, neighbouring columns are averaged as soon as there are too many.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from server.audio.mel import TOP_DB, mel_frequencies
from server.audio.spectrum import HOP_LENGTH, SAMPLE_RATE_HZ
from server.synthesis.magma import MAGMA
from server.synthesis.mel_tile import BANDS

MAX_HZ = 8000.0
_CENTRES_HZ = mel_frequencies(BANDS + 2)[1:-1]
_SHOWN = int(np.searchsorted(_CENTRES_HZ, MAX_HZ, side="right"))
_COLUMNS = 512
_PIXELS_PER_BAND = 2
_LEFT, _TOP, _RIGHT, _BELOW = 58, 14, 22, 34
_MARKED_HZ = (0, 512, 1024, 2048, 4096, 8000)
_STEPS_S = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800)
_MOST_MARKS = 8
_FLOOR = np.float32(1e-10)
_INK, _PAPER = (40, 40, 40), (255, 255, 255)


class Strip:
    """The mel power of a sound, at most 1,024 columns of it, however long it is."""

    def __init__(self) -> None:
        self._columns = np.zeros((BANDS, 2 * _COLUMNS), np.float32)
        self._count = 0
        self._frames_each = 1  # frames that one column is the mean of
        self._rest = np.empty((BANDS, 0), np.float32)
        self._frames = 0

    def add(self, mel: NDArray[np.float32]) -> None:
        """Take the next frames.

        Parameters
        ----------
        mel : np.ndarray, shape (256, n), float32
            Mel power; any number of frames.
        """
        self._frames += mel.shape[1]
        waiting = np.concatenate([self._rest, mel], axis=1)
        while waiting.shape[1] >= self._frames_each:
            room = self._columns.shape[1] - self._count
            taken = min(room, waiting.shape[1] // self._frames_each)
            whole, waiting = np.split(waiting, [taken * self._frames_each], axis=1)
            self._columns[:, self._count : self._count + taken] = _means(whole, self._frames_each)
            self._count += taken
            if self._count == self._columns.shape[1]:
                self._columns[:, :_COLUMNS] = _means(self._columns, 2)
                self._count = _COLUMNS
                self._frames_each *= 2
        self._rest = waiting.copy()

    def png(self) -> bytes:
        """Draw what was taken.

        Returns
        -------
        bytes
            A PNG file; silence is black.
        """
        columns = self._columns[:, : self._count]
        if self._rest.shape[1]:
            columns = np.concatenate([columns, self._rest.mean(axis=1, keepdims=True)], axis=1)
        level = _levels(_fitted(columns[:_SHOWN]))
        pixels = np.repeat(MAGMA[level[::-1]], _PIXELS_PER_BAND, axis=0)
        return _framed(pixels, self._frames * HOP_LENGTH / SAMPLE_RATE_HZ)


def _means(mel: NDArray[np.float32], each: int) -> NDArray[np.float32]:
    means: NDArray[np.float32] = mel.reshape(len(mel), -1, each).mean(axis=2)
    return means


def _fitted(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring any number of columns to the picture's: average them, or draw them broader."""
    count = columns.shape[1]
    if count <= _COLUMNS:
        return columns[:, np.arange(_COLUMNS) * count // _COLUMNS]
    starts = np.arange(_COLUMNS) * count // _COLUMNS
    sums = np.add.reduceat(columns, starts, axis=1)
    means: NDArray[np.float32] = sums / np.diff(starts, append=count).astype(np.float32)
    return means


def _levels(power: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return indices of the colour map: 255 is the loudest, 0 is 80 dB below and less."""
    largest = max(float(power.max()), float(_FLOOR))
    db = 10 * np.log10(np.maximum(power, _FLOOR) / np.float32(largest))
    if power.max() <= _FLOOR:
        return np.zeros(power.shape, np.uint8)
    levels: NDArray[np.uint8] = np.rint((np.maximum(db, -TOP_DB) / TOP_DB + 1) * 255).astype(
        np.uint8
    )
    return levels


def _framed(pixels: NDArray[np.uint8], seconds: float) -> bytes:
    height, width = pixels.shape[:2]
    whole = Image.new("RGB", (_LEFT + width + _RIGHT, _TOP + height + _BELOW), _PAPER)
    whole.paste(Image.fromarray(pixels), (_LEFT, _TOP))
    draw = ImageDraw.Draw(whole)
    font = ImageFont.load_default(12)
    for hz in _MARKED_HZ:
        band = float(np.interp(hz, _CENTRES_HZ[:_SHOWN], np.arange(_SHOWN)))
        y = _TOP + height - 1 - round(band * (height - 1) / (_SHOWN - 1))
        draw.line([(_LEFT - 4, y), (_LEFT - 1, y)], _INK)
        text = f"{hz} Hz" if hz == _MARKED_HZ[-1] else f"{hz}"
        draw.text((_LEFT - 7, y), text, _INK, font, anchor="rm")
    step = next((s for s in _STEPS_S if seconds / s <= _MOST_MARKS), _STEPS_S[-1])
    for k in range(int(seconds / step) + 1):
        x = _LEFT + round(k * step / seconds * (width - 1))
        draw.line([(x, _TOP + height), (x, _TOP + height + 3)], _INK)
        text = f"{k * step:g}" + (" s" if k == 0 else "")
        draw.text((x, _TOP + height + 6), text, _INK, font, anchor="mt")
    file = io.BytesIO()
    whole.save(file, "PNG")
    return file.getvalue()
