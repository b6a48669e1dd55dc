import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from server.audio.analysis import Analysis
from server.audio.decode import decode
from server.audio.feature_names import FEATURE_NAMES
from server.audio.gtzan58 import MIN_SAMPLES
from server.audio.gtzan58 import gtzan58 as row_of
from server.sound_errors import SoundTooShort

_Recipe = Callable[[NDArray[np.float32]], dict[str, float]]

# Close to zero, so relative differences say nothing: compared by an absolute tolerance.
_NEAR_ZERO = ("harmony_mean", "perceptr_mean")
_EXACT = ("length", "tempo")


def gtzan58(y: NDArray[np.float32]) -> NDArray[np.float64]:
    return row_of(Analysis(y))


def _compare(found: NDArray[np.float64], expected: dict[str, float], *, near_zero: float) -> None:
    for name, value in zip(FEATURE_NAMES, found.tolist(), strict=True):
        if name in _NEAR_ZERO:
            assert value == pytest.approx(expected[name], abs=near_zero), name
        elif name in _EXACT:
            assert value == expected[name], name
        else:
            assert value == pytest.approx(expected[name], rel=1e-4, abs=1e-12), name


def _read_table(path: Path) -> dict[str, dict[str, float]]:
    with path.open(newline="") as file:
        return {
            row["filename"]: {name: float(row[name]) for name in FEATURE_NAMES}
            for row in csv.DictReader(file)
        }


def test_the_row_of_a_clip_is_librosas(librosa_gtzan58: _Recipe, clip: NDArray[np.float32]) -> None:
    _compare(gtzan58(clip), librosa_gtzan58(clip), near_zero=2e-9)


@pytest.mark.parametrize("samples", [22_050, 30_001, 44_032])
def test_the_row_of_a_short_clip_is_librosas(
    librosa_gtzan58: _Recipe, melody: Callable[..., NDArray[np.float32]], samples: int
) -> None:
    y = melody(samples / 22_050)
    _compare(gtzan58(y), librosa_gtzan58(y), near_zero=2e-8)


@pytest.mark.timeout(120)
def test_the_rows_of_twenty_clips_are_those_of_the_table(
    shared_data: Callable[[str], Path],
) -> None:
    table = _read_table(shared_data("gtzan/features_30_sec.csv"))
    clips = sorted(shared_data("gtzan/wav").glob("*.wav"))
    assert len(clips) == 20
    for path in clips:
        y = decode(path.read_bytes(), ext="wav").y
        expected = table[path.name] | {"tempo": gtzan_tempo(table[path.name]["tempo"])}
        _compare(gtzan58(y), expected, near_zero=2e-9)


def gtzan_tempo(printed: float) -> float:
    """Return the exact tempo of the lag that a printed tempo stands for."""
    lag = round(60 * 22_050 / 512 / printed)
    exact = 60 * 22_050 / (512 * lag)
    assert exact == pytest.approx(printed, rel=1e-12)
    return exact


def test_the_row_of_silence_is_finite() -> None:
    row = dict(zip(FEATURE_NAMES, gtzan58(np.zeros(66_150, np.float32)), strict=True))
    assert np.isfinite(list(row.values())).all()
    assert row["tempo"] == 0
    assert row["rms_mean"] == 0


@pytest.mark.parametrize("samples", [MIN_SAMPLES, 1036, 2048, 7679])
def test_the_row_of_a_very_short_sound_is_finite(samples: int) -> None:
    y = (0.1 * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)
    assert np.isfinite(gtzan58(y)).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e6])
def test_the_row_of_a_sound_of_any_loudness_is_finite(
    melody: Callable[..., NDArray[np.float32]], scale: float
) -> None:
    assert np.isfinite(gtzan58(melody(1) * np.float32(scale))).all()


def test_a_sound_that_cannot_be_reflected_is_too_short() -> None:
    with pytest.raises(SoundTooShort, match="needs at least 1025"):
        gtzan58(np.zeros(1024, np.float32))


def test_the_row_leaves_the_samples_alone(melody: Callable[..., NDArray[np.float32]]) -> None:
    y = melody(1)
    before = y.copy()
    gtzan58(y)
    assert np.array_equal(y, before)


def test_the_names_are_the_tables_in_its_order(shared_data: Callable[[str], Path]) -> None:
    with shared_data("gtzan/features_30_sec.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert header == ["filename", *FEATURE_NAMES, "label"]
