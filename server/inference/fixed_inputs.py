"""The inputs on which a converted model is held against the original: the same ones each time.

Ordinary numbers, pictures of 0..255, decibels, and the extremes: constants, spikes, tiny and large
values, rows of features of all magnitudes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = Mapping[str, NDArray[Any]]
Shapes = Mapping[str, tuple[tuple[int, ...], str]]
_Make = Callable[[tuple[int, ...], np.random.Generator], NDArray[Any]]

_SEED = 58
_RESERVE = 32
_LENGTH = 6.6e5  # of a clip in samples: the largest number of a feature row


def fixed_rows(shapes: Shapes) -> Iterator[Rows]:
    """Yield rows for every input of a model, one at a time.

    Parameters
    ----------
    shapes : mapping of str to (tuple of int, str)
        The shape of one row of every input, and its dtype.
    """
    return _made(shapes, _FLOATS)


def reserve_rows(shapes: Shapes) -> Iterator[Rows]:
    """Yield rows of zeros and ones, for models that take nothing but small indices."""
    return _made(shapes, [_bits] * _RESERVE)


def _made(shapes: Shapes, makers: Sequence[_Make]) -> Iterator[Rows]:
    for k, make in enumerate(makers):
        row = {}
        for order, (name, (shape, dtype)) in enumerate(shapes.items()):
            rng = np.random.default_rng([_SEED, k, order])
            chosen = make if dtype == "float32" else _bits
            row[name] = chosen(shape, rng).astype(dtype)[None]
        yield row


def _constant(value: float) -> _Make:
    return lambda shape, _: np.full(shape, value)


def _normal(scale: float) -> _Make:
    return lambda shape, rng: scale * rng.standard_normal(shape)


def _uniform(low: float, high: float) -> _Make:
    return lambda shape, rng: rng.uniform(low, high, shape)


def _ramp(first: float, last: float) -> _Make:
    return lambda shape, _: np.linspace(first, last, int(np.prod(shape))).reshape(shape)


def _spike(value: float) -> _Make:
    def make(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
        flat = np.zeros(int(np.prod(shape)))
        flat[rng.integers(flat.size)] = value
        return flat.reshape(shape)

    return make


def _magnitudes(lowest_sign: float) -> _Make:
    """Return a maker of rows as a feature table has them: 1e-5 to 1e5, led by a length."""

    def make(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
        flat = 10 ** rng.uniform(-5, 5, int(np.prod(shape)))
        flat *= rng.choice([lowest_sign, 1.0], flat.size)
        flat[0] = _LENGTH
        return flat.reshape(shape)

    return make


def _bits(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    return rng.integers(0, 2, shape)


_FLOATS: tuple[_Make, ...] = (
    *(_constant(value) for value in (0.0, 1.0, -1.0, 0.5, 255.0, 1e-30, 1e3, -1e3)),
    *(_normal(scale) for scale in (1e-6, 1e-2, 0.1, 1.0, 1.0, 1.0, 1.0, 10.0, 100.0, 1e3)),
    *(_uniform(0, 1), _uniform(0, 1), _uniform(-1, 1), _uniform(-80, 0)),
    *(_uniform(0, 255), _uniform(0, 255), _uniform(0, 255)),
    *(_ramp(0, 1), _ramp(1, -1), _ramp(0, 255), _ramp(-80, 0)),
    *(_spike(1.0), _spike(255.0), _spike(1e4)),
    *(_magnitudes(1.0), _magnitudes(1.0), _magnitudes(-1.0), _magnitudes(-1.0)),
)
