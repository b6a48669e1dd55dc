import warnings
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from server.synthesis.mel_tile import TILE, mel_power

Samples = NDArray[np.float32]


@pytest.mark.parametrize("samples", [1, 511, 512, 22_050, TILE])
def test_the_mel_power_is_librosas(
    librosa: ModuleType, melody: Callable[..., Samples], samples: int
) -> None:
    y = melody(6)[:samples]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # librosa warns of sounds shorter than a frame
        expected = librosa.feature.melspectrogram(y=y, sr=22_050, n_mels=256)
    found = mel_power(y)
    assert found.shape == (256, 1 + samples // 512)
    assert np.abs(found - expected).max() <= 1e-6 * expected.max()


def test_a_tile_has_as_many_frames_as_bands() -> None:
    assert mel_power(np.zeros(TILE, np.float32)).shape == (256, 256)
