"""Masks without a model, on sounds whose parts are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from server.separation.masks import masks
from server.separation.stft import BINS, SAMPLE_RATE_HZ, Stft

SECONDS = 4


def power(y: NDArray[np.float32]) -> NDArray[np.float32]:
    stft = Stft(1)
    frames = np.concatenate([stft.feed(y[:, None]), stft.finish()], axis=1)[0]
    found: NDArray[np.float32] = np.abs(frames) ** 2
    return found


def share(name: str, y: NDArray[np.float32]) -> float:
    """Return how much of a sound's power is said to be of one part."""
    cells = power(y)
    return float((masks(cells)[name] * cells).sum() / cells.sum())


def time_s() -> NDArray[np.float64]:
    return np.arange(SECONDS * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ


def tone(hz: float) -> NDArray[np.float32]:
    return (0.3 * np.sin(2 * np.pi * hz * time_s())).astype(np.float32)


def clicks() -> NDArray[np.float32]:
    y = np.zeros(SECONDS * SAMPLE_RATE_HZ, np.float32)
    y[::22_050] = 0.9
    return y


def melody() -> NDArray[np.float32]:
    """Return a voice that moves every quarter of a second."""
    steps = (time_s() * 4).astype(int)
    hz = 440 * 2 ** (np.random.default_rng(3).permutation(4 * SECONDS)[steps] / 12)
    return (0.3 * np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ)).astype(np.float32)


def test_clicks_are_drums_and_tones_are_not() -> None:
    assert share("drums", clicks()) > 0.95
    assert share("drums", tone(440)) < 0.05


def test_low_tones_are_bass() -> None:
    assert share("bass", tone(60)) > 0.95
    assert share("bass", tone(440)) < 0.01


def test_what_moves_is_voice_and_what_stays_is_not() -> None:
    assert share("vocals", melody()) > 0.6
    assert share("vocals", tone(440)) < 0.1


@pytest.mark.parametrize("frames", [1, 2, 3, 40])
def test_parts_are_never_more_than_the_whole(frames: int) -> None:
    cells = np.random.default_rng(0).exponential(1, (frames, BINS)).astype(np.float32)
    found = masks(cells)
    assert all(part.shape == cells.shape for part in found.values())
    assert min(float(part.min()) for part in found.values()) >= 0
    assert float(np.sum([*found.values()], axis=0).max()) <= 1 + 1e-6


def test_silence_has_no_parts() -> None:
    found = masks(np.zeros((40, BINS), np.float32))
    assert all(np.isfinite(part).all() for part in found.values())
