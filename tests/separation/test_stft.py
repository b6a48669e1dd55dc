"""The transform and its inverse, piece by piece, against librosa's of the whole sound."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.separation.stft import BINS, HOP, N_FFT, Istft, Stft
from tests.tasks.working import noise


def pieces(y: NDArray[np.float32], cuts: list[int]) -> list[NDArray[np.float32]]:
    return np.split(y, sorted(cut for cut in cuts if cut <= len(y)))


def spectrum(y: NDArray[np.float32], cuts: list[int]) -> NDArray[np.complex64]:
    stft = Stft(y.shape[1])
    parts = [stft.feed(piece) for piece in pieces(y, cuts)]
    return np.concatenate([*parts, stft.finish()], axis=1)


@settings(max_examples=20, deadline=None)
@given(st.integers(N_FFT, 40_000), st.lists(st.integers(0, 40_000), max_size=4))
def test_it_is_the_transform_of_the_whole(samples: int, cuts: list[int]) -> None:
    y = noise(samples, 2)
    expected = librosa.stft(y.T, n_fft=N_FFT, hop_length=HOP, pad_mode="constant")
    found = spectrum(y, cuts)
    assert found.shape == (2, 1 + samples // HOP, BINS)
    np.testing.assert_allclose(found, expected.transpose(0, 2, 1), atol=2e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40_000), st.lists(st.integers(0, 40), max_size=4))
def test_the_inverse_gives_the_sound_back(samples: int, cuts: list[int]) -> None:
    y = noise(samples, 2)
    frames = spectrum(y, [])
    inverse = Istft(2)
    places = sorted(cut for cut in cuts if cut <= frames.shape[1])
    parts = [inverse.feed(part.copy()) for part in np.split(frames, places, axis=1)]
    found = np.concatenate([*parts, inverse.finish(samples)])
    np.testing.assert_allclose(found, y, atol=2e-6)


def test_the_inverse_is_librosas() -> None:
    frames = spectrum(noise(30_000, 1), [])
    altered = frames * np.random.default_rng(1).uniform(0, 1, frames.shape).astype(np.float32)
    expected = librosa.istft(altered[0].T, n_fft=N_FFT, hop_length=HOP, length=30_000)
    inverse = Istft(1)
    found = np.concatenate([inverse.feed(altered.copy()), inverse.finish(30_000)])
    # where fewer than four frames meet, librosa divides by a different sum
    np.testing.assert_allclose(found[N_FFT:-N_FFT, 0], expected[N_FFT:-N_FFT], atol=2e-6)


@pytest.mark.parametrize("samples", [0, 1, HOP - 1, HOP])
def test_the_shortest_sounds_have_frames(samples: int) -> None:
    assert spectrum(noise(samples, 1), []).shape == (1, 1 + samples // HOP, BINS)
