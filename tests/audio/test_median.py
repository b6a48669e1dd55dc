import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.audio.median import SlidingMedian, build_network, median31, odd_even_merge


def _by_definition(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sort each window of the mirrored rows and take the middle."""
    padded = np.pad(values, ((15, 15), (0, 0)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 31, axis=0)
    middle: NDArray[np.float32] = np.sort(windows, axis=-1)[..., 15]
    return middle


@pytest.mark.parametrize("rows", [4, 5, 14, 15, 16, 17, 30, 31, 33, 100, 1293])
def test_the_median_equals_scipys_bit_for_bit(rows: int) -> None:
    values = np.random.default_rng(rows).random((rows, 9), dtype=np.float32)
    expected = scipy.ndimage.median_filter(values, size=(31, 1), mode="reflect")
    assert np.array_equal(median31(values), expected)


# SciPy 1.17.1 mirrors two and three rows wrongly: there the definition decides.
@pytest.mark.parametrize("rows", range(1, 40))
def test_the_median_of_few_rows_mirrors_them_again_and_again(rows: int) -> None:
    values = np.random.default_rng(rows).random((rows, 33), dtype=np.float32)
    assert np.array_equal(median31(values), _by_definition(values))


@pytest.mark.parametrize("columns", [1, 255, 256, 257, 1025])
def test_the_median_does_not_depend_on_how_columns_are_grouped(columns: int) -> None:
    values = np.random.default_rng(columns).random((40, columns), dtype=np.float32)
    expected = scipy.ndimage.median_filter(values, size=(31, 1), mode="reflect")
    assert np.array_equal(median31(values), expected)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1e-30, 0.5, 1.0, 3e38]), min_size=1, max_size=70))
def test_the_median_of_repeated_values_is_one_of_them(values: list[float]) -> None:
    column = np.array(values, np.float32)[:, None]
    assert np.array_equal(median31(column), _by_definition(column))


def test_the_median_leaves_its_input_alone() -> None:
    values = np.random.default_rng(0).random((50, 3), dtype=np.float32)
    before = values.copy()
    median31(values)
    assert np.array_equal(values, before)


def test_the_network_has_418_steps() -> None:
    network = build_network()
    assert (len(network.sorting), len(network.choosing)) == (126, 292)


def test_medians_in_memory_that_is_used_again_are_those_of_the_new_rows() -> None:
    median = SlidingMedian(2, 5)
    for seed in range(3):
        values = np.random.default_rng(seed).random((62, 5), dtype=np.float32)
        padded = np.zeros((64, 5), np.float32)
        padded[1:63] = values
        median.rows[...] = padded.reshape(4, 16, 5)
        windows = np.lib.stride_tricks.sliding_window_view(values, 31, axis=0)
        found = median.run().reshape(32, 5)
        assert np.array_equal(found, np.sort(windows, axis=-1)[..., 15])


@given(st.lists(st.integers(0, 9), max_size=12), st.lists(st.integers(0, 9), max_size=12))
def test_the_merge_sorts_two_sorted_runs(a: list[int], b: list[int]) -> None:
    values = sorted(a) + sorted(b)
    comparators, order = odd_even_merge(list(range(len(a))), list(range(len(a), len(values))))
    for low, high in comparators:
        values[low], values[high] = sorted((values[low], values[high]))
    assert [values[slot] for slot in order] == sorted(a + b)
