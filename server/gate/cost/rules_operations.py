"""Shapes and cost of operations of ``keras.ops`` between layers."""

from math import prod
from typing import Any

from server.gate.config.operation_table import BINARY, REDUCTIONS, UNARY
from server.gate.config.tree import BATCH, Layer, Shape
from server.gate.cost.effect import (
    Effect,
    Rule,
    Run,
    Shapes,
    axes,
    axis_of,
    broadcast,
    number,
    one,
    size,
)
from server.gate.cost.rules_shape import concatenated, reshaped, same

_BITS = 2000


def _joined(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = broadcast(shapes)
    # a remainder is found bit by bit, as many as two exponents are apart
    return one(shape, flops=size(shape) * (_BITS if layer.kind == "ops.Mod" else 1))


def _matmul(_: Layer, shapes: Shapes, __: Run) -> Effect:
    left, right = shapes
    (*outer, rows, inner), (*other, _inner, columns) = left, right
    shape = (*broadcast([(1, *outer), (1, *other)])[1:], rows, columns)
    return one(shape, flops=2 * size(shape) * inner)


def _reduced(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = shapes[0]
    gone = axes(layer, "axis", len(shape))
    kept = bool(layer.config.get("keepdims"))
    # over the batch it leaves one sample for all, which stays in its place
    left = [BATCH if k == 0 else 1 for k in range(len(shape))]
    found = [left[k] if k in gone else n for k, n in enumerate(shape) if kept or k not in gone]
    return one(found, flops=size(shape))


def _reshape(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape, target = shapes[0], list(layer.config.get("newshape") or ())
    if target[0] in (-1, None) and prod(map(int, target[1:])) == size(shape[1:]):  # the batch
        return one((shape[0], *map(int, target[1:])))
    return one(reshaped(target, size(shape)))


def _along(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    """Count what goes along one axis; without one, it goes through all samples as one row."""
    shape = shapes[0]
    default = -1 if layer.kind == "ops.Sort" else None
    if layer.config.get("axis", default) is None:
        return one((size(shape),), flops=size(shape))
    length = shape[axis_of(number(layer, "axis", default), len(shape))]
    return one(shape, flops=size(shape) * length.bit_length())


def _transposed(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = shapes[0]
    order = layer.config.get("axes")
    if order is None:
        order = range(len(shape))[::-1]
    order = [axis_of(axis, len(shape)) for axis in order]
    if sorted(order) != list(range(len(shape))):
        raise ValueError(order)
    return one((shape[axis] for axis in order), flops=size(shape) * len(shape))


def _swapped(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = list(shapes[0])
    first, second = (axis_of(number(layer, key), len(shape)) for key in ("axis1", "axis2"))
    shape[first], shape[second] = shape[second], shape[first]
    return one(shape)


def _expanded(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape, told = list(shapes[0]), layer.config.get("axis", 0)
    listed = told if isinstance(told, list) else [told]
    places = {axis_of(axis, len(shape) + len(listed)) for axis in listed}
    if len(places) != len(listed):
        raise ValueError(told)
    for axis in sorted(places):
        shape.insert(axis, 1)
    return one(shape)


def _squeezed(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = shapes[0]
    if layer.config.get("axis") is None:
        raise ValueError("axis")  # with one sample, TensorFlow would take the batch away, too
    gone = axes(layer, "axis", len(shape))
    return one(axis for k, axis in enumerate(shape) if k not in gone)


def _stacked(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = list(broadcast(shapes))
    (axis,) = axes(layer, "axis", len(shape) + 1, 0)
    shape.insert(axis, len(shapes))
    return one(shape)


def indexed(shape: Shape, key: Any) -> Shape:
    """Return the shape of a part of a tensor.

    Parameters
    ----------
    shape : tuple of int
        Of the tensor.
    key : Any
        Whole numbers, slices, an ellipsis and nulls, as they stand in a configuration.
    """
    keys = key if isinstance(key, list) else [key]
    taken = sum(item is not None and not _is_ellipsis(item) for item in keys)
    rest = list(shape)
    found: list[int] = []
    for item in keys:
        if item is None:
            found.append(1)
        elif _is_ellipsis(item):
            spare = len(shape) - taken
            found, rest = [*found, *rest[:spare]], rest[spare:]
        elif isinstance(item, dict):
            found.append(_sliced(item, rest.pop(0)))
        else:
            axis_of(item, rest.pop(0))
    return tuple(found + rest)


def _is_ellipsis(item: Any) -> bool:
    return isinstance(item, dict) and item.get("class_name") == "__ellipsis__"


def _sliced(item: dict[str, Any], length: int) -> int:
    ends = [item["config"][name] for name in ("start", "stop", "step")]
    if ends == [None] * 3:
        return length
    return len(range(*slice(*ends).indices(length)))


def _copied(_: Layer, shapes: Shapes, __: Run) -> Effect:
    return one(shapes[0])


RULES: dict[str, Rule] = {
    **dict.fromkeys((f"ops.{name}" for name in UNARY), same),
    **dict.fromkeys((f"ops.{name}" for name in BINARY), _joined),
    "ops.Matmul": _matmul,
    **dict.fromkeys((f"ops.{name}" for name in REDUCTIONS), _reduced),
    **dict.fromkeys(("ops.Cumsum", "ops.Cumprod", "ops.Sort"), _along),
    "ops.Clip": same,
    "ops.Where": _joined,
    "ops.Swapaxes": _swapped,
    "ops.Reshape": _reshape,
    "ops.Transpose": _transposed,
    "ops.ExpandDims": _expanded,
    "ops.Squeeze": _squeezed,
    "ops.Concatenate": concatenated,
    "ops.Stack": _stacked,
    "ops.GetItem": _copied,  # the key is applied before
}
