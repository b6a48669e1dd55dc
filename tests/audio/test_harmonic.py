from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from server.audio.harmonic import Separator
from server.audio.spectrum import BLOCK


def _harmonic(librosa: ModuleType, y: NDArray[np.float32]) -> NDArray[np.float32]:
    spectrum = np.ascontiguousarray(librosa.stft(y, pad_mode="reflect").T)
    separator = Separator(len(spectrum))
    for first in range(0, len(spectrum), BLOCK):
        at = slice(first, min(len(spectrum), first + BLOCK))
        separator.power[at] = np.square(spectrum[at].real) + np.square(spectrum[at].imag)
        separator.add(at, spectrum[at].copy())
    return separator.harmonic()


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.parametrize("samples", [5000, 64 * 512, 70 * 512, 3 * 22_050, 128 * 512])
def test_both_parts_are_librosas(
    librosa: ModuleType, melody: Callable[..., NDArray[np.float32]], samples: int
) -> None:
    # not fewer: librosa 0.11 leaves memory of three frames uninitialised, now and then NaN
    y = melody(samples / 22_050)
    harmonic = _harmonic(librosa, y).ravel()
    expected = librosa.decompose.hpss(librosa.stft(y, pad_mode="reflect"))
    assert np.allclose(harmonic, librosa.istft(expected[0]), atol=2e-6)
    assert np.allclose(y[: len(harmonic)] - harmonic, librosa.istft(expected[1]), atol=2e-6)


def test_half_silence_leaves_no_gap(librosa: ModuleType) -> None:
    y = np.zeros(22_050, np.float32)
    y[:5000] = np.random.default_rng(0).standard_normal(5000)
    harmonic = _harmonic(librosa, y)
    assert np.isfinite(harmonic).all()
    assert np.abs(harmonic).ravel()[10_000:].max() == 0


def test_one_sound_leaves_nothing_to_the_next(
    librosa: ModuleType, melody: Callable[..., NDArray[np.float32]]
) -> None:
    y = melody(5)
    first = _harmonic(librosa, y)
    _harmonic(librosa, np.random.default_rng(0).standard_normal(90_000).astype(np.float32))
    assert np.array_equal(_harmonic(librosa, y), first)
