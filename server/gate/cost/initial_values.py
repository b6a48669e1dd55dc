"""What it takes to make the initial values of weights, which are overwritten at once."""

from math import prod
from typing import Any

from server.gate.config.tree import Layer
from server.gate.cost.effect import Shapes, number

_ORTHOGONAL = frozenset({"orthogonal", "Orthogonal", "OrthogonalInitializer"})
_GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
_RECURRENT = "recurrent_initializer"


def made_by(layer: Layer, weights: Shapes) -> int:
    """Return the additions and multiplications: only orthogonal columns take many.

    Wrapped layers count for themselves; cells do not.
    """
    named = (
        value
        for key, value in layer.config.items()
        if key.endswith("_initializer") and key != _RECURRENT
    )
    if any(map(_is_orthogonal, named)) or layer.kind.startswith("ConvLSTM"):
        found = sum(_orthogonal(prod(rows), columns) for *rows, columns in filter(None, weights))
    else:
        found = 0
    return found + sum(map(_of_cell, (layer, *_cells(layer))))


def _cells(layer: Layer) -> list[Layer]:
    inner = [*layer.inner.get("cell", ()), *layer.inner.get("cells", ())]
    return [one for cell in inner for one in (cell, *_cells(cell))]


def _of_cell(cell: Layer) -> int:
    if (gates := _GATES.get(cell.kind.removesuffix("Cell"))) is None:
        return 0  # whatever it says of units
    units = number(cell, "units")
    return _orthogonal(units, gates * units)


def _orthogonal(rows: int, columns: int) -> int:
    return 4 * rows * columns * min(rows, columns)


def _is_orthogonal(value: Any) -> bool:
    return (value.get("class_name") if isinstance(value, dict) else value) in _ORTHOGONAL
