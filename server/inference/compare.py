"""Hold one engine against another, row by row.

The measure is the largest absolute difference of a row, divided by the largest magnitude in the
reference's row where that is above 1. So the bound is absolute for probabilities and relative for
large values, of which float32 keeps seven digits. What is not finite must be so in the same places.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.inference.fixed_inputs import Rows, Shapes, fixed_rows, reserve_rows

TOLERANCE = 1e-5
LEAST_INPUTS = 32
MAX_BATCH = 8
_STABLE = TOLERANCE / 4
_NUDGE = 2.0**-20  # relative, eight times the rounding of a float32

Run = Callable[[Rows], Rows | None]
Case = tuple[Rows, Rows]


def cases(reference: Run, shapes: Shapes) -> list[Case]:
    """Run an engine on the fixed inputs, one row at a time.

    Parameters
    ----------
    reference : callable
        The engine. Left out are inputs that it cannot be run on, to which it answers None, and
        those on which its own rounding decides the answer.
    shapes : mapping of str to (tuple of int, str)
        The shape of one row of every input, and its dtype.

    Returns
    -------
    list of (inputs, outputs)
        At least 32 of them, unless inputs of zeros and ones are left out too.
    """
    kept = _answered(reference, fixed_rows(shapes))
    if len(kept) < LEAST_INPUTS:
        kept += _answered(reference, reserve_rows(shapes))
    return kept


def _answered(reference: Run, rows: Iterable[Rows]) -> list[Case]:
    pairs = ((row, reference(row)) for row in rows)
    return [
        (row, answer)
        for row, answer in pairs
        if answer is not None and _is_stable(reference, row, answer)
    ]


def _is_stable(reference: Run, row: Rows, answer: Rows) -> bool:
    """Tell whether an answer stands when its input is rounded a little differently.

    A softmax over scores of a hundred thousand moves by more than any bound when a sum is taken in
    another order, from one run of the same engine to the next.
    """
    nudged = reference({name: _nudged(values) for name, values in row.items()})
    return nudged is None or max(difference(answer[k], nudged[k]) for k in answer) <= _STABLE


def _nudged(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype != np.float32:
        return values
    # away from zero, so that an index that came as a float stays the index that it was
    grown = np.random.default_rng(0).integers(0, 2, values.shape)
    nudged: NDArray[Any] = (values * (1 + _NUDGE * grown)).astype(np.float32)
    return nudged


def worst_difference(engine: Run, known: Sequence[Case], *, batch: int) -> float:
    """Return how far an engine, given so many rows at once, lies from known answers.

    Returns
    -------
    float
        The measure of the module; infinity where the engine does not run or answers another shape.
    """
    groups = (known[start : start + batch] for start in range(0, len(known), batch))
    return max((_group_difference(engine, group) for group in groups), default=math.inf)


def _group_difference(engine: Run, group: Sequence[Case]) -> float:
    expected = joined([answer for _, answer in group])
    found = engine(joined([row for row, _ in group]))
    if found is None or set(found) != set(expected):
        return math.inf
    return max(difference(expected[name], found[name]) for name in expected)


def joined(rows: Sequence[Rows]) -> Rows:
    """Put rows together into one batch."""
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def difference(reference: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the measure of the module for one output."""
    if reference.shape != other.shape:
        return math.inf
    finite = np.isfinite(reference)
    if not np.array_equal(reference[~finite], other[~finite], equal_nan=True):
        return math.inf
    a, b = (
        np.where(finite, values, 0.0).astype(np.float64).reshape(len(values), -1)
        for values in (reference, other)
    )
    scale = np.maximum(1.0, np.abs(a).max(axis=1, initial=0.0))
    worst = float((np.abs(a - b).max(axis=1, initial=0.0) / scale).max(initial=0.0))
    return worst if math.isfinite(worst) else math.inf
