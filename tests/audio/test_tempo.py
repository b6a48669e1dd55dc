from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from server.audio.mel import decibels
from server.audio.spectrogram import mel_power
from server.audio.tempo import onset_strength, tempo_frequencies, tempo_of


def test_the_tempo_grid_is_librosas(librosa: ModuleType) -> None:
    expected = librosa.tempo_frequencies(344, hop_length=512, sr=22_050)
    assert np.allclose(tempo_frequencies(), expected, rtol=1e-15)


def test_the_onset_envelope_is_librosas(
    librosa: ModuleType, melody: Callable[..., NDArray[np.float32]]
) -> None:
    mel_db = decibels(mel_power(melody(5), hop_length=512, n_mels=128))
    expected = librosa.onset.onset_strength(S=mel_db.T, sr=22_050, aggregate=np.median)
    assert np.allclose(onset_strength(mel_db), expected, atol=1e-5)


@pytest.mark.parametrize("frames", [3, 20, 343, 344, 345, 1293])
def test_the_tempo_is_librosas(librosa: ModuleType, frames: int) -> None:
    rng = np.random.default_rng(frames)
    onset = rng.gamma(0.5, 1, frames).astype(np.float32)
    onset[::20] += 5
    expected = librosa.feature.tempo(onset_envelope=onset, sr=22_050)[0]
    assert tempo_of(onset) == expected


def test_clicks_at_120_beats_are_found_on_the_nearest_lag() -> None:
    onset = np.zeros(1293, np.float32)
    onset[np.rint(np.arange(0, 1293, 21.533)).astype(int)] = 1
    assert tempo_of(onset) == pytest.approx(117.45, abs=0.01)


def test_silence_has_no_tempo() -> None:
    assert tempo_of(np.zeros(1293, np.float32)) == 0.0
