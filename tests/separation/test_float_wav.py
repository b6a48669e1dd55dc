"""WAV files of floats, read by libsndfile."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from server.separation.float_wav import FloatWav
from tests.tasks.working import noise


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("pieces", [[], [1], [0, 5, 3000]])
def test_samples_are_read_as_they_were_written(
    tmp_path: Path, channels: int, pieces: list[int]
) -> None:
    path = tmp_path / "sound.wav"
    parts = [20 * noise(size, channels, seed=size) for size in pieces]  # beyond full scale
    with path.open("w+b") as file:
        wav = FloatWav(file.fileno(), 44_100, channels)
        for part in parts:
            wav.write(part)
        wav.close()
        os.fstat(file.fileno())  # still open
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype) == (44_100, channels, "FLOAT")
    found, _ = soundfile.read(path, dtype="float32", always_2d=True)
    np.testing.assert_array_equal(found, np.concatenate([np.zeros((0, channels), "f4"), *parts]))


def test_what_is_transposed_is_written_in_the_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    y = noise(2, 100)
    with path.open("w+b") as file:
        wav = FloatWav(file.fileno(), 44_100, 2)
        wav.write(y.T)
        wav.close()
    np.testing.assert_array_equal(soundfile.read(path, dtype="float32")[0], y.T)
