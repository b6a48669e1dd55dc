"""Shapes and cost of convolutions and poolings."""

from collections.abc import Sequence
from math import prod

from server.gate.config.tree import Layer, Shape
from server.gate.cost.effect import (
    Effect,
    Rule,
    Run,
    Shapes,
    is_on,
    joined,
    number,
    numbers,
    one,
    rank,
    size,
    split,
)

_CODE = 16  # numbers that TensorFlow keeps for each pair of a window's, once for each size
_MOST_BESIDE = 1024  # of a window, beside what it goes over


def slid(
    layer: Layer, spatial: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> list[int]:
    """Return the axes after a window went over them."""
    dilation = numbers(layer, "dilation_rate", len(spatial), 1)
    found = []
    for length, width, step, wide in zip(spatial, kernel, strides, dilation, strict=True):
        if layer.config.get("padding", "valid") == "valid":
            found.append((length - (width - 1) * wide - 1) // step + 1)
        else:
            found.append(-(-length // step))
    return found


def padded(layer: Layer, spatial: Sequence[int], kernel: Sequence[int], channels: int) -> int:
    """Return the numbers of an input with what a spread window has put around it."""
    dilation = numbers(layer, "dilation_rate", len(spatial), 1)
    if layer.config.get("padding", "valid") == "valid" or max(dilation) == 1:
        return 0
    around = ((width - 1) * wide for width, wide in zip(kernel, dilation, strict=True))
    return channels * prod(n + more for n, more in zip(spatial, around, strict=True))


def _conv(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = shapes[0]
    dims, (spatial, channels) = rank(layer), split(layer, shape)
    kernel, filters = numbers(layer, "kernel_size", dims), number(layer, "filters")
    groups = number(layer, "groups", 1)
    weight = (*kernel, channels // groups, filters)
    outputs = slid(layer, spatial, kernel, numbers(layer, "strides", dims, 1))
    return Effect(
        (joined(layer, shape, outputs, filters),),
        tuple(_with_bias(layer, [weight], filters)),
        flops=2 * prod(weight) * prod(outputs),
        scratch=padded(layer, spatial, kernel, channels),
    )


def _with_bias(layer: Layer, weights: list[Shape], width: int) -> list[Shape]:
    return [*weights, (width,)] if is_on(layer, "use_bias", default=True) else weights


def _transposed(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = shapes[0]
    dims, (spatial, channels) = rank(layer), split(layer, shape)
    kernel, filters = numbers(layer, "kernel_size", dims), number(layer, "filters")
    strides = numbers(layer, "strides", dims, 1)
    dilation = numbers(layer, "dilation_rate", dims, 1)
    more = layer.config.get("output_padding")
    extra = more if isinstance(more, list) else [more] * dims
    outputs = []
    for length, width, step, wide, added in zip(
        spatial, kernel, strides, dilation, extra, strict=True
    ):
        reach = (width - 1) * wide + 1
        same = layer.config.get("padding", "valid") == "same"
        if added is None:
            outputs.append(length * step + (0 if same else max(reach - step, 0)))
        else:
            outputs.append((length - 1) * step + reach - (2 * (reach // 2) if same else 0) + added)
    weight = (*kernel, filters, channels)
    # in other floats TensorFlow writes down what every number of the input becomes
    written = layer.config.get("dtype") not in (None, "float32")
    return Effect(
        (joined(layer, shape, outputs, filters),),
        tuple(_with_bias(layer, [weight], filters)),
        flops=2 * prod(weight) * prod(spatial),
        scratch=prod(spatial) * prod(kernel) * filters if written else 0,
    )


def _depthwise(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = shapes[0]
    dims, (spatial, channels) = rank(layer), split(layer, shape)
    kernel = numbers(layer, "kernel_size", dims)
    weight = (*kernel, channels, number(layer, "depth_multiplier", 1))
    width = channels * weight[-1]
    outputs = slid(layer, spatial, kernel, numbers(layer, "strides", dims, 1))
    return Effect(
        (joined(layer, shape, outputs, width),),
        tuple(_with_bias(layer, [weight], width)),
        flops=2 * prod(weight) * prod(outputs),
        scratch=padded(layer, spatial, kernel, channels) + _CODE * prod(kernel) ** 2,
    )


def _separable(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = shapes[0]
    dims, (spatial, channels) = rank(layer), split(layer, shape)
    kernel, filters = numbers(layer, "kernel_size", dims), number(layer, "filters")
    depth = (*kernel, channels, number(layer, "depth_multiplier", 1))
    point = (*[1] * dims, channels * depth[-1], filters)
    outputs = slid(layer, spatial, kernel, numbers(layer, "strides", dims, 1))
    scratch = channels * depth[-1] * prod(outputs)
    return Effect(
        (joined(layer, shape, outputs, filters),),
        tuple(_with_bias(layer, [depth, point], filters)),
        flops=2 * (prod(depth) + prod(point)) * prod(outputs),
        scratch=scratch + padded(layer, spatial, kernel, channels) + _CODE * prod(kernel) ** 2,
    )


def _pool(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = shapes[0]
    dims, (spatial, channels) = rank(layer), split(layer, shape)
    window = numbers(layer, "pool_size", dims, 2)
    has_strides = layer.config.get("strides") is not None
    strides = numbers(layer, "strides", dims) if has_strides else window
    if any(wide > max(n, _MOST_BESIDE) for n, wide in zip(spatial, window, strict=True)):
        raise ValueError(window)  # TensorFlow goes over it all the same
    outputs = slid(layer, spatial, window, strides)
    return one(
        joined(layer, shape, outputs, channels), flops=prod(window) * prod(outputs) * channels
    )


def _adaptive(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = shapes[0]
    spatial, channels = split(layer, shape)
    wanted = numbers(layer, "output_size", rank(layer))
    flops = scratch = 0
    for k, (length, count) in enumerate(zip(spatial, wanted, strict=True)):
        # one axis after the other: windows of two widths go over it, one by one
        passed = channels * prod(wanted[:k]) * prod(spatial[k:])
        flops += 2 * passed * (-(-length // count) + 1)
        scratch += 2 * passed + 16 * channels * prod(wanted[: k + 1]) * prod(spatial[k + 1 :])
    return Effect((joined(layer, shape, wanted, channels),), flops=flops, scratch=scratch)


def _global(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = shapes[0]
    spatial, channels = split(layer, shape)
    if len(spatial) != rank(layer):
        raise ValueError(shape)
    if is_on(layer, "keepdims", default=False):
        return one(joined(layer, shape, [1] * len(spatial), channels), flops=size(shape))
    return one((shape[0], channels), flops=size(shape))


_KINDS = ("Max", "Average")
RULES: dict[str, Rule] = {
    **{f"Conv{dims}D": _conv for dims in (1, 2, 3)},
    **{f"Conv{dims}DTranspose": _transposed for dims in (1, 2, 3)},
    **{f"DepthwiseConv{dims}D": _depthwise for dims in (1, 2)},
    **{f"SeparableConv{dims}D": _separable for dims in (1, 2)},
    **{f"{kind}Pooling{dims}D": _pool for kind in _KINDS for dims in (1, 2, 3)},
    **{f"Global{kind}Pooling{dims}D": _global for kind in _KINDS for dims in (1, 2, 3)},
    **{f"Adaptive{kind}Pooling{dims}D": _adaptive for kind in _KINDS for dims in (1, 2, 3)},
}
