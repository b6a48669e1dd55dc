"""What it takes to make the initial values of weights, which are overwritten at once."""

from math import prod
from typing import Any

from server.gate.effect import Shapes
from server.gate.tree import Layer

_ORTHOGONAL = frozenset({"orthogonal", "Orthogonal", "OrthogonalInitializer"})
_BY_THEMSELVES = frozenset({"LSTM", "GRU", "SimpleRNN"})  # layers and cells that ask for it


def made_by(layer: Layer, weights: Shapes) -> int:
    """Return the additions and multiplications: only orthogonal columns take many."""
    inner = [item for items in layer.inner.values() for item in items]
    if not any(map(_is_orthogonal, (layer, *inner))):
        return 0
    found = 0
    for *rows, columns in filter(None, weights):
        count = prod(rows)
        found += 4 * count * columns * min(count, columns)
    return found


def _is_orthogonal(layer: Layer) -> bool:
    asked = (_name(value) for key, value in layer.config.items() if key.endswith("_initializer"))
    return layer.kind.removesuffix("Cell") in _BY_THEMSELVES or any(
        name in _ORTHOGONAL for name in asked
    )


def _name(value: Any) -> Any:
    return value.get("class_name") if isinstance(value, dict) else value
