"""What calling a layer gives and costs, counted from shapes alone; and how rules read a layer."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from server.gate.config.schema import missing_key
from server.gate.config.tree import Batch, Layer, Open, Shape
from server.gate.refusals import refused

Shapes = tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """A call of a layer on one sample.

    Attributes
    ----------
    outputs : tuple of Shape
        With a batch axis of one.
    weights : tuple of Shape
        What the layer keeps, in no order.
    flops : int
        Additions and multiplications.
    scratch : int
        Numbers that it holds on its way, its outputs left out.
    calls : int
        Calls of layers inside it, itself counted.
    largest : int
        Numbers in the largest tensor inside it.
    """

    outputs: Shapes
    weights: Shapes = ()
    flops: int = 0
    scratch: int = 0
    calls: int = 1
    largest: int = 0


def misfit(layer: Layer) -> Exception:
    """Build the refusal of a layer that does not take what it is called on."""
    return refused(
        "shape-mismatch",
        f"the layer ({layer.kind}) cannot be applied to the shape that it is given",
        where=layer.where,
    )


Run = Callable[[Layer, Shapes], Effect]
Rule = Callable[[Layer, Shapes, Run], Effect]


def one(shape: Iterable[int], *, weights: Iterable[Shape] = (), flops: int = 0) -> Effect:
    """Return the effect of a layer with one output."""
    return Effect((tuple(shape),), tuple(weights), flops)


def size(shape: Iterable[int]) -> int:
    """Return how many numbers a tensor has."""
    return prod(shape)


def rank(layer: Layer) -> int:
    """Return the rank that stands in the name of a class, as in ``Conv2D``."""
    return next(int(letter) for letter in layer.kind if letter.isdigit())


def number(layer: Layer, key: str, default: int | None = None) -> int:
    """Return a whole number of a layer's configuration."""
    value = _given(layer, key, default)
    if isinstance(value, list):
        (value,) = value
    return int(value)


def numbers(layer: Layer, key: str, count: int, default: int | None = None) -> list[int]:
    """Return so many whole numbers; one stands for all."""
    value = _given(layer, key, default)
    found = [int(item) for item in value] if isinstance(value, list) else [int(value)] * count
    if len(found) != count or min(found) < 1:
        raise ValueError(key)
    return found


def _given(layer: Layer, key: str, default: int | None) -> Any:
    if (value := layer.config.get(key, default)) is not None:
        return value
    if default is None:
        raise missing_key(key, layer.where)
    return default


def axes(layer: Layer, key: str, dims: int, default: Any = None) -> list[int]:
    """Return axes counted from the front; None stands for all."""
    value = layer.config.get(key, default)
    if value is None:
        return list(range(dims))
    listed = value if isinstance(value, list) else [value]
    return [axis_of(item, dims) for item in listed]


def axis_of(axis: int, dims: int) -> int:
    """Return an axis counted from the front."""
    if not -dims <= axis < dims:
        raise ValueError(axis)
    return axis % dims


def is_on(layer: Layer, key: str, *, default: bool) -> bool:
    """Return whether a switch is on."""
    value = layer.config.get(key)
    return default if value is None else bool(value)


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """Return the shape of several tensors that are joined element by element."""
    dims = max(len(shape) for shape in shapes)
    padded = [(1,) * (dims - len(shape)) + shape for shape in shapes]
    return tuple(max(axis, key=_standing) for axis in zip(*padded, strict=True))


def _standing(axis: int) -> tuple[int, bool, bool]:
    # of equal lengths the batch, if it is among them, and one that is not open
    return axis, isinstance(axis, Batch), not isinstance(axis, Open)


def split(layer: Layer, shape: Shape) -> tuple[list[int], int]:
    """Return the spatial axes of a picture or a sequence, and its channels."""
    _, *rest = shape
    if layer.config.get("data_format") == "channels_first":
        return rest[1:], rest[0]
    return rest[:-1], rest[-1]


def joined(layer: Layer, shape: Shape, spatial: Sequence[int], channels: int) -> Shape:
    """Put spatial axes and channels together again, as the layer has them."""
    if layer.config.get("data_format") == "channels_first":
        return (shape[0], channels, *spatial)
    return (shape[0], *spatial, channels)
