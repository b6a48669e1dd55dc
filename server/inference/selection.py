"""Choose the engine that serves a model: ONNX Runtime where that gives the same numbers, or Keras.

::

    Keras model --convert--> ONNX --compare, alone and in batched--> onnxruntime
         |            `--not convertible      `--differs
         `----------------------------------------------------------> keras, and why
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import onnxruntime

from server.inference import compare, convert
from server.inference.compare import TOLERANCE, Case
from server.inference.convert import NotConvertible
from server.inference.keras_engine import KerasEngine
from server.inference.onnx_engine import OnnxEngine
from server.inference.trials import batches, known_cases, largest_batch, rows_of_batches, worst_of
from server.inference.wording import first_line
from server.tasks.contract import Signature


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine of a model.

    Attributes
    ----------
    record : dict
        What the model's record says of engine, conversion and batched.
    onnx : bytes or None
        The converted model, for ONNX Runtime.
    """

    record: dict[str, Any]
    onnx: bytes | None


def choose(engine: KerasEngine, signature: Signature, binding: Mapping[str, Any]) -> Choice:
    """Convert and compare a model, and say which engine serves it.

    Parameters
    ----------
    engine : KerasEngine
        The original.
    signature : Signature
        What goes in and comes out of it.
    binding : mapping
        Whose inputs' shapes settle axes that the model leaves open.

    Raises
    ------
    BadModel
        If the model cannot be run on inputs of its own signature.
    """
    known = known_cases(engine, signature, binding)
    largest = largest_batch(signature)
    try:
        if widths := engine.widths():
            raise NotConvertible(f"the model computes in {', '.join(widths)}")
        if (inputs := sum(map(len, known))) < compare.LEAST_INPUTS:
            raise NotConvertible(f"only {inputs} of the fixed inputs tell two engines apart")
        data = convert.to_onnx(engine, signature)
        candidate = _session(data)
        alone = worst_of(candidate, known, batch=1)
        if alone > TOLERANCE:
            raise NotConvertible(f"converted it differs by {alone:.2g} from the original")
    except NotConvertible as reason:
        return _kept(engine, known, largest, why=str(reason))
    together = worst_of(candidate, known, batch=largest)
    batched = batches(largest, together)
    conversion = {
        "opset": convert.OPSET,
        "tool": convert.TOOL,
        "inputs": sum(map(len, known)),
        "max_abs_difference": max(alone, together) if batched["max_batch"] > 1 else alone,
    }
    served = {
        "name": "onnxruntime",
        "version": onnxruntime.__version__,
        "precision": "float32",
        "rows": rows_of_batches(candidate, data, known[0], batched["max_batch"]),
    }
    return Choice({"engine": served, "conversion": conversion, **batched}, data)


def keep(
    engine: KerasEngine, signature: Signature, binding: Mapping[str, Any], *, why: str
) -> Choice:
    """Leave a model with Keras.

    Raises
    ------
    BadModel
        As `choose`.
    """
    known = known_cases(engine, signature, binding)
    return _kept(engine, known, largest_batch(signature), why=why)


def _kept(engine: KerasEngine, known: Sequence[list[Case]], largest: int, *, why: str) -> Choice:
    batched = batches(largest, worst_of(engine, known, batch=largest))
    return Choice({"engine": _keras(engine, why), **batched}, None)


def _keras(engine: KerasEngine, why: str) -> dict[str, str]:
    precision = "+".join(engine.widths()) or "float32"
    return {"name": "keras", "version": keras.__version__, "precision": precision, "why": why}


def _session(data: bytes) -> OnnxEngine:
    try:
        return OnnxEngine(data, threads=len(os.sched_getaffinity(0)))
    # a boundary: ONNX Runtime refuses a graph in many ways, and its exceptions share no base
    except Exception as error:
        raise NotConvertible(f"ONNX Runtime cannot load it: {first_line(error)}") from error
