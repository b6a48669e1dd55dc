from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from server.audio.chroma import chroma_bank, tuning_of


@pytest.mark.parametrize("tuning", [-0.5, -0.13, 0.0, 0.01, 0.37, 0.49])
def test_the_chroma_bank_is_librosas(librosa: ModuleType, tuning: float) -> None:
    expected = librosa.filters.chroma(sr=22_050, n_fft=2048, tuning=tuning).T
    assert np.allclose(chroma_bank(tuning), expected, rtol=1e-5, atol=1e-9)


def _power(librosa: ModuleType, y: NDArray[np.float32]) -> NDArray[np.float32]:
    power: NDArray[np.float32] = np.abs(librosa.stft(y, pad_mode="reflect")).T ** 2
    return power


@pytest.mark.parametrize("cents", [-40, -13, 0, 21, 45])
def test_the_tuning_of_detuned_chords_is_librosas(librosa: ModuleType, cents: int) -> None:
    time_s = np.arange(44_100) / 22_050
    hz = 440 * 2 ** ((np.array([0, 4, 7, 12]) + cents / 100) / 12)
    y = np.sin(2 * np.pi * hz[:, None] * time_s).sum(axis=0).astype(np.float32)
    power = _power(librosa, y)
    found = tuning_of(power, power.max(axis=1))
    assert found == pytest.approx(librosa.estimate_tuning(S=power.T, sr=22_050), abs=1e-12)


def test_the_tuning_of_music_is_librosas(
    librosa: ModuleType, melody: Callable[..., NDArray[np.float32]]
) -> None:
    power = _power(librosa, melody(5))
    expected = librosa.estimate_tuning(S=power.T, sr=22_050)
    assert tuning_of(power, power.max(axis=1)) == pytest.approx(expected, abs=1e-12)


def test_silence_is_in_tune() -> None:
    assert tuning_of(np.zeros((5, 1025), np.float32), np.zeros(5, np.float32)) == 0.0
