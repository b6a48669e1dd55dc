"""Shapes and cost of layers that pass on, move, cut, pad, resize or join tensors."""

from math import prod
from typing import Any

from server.gate.config.tree import Layer, Shape
from server.gate.config.values import shape_of
from server.gate.cost.effect import (
    Effect,
    Rule,
    Run,
    Shapes,
    axes,
    axis_of,
    broadcast,
    is_on,
    joined,
    number,
    numbers,
    one,
    rank,
    size,
    split,
)

_REACH = 11  # numbers that make one where nothing is made smaller, at most: of lanczos5


def same(_: Layer, shapes: Shapes, __: Run) -> Effect:
    """Count a layer that works on each number alone."""
    return one(shapes[0], flops=size(shapes[0]))


def _merge(_: Layer, shapes: Shapes, __: Run) -> Effect:
    dims = max(map(len, shapes))
    # Keras puts the axes that one lacks behind the batch
    shape = broadcast([(n, *[1] * (dims - 1 - len(rest)), *rest) for n, *rest in shapes])
    return one(shape, flops=len(shapes) * size(shape))


def concatenated(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    """Count tensors that are put one behind the other."""
    dims = len(shapes[0])
    (axis,) = axes(layer, "axis", dims, 0 if layer.kind.startswith("ops.") else -1)
    if any(len(shape) != dims for shape in shapes):
        raise ValueError(shapes)
    widest = [max(lengths) for lengths in zip(*shapes, strict=True)]
    widest[axis] = sum(shape[axis] for shape in shapes)
    return one(widest)


def _dot(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    left, right = shapes
    axes_: Any = layer.config.get("axes")
    first, second = axes_ if isinstance(axes_, list) else (axes_, axes_)
    first, second = axis_of(first, len(left)), axis_of(second, len(right))
    rest = [axis for k, axis in enumerate(left) if k != first]
    rest += [axis for k, axis in enumerate(right) if k not in (0, second)]
    if len(rest) == 1:
        rest.append(1)
    return one(rest, flops=2 * prod(rest) * left[first])


def _flatten(_: Layer, shapes: Shapes, __: Run) -> Effect:
    batch, *rest = shapes[0]
    return one((batch, prod(rest)))


def _reshape(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    batch, *rest = shapes[0]
    return one((batch, *reshaped(layer.config.get("target_shape"), prod(rest))))


def reshaped(target: Any, count: int) -> Shape:
    """Return a target shape with its free axis filled."""
    open_axes = [k for k, axis in enumerate(target) if axis in (-1, None)]
    fixed = prod(axis for axis in target if axis not in (-1, None))
    found = list(target)
    if open_axes:
        (free,) = open_axes
        found[free] = count // fixed
    if prod(found) != count:
        raise ValueError(target)
    return tuple(found)


def _permute(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape, order = shapes[0], layer.config.get("dims")
    if order is None or sorted(order) != list(range(1, len(shape))):
        raise ValueError(order)
    return one((shape[0], *(shape[axis] for axis in order)))


def _repeat(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    batch, width = shapes[0]
    return one((batch, number(layer, "n"), width))


def _pairs(layer: Layer, key: str, dims: int) -> list[tuple[int, int]]:
    """Return what is cut or added before and after each axis."""
    value = layer.config.get(key)
    if value is None:
        value = 1
    if not isinstance(value, list):
        value = [value] * dims
    elif dims == 1 and len(value) == 2 and not isinstance(value[0], list):
        value = [value]
    pairs = [(item[0], item[1]) if isinstance(item, list) else (item, item) for item in value]
    if len(pairs) != dims or any(min(pair) < 0 for pair in pairs):
        raise ValueError(key)
    return pairs


def _pad(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    spatial, channels = split(layer, shapes[0])
    pairs = _pairs(layer, "padding", rank(layer))
    outputs = [n + sum(pair) for n, pair in zip(spatial, pairs, strict=True)]
    return one(joined(layer, shapes[0], outputs, channels))


def _crop(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    spatial, channels = split(layer, shapes[0])
    pairs = _pairs(layer, "cropping", rank(layer))
    outputs = [n - sum(pair) for n, pair in zip(spatial, pairs, strict=True)]
    return one(joined(layer, shapes[0], outputs, channels))


def _enlarge(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    spatial, channels = split(layer, shapes[0])
    factors = numbers(layer, "size", rank(layer), 2)
    outputs = [n * factor for n, factor in zip(spatial, factors, strict=True)]
    shape = joined(layer, shapes[0], outputs, channels)
    return one(shape, flops=4 * size(shape))


def _resize(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    (height, width), channels = split(layer, shapes[0])
    sizes = [number(layer, "height"), number(layer, "width")]
    shape = joined(layer, shapes[0], sizes, channels)
    padded = between = 0
    flops = 8 * size(shape) + size(shapes[0])
    if is_on(layer, "antialias", default=False) or _is_smoothed(layer):
        # rows first, then columns: what lies between is as wide as what is given
        between = sizes[0] * width
        reach = [_REACH * -(-n // to) for n, to in zip((height, width), sizes, strict=True)]
        flops += 2 * channels * (between * reach[0] + sizes[0] * sizes[1] * reach[1])
    if is_on(layer, "pad_to_aspect_ratio", default=False):
        padded = max(height, width * sizes[0] // sizes[1]) * max(
            width, height * sizes[1] // sizes[0]
        )
    return Effect((shape,), (), flops, (padded + between) * channels)


def _is_smoothed(layer: Layer) -> bool:
    return str(layer.config.get("interpolation", "")).startswith("lanczos")


def _rescaled(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = shapes[0]
    told = [shape_of(layer.config.get(key)) for key in ("scale", "offset")]
    if broadcast([shape, *told]) != shape:
        raise ValueError(told)
    return one(shape, flops=size(shape))


def _embedding(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    table = (number(layer, "input_dim"), number(layer, "output_dim"))
    return one((*shapes[0], table[1]), weights=[table])


def _layer_scale(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    width = number(layer, "projection_dim")
    if shapes[0][-1] != width:
        raise ValueError(width)
    return one(shapes[0], weights=[(width,)], flops=size(shapes[0]))


_PASSING = (
    *("Identity", "Masking", "Activation", "ELU", "LeakyReLU", "ReLU", "Softmax"),
    *("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast"),
    *("RandomBrightness", "Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise"),
    *("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "ActivityRegularization"),
    *("UnitNormalization", "StochasticDepth"),
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(_PASSING, same),
    **dict.fromkeys(("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"), _merge),
    "CustomScaleLayer": _merge,
    "Rescaling": _rescaled,
    "Concatenate": concatenated,
    "Dot": _dot,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "RepeatVector": _repeat,
    **{f"ZeroPadding{dims}D": _pad for dims in (1, 2, 3)},
    **{f"Cropping{dims}D": _crop for dims in (1, 2, 3)},
    **{f"UpSampling{dims}D": _enlarge for dims in (1, 2, 3)},
    **dict.fromkeys(("Resizing", "CenterCrop", "RandomCrop"), _resize),
    "Embedding": _embedding,
    "LayerScale": _layer_scale,
}
