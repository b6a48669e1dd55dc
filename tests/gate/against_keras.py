"""Ask Keras what comes out of the cases: `python -m tests.gate.against_keras`, answers as JSON."""

import json
from typing import Any

import keras
from keras.src.ops import numpy as operations

from tests.gate.rule_cases import CASES, HEADS, OPERATIONS, Case


def main() -> None:
    """Print the outputs and weights of every case."""
    layers = [*CASES, *HEADS]
    told = [_layer(case) for case in layers] + [_operation(case) for case in OPERATIONS]
    print(json.dumps(told))


def _layer(case: Case) -> Any:
    kind, config, inputs, _, _ = case
    entry = {
        "module": "keras.layers",
        "class_name": kind,
        "config": config,
        "registered_name": None,
    }
    layer = keras.saving.deserialize_keras_object(entry)
    return _told(layer, inputs, [list(variable.shape) for variable in _kept(layer, inputs, case)])


def _kept(layer: Any, inputs: Any, case: Case) -> Any:
    _call(layer, inputs, spread=case in HEADS)
    return [v for v in layer.weights if "seed_generator" not in v.path]


def _told(layer: Any, inputs: Any, weights: Any) -> Any:
    spread = type(layer).__name__ == "MultiHeadAttention"
    return [[_shape(out) for out in _call(layer, inputs, spread=spread)], weights]


def _operation(case: Case) -> Any:
    kind, config, inputs, _, _ = case
    operation = getattr(operations, kind)(**config)
    many = kind in ("Concatenate", "Stack")
    return [[_shape(out) for out in _call(operation, inputs, spread=not many)], []]


def _call(layer: Any, inputs: Any, *, spread: bool) -> list[Any]:
    tensors = [keras.KerasTensor(shape) for shape in inputs]
    given = tensors if spread else [tensors if len(tensors) > 1 else tensors[0]]
    if type(layer).__name__ in ("Concatenate", "Stack"):
        given = [tensors]
    answer = layer(*given)
    return list(answer) if isinstance(answer, list | tuple) else [answer]


def _shape(tensor: Any) -> list[int]:
    return [int(axis) for axis in tensor.shape]


if __name__ == "__main__":
    main()
