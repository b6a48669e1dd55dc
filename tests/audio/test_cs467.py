from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from server.audio.cs467 import cs467_picture
from server.audio.tones import GREYS
from server.sound_errors import SoundTooShort

_Melody = Callable[..., NDArray[np.float32]]


def test_the_picture_is_the_2020_servers_recipe(librosa: ModuleType, melody: _Melody) -> None:
    y = melody(5)
    mel = librosa.feature.melspectrogram(y=y, sr=22_050, n_fft=2048, hop_length=1024, n_mels=128)
    db = librosa.power_to_db(mel, ref=np.max)
    stretched = ((db - db.min()) / (db.max() - db.min()) * 255).astype(np.uint8)[::-1]
    canvas = Image.fromarray(GREYS[255 - stretched]).resize((640, 480), Image.Resampling.BILINEAR)
    expected = np.asarray(canvas, np.float32)[50:250, 55:390]
    # a level at the edge of truncation may fall to either side: at most 5 greys by the colour map
    difference = np.abs(cs467_picture(y, 200, 335)[..., 0] - expected)
    assert difference.max() <= 5
    assert difference.mean() < 0.05


def test_loud_is_bright() -> None:
    quiet = 1e-3 * np.random.default_rng(0).standard_normal(220_500)
    quiet[60_000:120_000] *= 300
    x = cs467_picture(quiet.astype(np.float32), 200, 335)[..., 0]
    assert x[:, 175:280].mean() > x[:, :80].mean() + 50


def test_silence_is_black() -> None:
    assert cs467_picture(np.zeros(5000, np.float32), 200, 335).max() == 0


def test_no_samples_are_too_few() -> None:
    with pytest.raises(SoundTooShort):
        cs467_picture(np.zeros(0, np.float32), 200, 335)
