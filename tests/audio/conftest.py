"""Generated sounds, encoded files, the librosa oracle, and the shared data where it is at hand."""

import importlib
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from server.audio.spectrum import SAMPLE_RATE_HZ

Samples = NDArray[np.float32]


def _melody(seconds: float, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Samples:
    """Make decaying chords at 126 BPM with clicks and a little noise."""
    rng = np.random.default_rng(58)
    n = int(seconds * sample_rate_hz)
    y = 0.003 * rng.standard_normal(n)
    beat = int(60 / 126 * sample_rate_hz)
    for k, first in enumerate(range(0, n, beat)):
        part = y[first : first + 2 * beat]
        since = np.arange(len(part)) / sample_rate_hz
        root = 110 * 2 ** ([0, 5, 7, 3][k % 4] / 12)
        for harmonic in (1, 1.26, 1.5, 2, 3.01):
            tone = np.sin(2 * np.pi * root * harmonic * since)
            part += 0.08 / harmonic * np.exp(-4 * since) * tone
        part += 0.2 * np.exp(-300 * since) * rng.standard_normal(len(part))
    return y.astype(np.float32)


@pytest.fixture(scope="session")
def melody() -> Callable[..., Samples]:
    """Return a maker of music-like mono sounds: seconds and sample rate to samples."""
    return _melody


@pytest.fixture(scope="session")
def clip() -> Samples:
    """Return 30 s that are no whole number of hops, as most clips of the table."""
    return _melody(661_794 / SAMPLE_RATE_HZ)


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Return an encoder: samples, sample rate, libsndfile format and subtype to file bytes."""

    def encoded(
        y: NDArray[Any], sample_rate_hz: int, fmt: str = "WAV", subtype: str | None = None
    ) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, y, sample_rate_hz, format=fmt, subtype=subtype)
        return file.getvalue()

    return encoded


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Return a finder of shared test data that skips the test when a file is not there."""
    default = Path(__file__).parents[2].parent / "shared" / "data"
    root = Path(os.environ.get("SHARED_DATA", default))

    def find(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"needs {name} in the folder that SHARED_DATA names")
        return root / name

    return find


@pytest.fixture(scope="session")
def librosa() -> ModuleType:
    """Import librosa once, and only for the tests that ask for it: it takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("filters", "feature", "effects", "beat", "decompose"):
            importlib.import_module(f"librosa.{name}")
        return importlib.import_module("librosa")


@pytest.fixture(scope="session")
def librosa_gtzan58(librosa: ModuleType) -> Callable[[Samples], dict[str, float]]:
    """Return the recipe gtzan-58 written in plain librosa calls."""
    module = importlib.import_module(f"{__package__}.librosa_recipe")
    recipe: Callable[[Samples], dict[str, float]] = module.librosa_gtzan58
    return recipe
