import warnings
from types import ModuleType

import numpy as np
import pytest

from server.audio.mel import decibels, mel_bank, mel_frequencies
from server.audio.spectrogram import MAX_HEIGHT


@pytest.mark.parametrize("n_mels", [1, 13, 128, 200, 235, 512])
def test_the_mel_bank_is_librosas(librosa: ModuleType, n_mels: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # librosa warns of narrow bands
        expected = librosa.filters.mel(sr=22_050, n_fft=2048, n_mels=n_mels).T
    assert np.allclose(mel_bank(n_mels), expected, rtol=1e-5, atol=1e-9)


def test_the_mel_frequencies_are_librosas(librosa: ModuleType) -> None:
    expected = librosa.mel_frequencies(130, fmin=0, fmax=11_025)
    assert np.allclose(mel_frequencies(130), expected, rtol=1e-12)


def test_the_decibels_are_librosas(librosa: ModuleType) -> None:
    power = np.random.default_rng(0).lognormal(-5, 8, (50, 40)).astype(np.float32)
    assert np.allclose(decibels(power), librosa.power_to_db(power), atol=1e-4)


def test_the_decibels_of_silence_are_all_the_same() -> None:
    assert np.ptp(decibels(np.zeros((3, 4), np.float32))) == 0


@pytest.mark.parametrize(("n_mels", "empty"), [(MAX_HEIGHT, False), (MAX_HEIGHT + 1, True)])
def test_the_largest_height_is_the_last_without_an_empty_band(n_mels: int, empty: bool) -> None:
    assert bool((mel_bank(n_mels).max(axis=0) == 0).any()) is empty
