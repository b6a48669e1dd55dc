from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from server.audio.analysis import Analysis
from server.audio.decode import decode
from server.audio.kaggle import kaggle_picture as picture_of
from server.audio.tones import MAGMA
from server.sound_errors import SoundTooShort


def kaggle_picture(y: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    return picture_of(Analysis(y), height, width)


_Melody = Callable[..., NDArray[np.float32]]


@pytest.mark.parametrize("size", [(235, 335), (200, 335), (217, 334), (217, 335), (64, 48)])
def test_the_picture_has_the_models_size(melody: _Melody, size: tuple[int, int]) -> None:
    x = kaggle_picture(melody(2), *size)
    assert x.shape == (*size, 1)
    assert x.dtype == np.float32
    assert np.array_equal(x, np.rint(x))
    assert x.min() == 0


def test_the_crops_show_one_canvas(melody: _Melody) -> None:
    y = melody(3)
    tall, low, bare = (
        kaggle_picture(y, *size)[..., 0] for size in ((235, 335), (200, 335), (217, 334))
    )
    assert np.array_equal(tall[15:215], low)
    assert np.array_equal(tall[:217, :334], bare)


def test_the_frame_is_white_and_the_picture_is_not(melody: _Melody) -> None:
    x = kaggle_picture(melody(3), 235, 335)[..., 0]
    assert np.all(x[217:] == 255)
    assert np.all(x[:, 334] == 255)
    assert x[:217, :334].max() <= 245


def test_any_other_size_is_the_picture_without_its_frame(melody: _Melody) -> None:
    y = melody(3)
    assert np.array_equal(kaggle_picture(y, 217, 335)[:, 1:], kaggle_picture(y, 217, 334))


def test_a_pixel_is_the_cell_under_its_centre(librosa: ModuleType, melody: _Melody) -> None:
    y = melody(2)
    mel = librosa.feature.melspectrogram(y=y, sr=22_050, n_mels=128)
    db = librosa.amplitude_to_db(mel, ref=np.max)
    level = np.rint((db - db.min()) / np.ptp(db) * 255).astype(int)
    frames = mel.shape[1]
    found = kaggle_picture(y, 128, frames)[..., 0]
    assert np.abs(found - MAGMA[level[::-1]]).max() <= 2


def test_silence_is_black() -> None:
    assert kaggle_picture(np.zeros(5000, np.float32), 64, 64).max() == 0


def test_no_samples_are_too_few() -> None:
    with pytest.raises(SoundTooShort):
        kaggle_picture(np.zeros(0, np.float32), 8, 8)


def test_the_pictures_of_the_set_are_met(shared_data: Callable[[str], Path]) -> None:
    pictures, clips = shared_data("gtzan/images_original"), shared_data("gtzan/wav")
    likeness = {
        clip.name: _block_correlation(pictures / f"{clip.stem.replace('.', '')}.png", clip)
        for clip in sorted(clips.glob("*.wav"))
    }
    assert len(likeness) == 20
    assert np.mean(list(likeness.values())) > 0.96
    assert min(likeness.values()) > 0.90


def _block_correlation(picture: Path, clip: Path) -> float:
    """Return the correlation of the means of 5 x 5 pixels inside the frame."""
    with Image.open(picture) as image:
        theirs = np.asarray(image.convert("L").crop((55, 35, 390, 270)), np.float32)
    ours = kaggle_picture(decode(clip.read_bytes()).y, 235, 335)[..., 0]
    blocks = [x[:215, :330].reshape(43, 5, 66, 5).mean(axis=(1, 3)) for x in (theirs, ours)]
    return float(np.corrcoef(blocks[0].ravel(), blocks[1].ravel())[0, 1])
