"""server/inference/compare.py and fixed_inputs.py: what counts as the same numbers."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from server.inference.compare import cases, difference, worst_difference
from server.inference.fixed_inputs import fixed_rows

SHAPES = {"x": ((3, 2), "float32"), "k": ((4,), "int32")}


def row(*values: float) -> NDArray[np.float32]:
    return np.array([values], np.float32)


def test_small_values_are_compared_absolutely() -> None:
    assert difference(row(0.5, 0.25), row(0.5, 0.375)) == 0.125


def test_large_values_are_compared_by_the_largest_of_their_row() -> None:
    assert difference(row(1000.0, 1.0), row(1000.0, 2.0)) == 1e-3


def test_each_row_has_its_own_scale() -> None:
    reference = np.array([[1000.0], [1.0]], np.float32)
    assert difference(reference, reference + np.float32(0.5)) == 0.5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_must_be_so_in_both(value: float) -> None:
    assert difference(row(value, 1.0), row(value, 1.0)) == 0.0
    assert difference(row(value, 1.0), row(0.0, 1.0)) == math.inf
    assert difference(row(0.0, 1.0), row(value, 1.0)) == math.inf


def test_infinities_of_other_signs_differ() -> None:
    assert difference(row(math.inf), row(-math.inf)) == math.inf


def test_another_shape_is_a_difference() -> None:
    assert difference(row(1.0), row(1.0, 2.0)) == math.inf


def test_there_are_enough_inputs_and_they_are_the_same_each_time() -> None:
    first, second = list(fixed_rows(SHAPES)), list(fixed_rows(SHAPES))
    assert len(first) >= 32
    for one, two in zip(first, second, strict=True):
        for name, (shape, dtype) in SHAPES.items():
            np.testing.assert_array_equal(one[name], two[name])
            assert one[name].shape == (1, *shape)
            assert one[name].dtype == dtype


def test_the_inputs_reach_from_tiny_to_the_length_of_a_clip() -> None:
    largest = [float(np.abs(entry["x"]).max()) for entry in fixed_rows(SHAPES)]
    assert min(largest) == 0.0
    assert max(largest) == pytest.approx(6.6e5)
    assert any(0 < value < 1e-5 for value in largest)


def double(rows: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {"y": 2 * rows["x"]}


def test_an_engine_agrees_with_itself_in_batches() -> None:
    assert worst_difference(double, cases(double, SHAPES), batch=8) == 0.0


def test_an_engine_that_mixes_its_rows_does_not_agree_in_batches() -> None:
    def mix(rows: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {"y": rows["x"] - rows["x"].mean(axis=0)}

    known = cases(mix, SHAPES)
    assert worst_difference(mix, known, batch=1) == 0.0
    assert worst_difference(mix, known, batch=8) > 1e-5


def test_an_engine_that_cannot_run_does_not_agree() -> None:
    assert worst_difference(lambda _: None, cases(double, SHAPES), batch=8) == math.inf


def test_an_engine_that_names_other_outputs_does_not_agree() -> None:
    known = cases(double, SHAPES)
    assert worst_difference(lambda rows: {"z": 2 * rows["x"]}, known, batch=8) == math.inf


def test_inputs_that_the_original_refuses_are_replaced() -> None:
    def picky(rows: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]] | None:
        return double(rows) if set(np.unique(rows["x"])) <= {0.0, 1.0} else None

    assert len(cases(picky, SHAPES)) >= 32


def test_inputs_whose_answer_is_decided_by_rounding_are_left_out() -> None:
    def sharp(rows: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        total = rows["x"].astype(np.float64).sum(axis=(1, 2))
        return {"y": (1 / (1 + np.exp(-np.clip(1e6 * total, -50, 50))))[:, None]}

    kept = [row["x"] for row, _ in cases(sharp, SHAPES)]
    assert any((x == 1000.0).all() for x in kept)  # far from the edge
    on_the_edge = [x for x in kept if np.abs(x).any() and abs(x.sum()) < 1e-6 * np.abs(x).sum()]
    assert on_the_edge == []


def test_an_index_that_comes_as_a_float_is_not_left_out() -> None:
    def look_up(rows: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {"y": np.sin(np.trunc(rows["x"]).reshape(1, -1))}

    kept = [row["x"] for row, _ in cases(look_up, SHAPES)]
    assert any((x == 255.0).all() for x in kept)
