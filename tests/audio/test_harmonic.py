from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from server.audio.harmonic import Parts, separate


def _separate(librosa: ModuleType, y: NDArray[np.float32]) -> Parts:
    spectrum = np.ascontiguousarray(librosa.stft(y, pad_mode="reflect").T)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return separate(y, spectrum=spectrum, power=power, power_by_bin=np.ascontiguousarray(power.T))


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.parametrize("samples", [5000, 3 * 22_050, 128 * 512])
def test_both_parts_are_librosas(
    librosa: ModuleType, melody: Callable[..., NDArray[np.float32]], samples: int
) -> None:
    # not fewer: librosa 0.11 leaves memory of three frames uninitialised, now and then NaN
    y = melody(samples / 22_050)
    parts = _separate(librosa, y)
    expected = librosa.decompose.hpss(librosa.stft(y, pad_mode="reflect"))
    for found, part in zip((parts.harmonic, parts.percussive), expected, strict=True):
        assert np.allclose(found.ravel(), librosa.istft(part), atol=2e-6)


def test_half_silence_leaves_no_gap(librosa: ModuleType) -> None:
    y = np.zeros(22_050, np.float32)
    y[:5000] = np.random.default_rng(0).standard_normal(5000)
    parts = _separate(librosa, y)
    assert np.isfinite(parts.harmonic).all()
    assert np.abs(parts.harmonic + parts.percussive).ravel()[10_000:].max() == 0
