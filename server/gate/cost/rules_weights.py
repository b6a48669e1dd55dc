"""Shapes and cost of dense layers, normalizations, attention and sound layers."""

import re
from math import prod
from typing import Any

from server.gate.config.tree import Layer, Shape
from server.gate.cost.effect import (
    Effect,
    Rule,
    Run,
    Shapes,
    axes,
    axis_of,
    is_on,
    number,
    numbers,
    one,
    size,
    split,
)


def _dense(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    *front, width = shapes[0]
    units = number(layer, "units")
    weights = [(width, units)]
    bias = [(units,)] if is_on(layer, "use_bias", default=True) else []
    return one((*front, units), weights=[*weights, *bias], flops=2 * prod(front) * width * units)


_EQUATIONS = [
    re.compile(form.replace("*", "([A-Za-z]+)"))
    for form in (r"*,*->*", r"\.\.\.*,*->\.\.\.*", r"*\.\.\.,*->*\.\.\.")
]


def _einsum_dense(layer: Layer, shapes: Shapes, __: Run) -> Effect:
    """Follow the letters of an equation such as ``abc,cd->abd``."""
    equation = str(layer.config.get("equation"))
    parts = next(filter(None, (form.fullmatch(equation) for form in _EQUATIONS)), None)
    if parts is None or any(len(set(part)) != len(part) for part in parts.groups()):
        raise ValueError(equation)
    inputs, kernel, result = parts.groups()
    shape = shapes[0]
    extra = len(shape) - len(inputs)  # what an ellipsis stands for
    if extra < 0:
        raise ValueError(shape)
    at_end = equation.startswith("...")
    known = shape[extra:] if at_end else shape[: len(inputs)]
    sizes = dict(zip(inputs, known, strict=True))
    told = layer.config.get("output_shape")
    told = told if isinstance(told, list) else [told]
    if len(told) != len(result) - (not at_end or extra == 0):
        raise ValueError(told)  # Keras pairs the letters with the axes from the front
    for letter, axis in zip(reversed(result), reversed(told), strict=False):
        if letter not in sizes:
            sizes[letter] = int(axis)
    weight = tuple(sizes[letter] for letter in kernel)
    inner = tuple(sizes[letter] for letter in result)
    spare = shape[:extra] if at_end else shape[len(inputs) :]
    outputs = (*spare, *inner) if at_end else (*inner, *spare)
    letters = layer.config.get("bias_axes") or ""
    bias = _bias_shape(result, letters, sizes) if letters else None
    if bias and not at_end:
        bias += (1,) * extra
    flops = 2 * prod(sizes.values()) * prod(spare)
    return one(outputs, weights=[weight, bias] if bias else [weight], flops=flops)


def _bias_shape(result: str, letters: str, sizes: dict[str, int]) -> Shape:
    first = min(result.index(letter) for letter in letters)
    return tuple(sizes[letter] if letter in letters else 1 for letter in result[first:])


def _batch_norm(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = shapes[0]
    (axis,) = axes(layer, "axis", len(shape), -1)
    count = 2 + is_on(layer, "center", default=True) + is_on(layer, "scale", default=True)
    return one(shape, weights=[(shape[axis],)] * count, flops=2 * size(shape))


def _layer_norm(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = shapes[0]
    weight = tuple(shape[axis] for axis in sorted(axes(layer, "axis", len(shape), -1)))
    count = is_on(layer, "center", default=True) + is_on(layer, "scale", default=True)
    last = axes(layer, "axis", len(shape), -1)
    if layer.kind == "RMSNormalization" and last != [*range(len(shape) - len(last), len(shape))]:
        raise ValueError(last)  # Keras gives its numbers no place but the last
    if layer.kind == "RMSNormalization" or is_on(layer, "rms_scaling", default=False):
        count = 1
    return one(shape, weights=[weight] * count, flops=8 * size(shape))


def _normalization(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = shapes[0]
    if layer.config.get("mean") is not None:
        return one(shape, flops=2 * size(shape))
    axis = layer.config.get("axis", -1)
    kept: list[int] = [] if axis is None else axes(layer, "axis", len(shape), -1)
    moments = tuple(shape[k] for k in sorted(kept))
    return one(shape, weights=[moments, moments, ()], flops=2 * size(shape))


def _spectral(layer: Layer, shapes: Shapes, run: Run) -> Effect:
    (inner,) = layer.inner["layer"]
    effect = run(inner, shapes)
    kernel = max(effect.weights, key=len)
    weights = (*effect.weights, (1, kernel[-1]))
    return Effect(effect.outputs, weights, effect.flops, effect.scratch, effect.calls + 1)


def _prelu(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    shape = shapes[0]
    alpha = list(shape[1:])
    for axis in layer.config.get("shared_axes") or []:
        alpha[axis - 1] = 1
    return one(shape, weights=[tuple(alpha)], flops=size(shape))


def _attention(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    query, value = shapes[0], shapes[1]
    key = shapes[2] if len(shapes) > 2 else value
    batch, steps, width = query
    __, length, depth = value
    additive = layer.kind == "AdditiveAttention"
    weights: list[Shape] = []
    if is_on(layer, "use_scale", default=additive):
        weights.append((width,) if additive else ())
    concat = layer.config.get("score_mode") == "concat"
    if concat:
        weights.append(())
    scores = (batch, steps, length)
    work = size(scores) * (max(width, key[-1]) if additive or concat else 1)
    flops = 2 * size(scores) * (width + depth)
    return Effect(((batch, steps, depth), scores), tuple(weights), flops, work)


def _heads(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    query = shapes[0]
    value = shapes[1] if len(shapes) > 1 else query
    key = shapes[2] if len(shapes) > 2 else value
    heads, depth = number(layer, "num_heads"), number(layer, "key_dim")
    deep = number(layer, "value_dim", depth)
    told: Any = layer.config.get("output_shape") or query[-1]
    last = tuple(told) if isinstance(told, list) else (told,)
    into: list[Shape] = [(tensor[-1], heads, depth) for tensor in (query, key)]
    weights: list[Shape] = [*into, (value[-1], heads, deep), (heads, deep, *last)]
    flops = 2 * sum(
        prod(kernel) * prod(over)
        for kernel, over in zip(
            weights, (query[:-1], key[:-1], value[:-1], query[:-1]), strict=True
        )
    )
    if is_on(layer, "use_bias", default=True):
        weights += [(heads, depth), (heads, depth), (heads, deep), last]
    steps, length = _attended(layer, query), _attended(layer, value)
    around = prod(query[:-1]) // steps
    scores = (query[0], heads, around * steps, length)
    flops += 2 * size(scores) * (depth + deep)
    scratch = size(scores) + heads * (depth + deep) * (prod(query[:-1]) + prod(key[:-1]))
    return Effect(((*query[:-1], *last), scores), tuple(weights), flops, scratch)


def _attended(layer: Layer, shape: Shape) -> int:
    told = layer.config.get("attention_axes")
    if told is None:
        return prod(shape[1:-1])
    listed = told if isinstance(told, list) else [told]
    return prod(shape[axis_of(axis, len(shape))] for axis in listed)


def _mel(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    *front, samples = shapes[0]
    step = number(layer, "sequence_stride", 512)
    bins, width = number(layer, "num_mel_bins", 128), number(layer, "fft_length", 2048)
    frames = (samples + step + 1) // step
    work = prod(front) * frames * width
    flops = work * (bins + 5 * width.bit_length())
    return Effect(((*front, bins, frames),), flops=flops, scratch=2 * work + width * bins)


def _stft(layer: Layer, shapes: Shapes, _: Run) -> Effect:
    (samples,), channels = split(layer, shapes[0])
    frame = number(layer, "frame_length", 256)
    step = number(layer, "frame_step", max(frame // 2, 1))
    (width,) = numbers(layer, "fft_length", 1, 1 << max(frame - 1, 0).bit_length())
    valid = layer.config.get("padding", "valid") == "valid"
    frames = (samples - frame) // step + 1 if valid else -(-samples // step)
    mode, bins = layer.config.get("mode", "log"), width // 2 + 1
    count = 1 if mode in ("real", "imag") else 2
    wide = bins * (2 if mode == "stft" else 1)
    batch, first = shapes[0][0], layer.config.get("data_format") == "channels_first"
    outputs: Shape
    if is_on(layer, "expand_dims", default=False):
        outputs = (batch, channels, frames, wide) if first else (batch, frames, wide, channels)
    else:
        outputs = (batch, channels * wide, frames) if first else (batch, frames, channels * wide)
    kernel: Shape = (frame, 1, bins)
    flops = 2 * count * prod(kernel) * frames * channels
    return Effect((outputs,), (kernel,) * count, flops, 2 * frames * bins * channels)


RULES: dict[str, Rule] = {
    "Dense": _dense,
    "EinsumDense": _einsum_dense,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "GroupNormalization": _layer_norm,
    "RMSNormalization": _layer_norm,
    "Normalization": _normalization,
    "SpectralNormalization": _spectral,
    "PReLU": _prelu,
    "Attention": _attention,
    "AdditiveAttention": _attention,
    "MultiHeadAttention": _heads,
    "MelSpectrogram": _mel,
    "STFTSpectrogram": _stft,
}
