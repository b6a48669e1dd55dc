"""The feature row beside a model's tensors: it is made as one input more, which no model is fed.

So it is made of the same window, in the same pass, and kept and found again as what models are fed.
"""

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from server.errors import WorkerFailed
from server.inference.frontend_inputs import row_input
from server.inference.preparation import Prepared

ROW = "gtzan-58@1"
_SCALER = ("mean", "scale")


def with_row(
    binding: Mapping[str, Any], names: Sequence[str], *, is_given: bool
) -> Mapping[str, Any]:
    """Return a binding with the feature row as its last input.

    Parameters
    ----------
    binding : mapping
        Of a model that takes a sound.
    names : sequence of str
        Of the whole row.
    is_given : bool
        Whether the caller brings a row, which holds what the model takes of it.
    """
    inputs = binding["inputs"]
    own = next((item for item in inputs if item["kind"] == "row"), None) if is_given else None
    item = row_input(ROW, names)
    if own is not None:
        columns = own["columns"]
        item = {key: value for key, value in own.items() if key not in _SCALER}
        item |= {"columns": columns, "shape": [1, len(columns)]}
    # longer than any other name, so no other
    tensor = "row beside " + "".join(other["tensor"] for other in inputs)
    return {**binding, "inputs": [*inputs, {**item, "tensor": tensor}]}


def take_row(prepared: Prepared, binding: Mapping[str, Any]) -> Prepared:
    """Take the row away from the tensors again.

    Raises
    ------
    WorkerFailed
        If it holds what is no number: a decoder may be hostile.
    """
    *tensors, row = prepared.tensors
    numbers = array("f", bytes(row.data))
    if not all(map(math.isfinite, numbers)):
        raise WorkerFailed("the process answered nonsense")
    columns = binding["inputs"][-1]["columns"]
    return replace(prepared, tensors=tensors, row=dict(zip(columns, numbers, strict=True)))
