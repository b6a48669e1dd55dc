from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from server.audio.spectrogram import CLIP_SAMPLES, mel_power, mel_spectrogram
from server.sound_errors import SoundTooShort

_Melody = Callable[..., NDArray[np.float32]]


@pytest.mark.parametrize(("hop_length", "n_mels"), [(512, 128), (1024, 64), (1980, 235)])
def test_the_mel_power_is_librosas(
    librosa: ModuleType, melody: _Melody, hop_length: int, n_mels: int
) -> None:
    y = melody(3)
    expected = librosa.feature.melspectrogram(
        y=y, sr=22_050, n_fft=2048, hop_length=hop_length, n_mels=n_mels
    ).T
    found = mel_power(y, hop_length=hop_length, n_mels=n_mels)
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-9)


def test_the_spectrogram_is_what_librosa_calls_give(
    librosa: ModuleType, clip: NDArray[np.float32]
) -> None:
    mel = librosa.feature.melspectrogram(
        y=clip[:CLIP_SAMPLES], sr=22_050, n_fft=2048, hop_length=1980, n_mels=235
    )
    db = librosa.power_to_db(mel, ref=np.max, top_db=80)
    expected = ((db + 80) / 80)[::-1, :335]
    assert np.allclose(mel_spectrogram(clip, 235, 335)[..., 0], expected, atol=1e-4)


@pytest.mark.parametrize(
    "size", [(235, 335), (200, 335), (217, 334), (128, 128), (1, 2), (64, 1024)]
)
def test_the_spectrogram_has_the_models_size(melody: _Melody, size: tuple[int, int]) -> None:
    x = mel_spectrogram(melody(2), *size)
    assert x.shape == (*size, 1)
    assert x.dtype == np.float32


def test_the_values_reach_from_zero_to_one(melody: _Melody) -> None:
    x = mel_spectrogram(melody(2), 235, 335)
    assert x.min() == 0
    assert x.max() == 1


def test_low_tones_are_at_the_bottom() -> None:
    y = np.sin(2 * np.pi * 200 * np.arange(CLIP_SAMPLES) / 22_050).astype(np.float32)
    x = mel_spectrogram(y, 235, 335)[..., 0]
    assert x[:, 100].argmax() > 200


def test_what_follows_thirty_seconds_is_not_seen(melody: _Melody) -> None:
    y = melody(31)
    expected = mel_spectrogram(y[:CLIP_SAMPLES], 64, 64)
    assert np.array_equal(mel_spectrogram(y, 64, 64), expected)


def test_a_short_sound_is_followed_by_silence(melody: _Melody) -> None:
    x = mel_spectrogram(melody(15), 64, 101)[..., 0]
    assert x[:, 55:].max() == 0
    assert x[:, :49].max() == 1


def test_silence_is_evenly_loud() -> None:
    assert np.all(mel_spectrogram(np.zeros(1000, np.float32), 8, 8) == 1)


def test_no_samples_are_too_few() -> None:
    with pytest.raises(SoundTooShort):
        mel_spectrogram(np.zeros(0, np.float32), 8, 8)
