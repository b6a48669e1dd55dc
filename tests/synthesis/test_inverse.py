from collections.abc import Callable
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from server.audio.mel import mel_bank
from server.synthesis.inverse import magnitudes
from server.synthesis.mel_tile import BANDS, TILE, mel_power

Samples = NDArray[np.float32]


def residual(found: NDArray[np.float32], mel: NDArray[np.float32]) -> float:
    power = np.square(found.astype(np.float64))
    return float(np.linalg.norm(power @ mel_bank(BANDS) - mel.T) / np.linalg.norm(mel))


def test_the_bands_of_what_is_found_are_those_given(melody: Callable[..., Samples]) -> None:
    mel = mel_power(melody(6)[:TILE])
    found = magnitudes(mel)
    assert found.shape == (256, 1025)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert residual(found, mel) < 0.003


def test_nothing_closer_is_left_to_librosas_solver(
    librosa: ModuleType, melody: Callable[..., Samples]
) -> None:
    mel = mel_power(melody(1))
    theirs = librosa.feature.inverse.mel_to_stft(mel, sr=22_050)
    assert residual(magnitudes(mel), mel) <= residual(theirs.T, mel)


def test_bands_that_no_sound_has_are_met_as_closely_as_can_be() -> None:
    # every other band is silent: neighbours share their bins, so nothing fits; this is what a model
    # may answer
    mel = np.random.default_rng(0).lognormal(0, 2, (BANDS, 4)).astype(np.float32)
    mel[1::2] = 0
    least = [nnls(mel_bank(BANDS).T.astype(np.float64), column)[1] for column in mel.T]
    best = np.linalg.norm(least) / np.linalg.norm(mel)
    assert best > 0.01
    assert residual(magnitudes(mel), mel) <= 1.1 * best


def test_silence_stays_silence() -> None:
    assert not magnitudes(np.zeros((BANDS, 3), np.float32)).any()


def test_the_level_does_not_matter(melody: Callable[..., Samples]) -> None:
    mel = mel_power(melody(1))
    loud, quiet = magnitudes(mel * np.float32(1e12)), magnitudes(mel * np.float32(1e-12))
    np.testing.assert_allclose(loud, quiet * np.float32(1e12), rtol=1e-3, atol=1e-3 * loud.max())
