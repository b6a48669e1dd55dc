"""Ask Keras what comes out of the cases: `python -m tests.gate.against_keras`, answers as JSON."""

import importlib
import json
from typing import Any

import keras

from server.gate.config.operation_table import MODULE_OF
from tests.gate.rule_cases import CASES, HEADS, OPERATIONS, Case

_TOGETHER = ("Concatenate", "Stack")  # operations of one list


def main() -> None:
    """Print the outputs and weights of every case, or what Keras says against it."""
    told = []
    for case in (*CASES, *HEADS, *OPERATIONS):
        try:
            told.append(_operation(case) if case in OPERATIONS else _layer(case))
        # a boundary: the test shows what Keras says
        except Exception as error:
            told.append([str(error)[:300], []])
    print(json.dumps(told))


def _layer(case: Case) -> Any:
    kind, config, inputs, _, _ = case
    envelope = {"module": "keras.layers", "class_name": kind, "registered_name": None}
    layer = keras.saving.deserialize_keras_object({**envelope, "config": config})
    outputs = _called(layer, inputs, spread=kind == "MultiHeadAttention")
    weights = [list(v.shape) for v in layer.weights if "seed_generator" not in v.path]
    return [outputs, weights]


def _operation(case: Case) -> Any:
    kind, config, inputs, _, _ = case
    operation = getattr(importlib.import_module(MODULE_OF[kind]), kind)(**config)
    return [_called(operation, inputs, spread=kind not in _TOGETHER), []]


def _called(layer: Any, inputs: Any, *, spread: bool) -> list[list[int | None]]:
    tensors = [keras.KerasTensor(shape) for shape in inputs]
    given = tensors if spread or len(tensors) == 1 else [tensors]
    answer = layer(*given)
    several = answer if isinstance(answer, list | tuple) else [answer]
    return [list(tensor.shape) for tensor in several]


if __name__ == "__main__":
    main()
