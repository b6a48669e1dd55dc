"""The frontend of speech against librosa, and against numbers that must never change."""

import librosa
import numpy as np
import pytest

from server.audio.log_mel import BANDS, FRAMES, SAMPLE_RATE_HZ, WINDOW, log_mel

# of the tone below: decibels in (frame, band)
GOLDEN = {(0, 5): 5.741, (47, 5): 9.140, (47, 20): -100.0, (93, 63): -80.766}


def tone() -> np.ndarray:
    time = np.arange(WINDOW) / SAMPLE_RATE_HZ
    return (0.1 * np.sin(2 * np.pi * 250 * time)).astype(np.float32)


def test_it_equals_librosa() -> None:
    windows = np.random.default_rng(58).standard_normal((3, WINDOW)).astype(np.float32)
    expected = [
        librosa.power_to_db(
            librosa.feature.melspectrogram(
                y=y, sr=SAMPLE_RATE_HZ, n_fft=1024, hop_length=512, n_mels=64, pad_mode="constant"
            ),
            ref=1,
            amin=1e-10,
            top_db=None,
        ).T
        for y in windows
    ]
    made = log_mel(windows)
    assert made.shape == (3, FRAMES, BANDS, 1)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made[..., 0], np.stack(expected), atol=1e-4)


def test_silence_is_the_lowest_value() -> None:
    np.testing.assert_allclose(log_mel(np.zeros((1, WINDOW), np.float32)), -100)


def test_the_numbers_of_version_1() -> None:
    made = log_mel(tone()[None])[0, ..., 0]
    found = {place: float(made[place]) for place in GOLDEN}
    assert found == pytest.approx(GOLDEN, abs=2e-3)
