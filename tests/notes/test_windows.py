"""Windows follow the published layout however the sound comes in pieces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.notes.windows import (
    HOP,
    KEPT,
    LEAD,
    SAMPLE_RATE_HZ,
    TRIM,
    WINDOW,
    WINDOW_HOP,
    Windower,
    frame_count,
    frame_time_s,
)


def test_the_numbers_are_the_published_ones() -> None:
    assert (WINDOW, WINDOW_HOP, LEAD, KEPT) == (43_844, 36_164, 3_840, 142)


@given(st.lists(st.integers(0, 90_000), min_size=1, max_size=5))
def test_windows_do_not_depend_on_the_pieces(sizes: list[int]) -> None:
    y = np.arange(1, sum(sizes) + 1, dtype=np.float32)
    windower, got, first = Windower(), [], 0
    for size in sizes:
        got.append(windower.feed(y[first : first + size]))
        first += size
    windows = np.concatenate([*got, windower.finish()])
    padded = np.concatenate([np.zeros(LEAD, np.float32), y, np.zeros(WINDOW, np.float32)])
    starts = range(0, LEAD + len(y), WINDOW_HOP) if len(y) else range(0)
    assert windows.shape == (len(starts), WINDOW, 1)
    for window, start in zip(windows, starts, strict=True):
        expected = padded[start : start + WINDOW]
        assert np.array_equal(window[: len(expected), 0], expected)
        assert not window[len(expected) :].any()


def test_thirty_seconds_are_nineteen_windows() -> None:
    windower = Windower()
    count = len(windower.feed(np.ones(30 * SAMPLE_RATE_HZ, np.float32)))
    assert count + len(windower.finish()) == 19


@given(st.integers(1, 20 * SAMPLE_RATE_HZ))
def test_every_frame_within_the_sound_is_counted(samples: int) -> None:
    count = frame_count(samples)
    assert frame_time_s(count - 1) < samples / SAMPLE_RATE_HZ <= frame_time_s(count)
    windower = Windower()
    windows = len(windower.feed(np.zeros(samples, np.float32))) + len(windower.finish())
    assert count <= windows * KEPT


def test_the_published_count_leaves_the_end_out() -> None:
    samples = 3600 * SAMPLE_RATE_HZ
    assert frame_count(samples, whole=False) == 3600 * 86
    assert frame_time_s(3600 * 86) == pytest.approx(3576, abs=1)


def test_a_click_is_in_the_frame_of_its_time() -> None:
    y = np.zeros(5 * SAMPLE_RATE_HZ, np.float32)
    y[73_000] = 1
    windower = Windower()
    windows = np.concatenate([windower.feed(y), windower.finish()])[:, :, 0]
    centres = np.arange(TRIM, TRIM + KEPT) * HOP
    nearest = np.abs(windows[:, centres[:, None] + np.arange(-128, 128)]).max(axis=2).ravel()
    assert frame_time_s(int(nearest.argmax())) == pytest.approx(73_000 / SAMPLE_RATE_HZ, abs=0.006)
