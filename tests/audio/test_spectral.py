from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from server.audio.spectral import (
    block_sums,
    centroid_and_bandwidth,
    moments,
    rms,
    rolloff,
    zero_crossing_rate,
)


@pytest.fixture(scope="module")
def y(melody: Callable[..., NDArray[np.float32]]) -> NDArray[np.float32]:
    return melody(3)


@pytest.fixture(scope="module")
def magnitude(librosa: ModuleType, y: NDArray[np.float32]) -> NDArray[np.float32]:
    spectrum: NDArray[np.float32] = np.abs(librosa.stft(y, pad_mode="reflect")).T
    return spectrum


def _moments(magnitude: NDArray[np.float32]) -> NDArray[np.float64]:
    return moments(np.square(magnitude), block_sums(magnitude))


def _rolloff(magnitude: NDArray[np.float32]) -> NDArray[np.float64]:
    return rolloff(np.square(magnitude), block_sums(magnitude))


def test_rms_is_librosas(librosa: ModuleType, y: NDArray[np.float32]) -> None:
    expected = librosa.feature.rms(y=y, pad_mode="reflect")[0]
    found = rms(y, len(expected))
    assert np.allclose(found, expected, rtol=1e-5)


def test_zero_crossings_are_librosas(librosa: ModuleType, y: NDArray[np.float32]) -> None:
    expected = librosa.feature.zero_crossing_rate(y)[0]
    assert np.array_equal(zero_crossing_rate(y, len(expected)), expected)


def test_a_sample_below_the_threshold_is_no_crossing() -> None:
    y = np.tile(np.array([1e-11, -1e-11], np.float32), 2000)
    assert zero_crossing_rate(y, 1 + len(y) // 512).max() == 0


def test_the_centroid_is_librosas(librosa: ModuleType, magnitude: NDArray[np.float32]) -> None:
    expected = librosa.feature.spectral_centroid(S=magnitude.T, sr=22_050)[0]
    found, _ = centroid_and_bandwidth(_moments(magnitude))
    assert np.allclose(found, expected, rtol=1e-5)


def test_the_bandwidth_is_librosas(librosa: ModuleType, magnitude: NDArray[np.float32]) -> None:
    expected = librosa.feature.spectral_bandwidth(S=magnitude.T, sr=22_050)[0]
    _, found = centroid_and_bandwidth(_moments(magnitude))
    assert np.allclose(found, expected, rtol=1e-4)


def test_the_rolloff_is_librosas_but_for_ties(
    librosa: ModuleType, magnitude: NDArray[np.float32]
) -> None:
    expected = librosa.feature.spectral_rolloff(S=magnitude.T, sr=22_050)[0]
    bins_off = np.abs(_rolloff(magnitude) - expected) / (22_050 / 2048)
    assert bins_off.max() < 1.01
    assert np.count_nonzero(bins_off) <= 1


def test_a_silent_frame_has_no_centre() -> None:
    centroid, bandwidth = centroid_and_bandwidth(_moments(np.zeros((2, 1025), np.float32)))
    assert not centroid.any()
    assert not bandwidth.any()


def test_a_silent_frame_rolls_off_at_zero() -> None:
    assert not _rolloff(np.zeros((2, 1025), np.float32)).any()


def test_the_rolloff_of_the_last_bin_alone_is_half_the_sample_rate() -> None:
    magnitude = np.zeros((1, 1025), np.float32)
    magnitude[0, 1024] = 1
    assert _rolloff(magnitude)[0] == 11_025


@pytest.mark.parametrize("samples", [1025, 1536, 2048, 5000, 5120])
def test_the_ends_of_the_sound_are_padded_as_librosa_does(
    librosa: ModuleType, y: NDArray[np.float32], samples: int
) -> None:
    count = 1 + samples // 512
    loudness = librosa.feature.rms(y=y[:samples], pad_mode="reflect")[0]
    assert np.allclose(rms(y[:samples], count), loudness, rtol=1e-5)
    crossings = librosa.feature.zero_crossing_rate(y[:samples])[0]
    assert np.array_equal(zero_crossing_rate(y[:samples], count), crossings)


def test_a_sound_that_crosses_at_every_sample_is_counted_whole() -> None:
    y = np.tile(np.array([1, -1], np.float32), 2048)
    assert zero_crossing_rate(y, 9)[4] == 2047 / 2048


def test_moments_of_blocks_are_those_of_all_bins(magnitude: NDArray[np.float32]) -> None:
    khz = np.linspace(0, 11.025, 1025)
    expected = magnitude.astype(np.float64) @ np.stack([khz**0, khz, khz**2], axis=1)
    assert np.allclose(_moments(magnitude), expected, rtol=1e-6)
