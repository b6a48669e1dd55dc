from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from server.synthesis.griffin_lim import griffin_lim, istft, random_phase, stft

Samples = NDArray[np.float32]


def convergence(y: Samples, magnitude: NDArray[np.float32]) -> float:
    """Return how far the magnitudes of a sound are from those wanted."""
    return float(np.linalg.norm(np.abs(stft(y)) - magnitude) / np.linalg.norm(magnitude))


def test_the_transform_is_librosas(librosa: ModuleType, melody: Callable[..., Samples]) -> None:
    y = melody(1.5)
    expected = librosa.stft(y, n_fft=2048).T
    assert np.abs(stft(y) - expected).max() <= 2e-6 * np.abs(expected).max()


@pytest.mark.parametrize("samples", [512, 20_480, 30_001])
def test_the_inverse_gives_the_sound_back(melody: Callable[..., Samples], samples: int) -> None:
    y = melody(2)[:samples]
    np.testing.assert_allclose(istft(stft(y), samples), y, atol=1e-6)


def test_the_inverse_of_what_is_no_transform_is_librosas(librosa: ModuleType) -> None:
    frames = 20
    spectrum = random_phase(frames, [3])
    length = (frames - 1) * 512 + 300
    expected = librosa.istft(spectrum.T, n_fft=2048, length=length)
    found = istft(spectrum, length)
    # librosa leaves out the last frames that reach beyond the length
    inner = slice(0, (frames - 4) * 512)
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-6)


def test_it_converges_as_librosas_does(librosa: ModuleType, melody: Callable[..., Samples]) -> None:
    y = melody(3)[: 128 * 512]
    magnitude = np.abs(stft(y))
    ours = griffin_lim(magnitude, random_phase(129, [0]), iterations=32, length=len(y))
    theirs = librosa.griffinlim(magnitude.T, random_state=0, n_iter=32, momentum=0.99, n_fft=2048)
    assert convergence(ours, magnitude) <= 1.1 * convergence(theirs, magnitude)


def test_the_right_phase_is_kept(melody: Callable[..., Samples]) -> None:
    y = melody(1)
    spectrum = stft(y)
    for iterations in (0, 4):
        found = griffin_lim(np.abs(spectrum), spectrum, iterations=iterations, length=len(y))
        np.testing.assert_allclose(found, y, atol=1e-5)


def test_equal_seeds_give_equal_samples(melody: Callable[..., Samples]) -> None:
    magnitude = np.abs(stft(melody(1)))
    first, again, other = (
        griffin_lim(magnitude, random_phase(len(magnitude), [seed]), iterations=3, length=22_050)
        for seed in (7, 7, 8)
    )
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_silence_stays_silence() -> None:
    silent = griffin_lim(
        np.zeros((9, 1025), np.float32), random_phase(9, [0]), iterations=2, length=4096
    )
    assert not silent.any()
