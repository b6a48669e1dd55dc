import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from server.audio import tones
from server.synthesis.magma import MAGMA
from server.synthesis.mel_tile import BANDS
from server.synthesis.picture import Strip

LEFT, TOP, WIDTH, HEIGHT = 58, 14, 512, 464


def plot(png: bytes) -> NDArray[np.uint8]:
    """Return the pixels inside the axes."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        whole = np.asarray(image)
    return whole[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH]


def drawn(mel: NDArray[np.float32], *, pieces: int = 1) -> NDArray[np.uint8]:
    strip = Strip()
    for part in np.array_split(mel, pieces, axis=1):
        strip.add(part)
    return plot(strip.png())


def test_the_colours_are_as_light_as_those_of_the_old_pictures() -> None:
    luma = MAGMA @ np.array([0.299, 0.587, 0.114])
    assert np.abs(luma - tones.MAGMA).max() <= 2
    assert MAGMA[0].tolist() == [0, 0, 4]
    assert MAGMA[255].tolist() == [252, 253, 191]


def test_the_loudest_is_lightest() -> None:
    mel = np.full((BANDS, 256), 1e-9, np.float32)
    mel[100, 128:] = 1.0
    pixels = drawn(mel)
    # two pixels a band from below, two a frame
    y, x = HEIGHT - 1 - 2 * 100, 2 * 128
    assert (pixels[y - 1 : y + 1, x:] == MAGMA[255]).all()
    assert (pixels[y - 1 : y + 1, :x] == MAGMA[0]).all()
    assert (pixels[: y - 1] == MAGMA[0]).all()


def test_forty_decibels_below_is_the_middle() -> None:
    mel = np.full((BANDS, 4), 1e-4, np.float32)
    mel[0, 0] = 1.0
    assert (drawn(mel)[0, -1] == MAGMA[128]).all()


def test_bands_above_8000_hz_are_left_out() -> None:
    mel = np.full((BANDS, 4), 1e-6, np.float32)
    mel[240] = 1.0
    assert (drawn(mel) == drawn(mel * 2)).all()
    assert np.unique(drawn(mel).reshape(-1, 3), axis=0).shape[0] == 1


@pytest.mark.parametrize("frames", [1, 3, 511, 512, 513, 1023, 1024, 1025, 5000, 70_001])
def test_any_length_is_drawn(frames: int) -> None:
    mel = np.full((BANDS, frames), 1e-6, np.float32)
    mel[50, : frames // 2] = mel[50, -1] = 1.0
    pixels = drawn(mel, pieces=min(frames, 7))
    row = pixels[HEIGHT - 1 - 2 * 50]
    assert row[-1, 0] > MAGMA[100, 0]
    if frames > 3:
        assert (row[10:240] == MAGMA[255]).all()
        assert (row[270:500, 0] < MAGMA[100, 0]).all()


def test_the_pieces_do_not_matter() -> None:
    mel = np.random.default_rng(0).lognormal(0, 3, (BANDS, 3001)).astype(np.float32)
    assert np.abs(drawn(mel).astype(int) - drawn(mel, pieces=37)).max() <= 3


def test_silence_is_black() -> None:
    assert (drawn(np.zeros((BANDS, 7), np.float32)) == MAGMA[0]).all()
