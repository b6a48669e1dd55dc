"""What the row leaves for the picture is what the picture would have computed."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from server.audio.analysis import Analysis
from server.audio.gtzan58 import gtzan58
from server.audio.kaggle import kaggle_picture

_Melody = Callable[..., NDArray[np.float32]]


@pytest.mark.parametrize("samples", [1025, 1536, 2047, 2048, 2559, 2560, 60_000, 661_794])
def test_the_picture_after_the_row_is_the_picture_alone(melody: _Melody, samples: int) -> None:
    y = melody(samples / 22_050 + 0.001)[:samples]
    alone = Analysis(y)
    shared = Analysis(y)
    gtzan58(shared)
    assert shared.mel is not None
    np.testing.assert_allclose(shared.mel_in_silence(), alone.mel_in_silence(), rtol=1e-5)
    found, expected = (kaggle_picture(sound, 235, 335) for sound in (shared, alone))
    assert np.abs(found - expected).max() <= 2
    assert np.abs(found - expected).mean() <= 0.001


def test_the_row_after_the_picture_is_the_row_alone(melody: _Melody) -> None:
    sound = Analysis(melody(2))
    kaggle_picture(sound, 235, 335)
    np.testing.assert_array_equal(gtzan58(sound), gtzan58(Analysis(melody(2))))
