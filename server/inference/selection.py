"""Choose the engine that serves a model: ONNX Runtime where that gives the same numbers, or Keras.

::

    Keras model --convert--> ONNX --compare, alone and in batches--> onnxruntime
         |            `--not convertible      `--differs
         `----------------------------------------------------------> keras, and why
"""

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import onnxruntime

from server.errors import BadModel
from server.inference import compare, convert
from server.inference.compare import MAX_BATCH, TOLERANCE, Case, Run
from server.inference.convert import NotConvertible
from server.inference.fixed_inputs import Rows, Shapes
from server.inference.keras_engine import KerasEngine
from server.inference.keras_model import first_line
from server.inference.onnx_engine import OnnxEngine
from server.tasks.contract import Signature

_OPEN_SIZES = (256, 97, 1024, 22_050)  # what an axis that a model leaves open is tried with
_SIZES_COMPARED = 2
_MAX_ROW_ITEMS = 16 << 20
_MOST_LOADED_TWICE = 128 << 20  # larger models are held in memory once only
_TURNS, _TURNS_CPU_S = 7, 2.0


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine of a model.

    Attributes
    ----------
    record : dict
        What the model's record says of engine, conversion and batches.
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
    known = _known(engine, signature, binding)
    largest = _largest_batch(signature)
    try:
        if widths := engine.widths():
            raise NotConvertible(f"the model computes in {', '.join(widths)}")
        if (inputs := sum(map(len, known))) < compare.LEAST_INPUTS:
            raise NotConvertible(f"only {inputs} of the fixed inputs tell two engines apart")
        data = convert.to_onnx(engine, signature)
        candidate = _session(data)
        alone = _worst(candidate, known, batch=1)
        if alone > TOLERANCE:
            raise NotConvertible(f"converted it differs by {alone:.2g} from the original")
    except NotConvertible as reason:
        return _kept(engine, known, largest, why=str(reason))
    together = _worst(candidate, known, batch=largest)
    batches = _batches(largest, together)
    conversion = {
        "opset": convert.OPSET,
        "tool": convert.TOOL,
        "inputs": sum(map(len, known)),
        "max_abs_difference": max(alone, together) if batches["max_batch"] > 1 else alone,
    }
    served = {
        "name": "onnxruntime",
        "version": onnxruntime.__version__,
        "precision": "float32",
        "rows": _rows(candidate, data, known[0], batches["max_batch"]),
    }
    return Choice({"engine": served, "conversion": conversion, **batches}, data)


def keep(
    engine: KerasEngine, signature: Signature, binding: Mapping[str, Any], *, why: str
) -> Choice:
    """Leave a model with Keras.

    Raises
    ------
    BadModel
        As `choose`.
    """
    known = _known(engine, signature, binding)
    return _kept(engine, known, _largest_batch(signature), why=why)


def _known(
    engine: KerasEngine, signature: Signature, binding: Mapping[str, Any]
) -> list[list[Case]]:
    shapes = _runnable(engine, signature, binding)
    return [compare.cases(_run(engine), entry) for entry in shapes]


def _largest_batch(signature: Signature) -> int:
    return 1 if any(spec.shape[0] == 1 for spec in signature.inputs) else MAX_BATCH


def _kept(engine: KerasEngine, known: Sequence[list[Case]], largest: int, *, why: str) -> Choice:
    batches = _batches(largest, _worst(engine, known, batch=largest))
    return Choice({"engine": _keras(engine, why), **batches}, None)


def _keras(engine: KerasEngine, why: str) -> dict[str, str]:
    precision = "+".join(engine.widths()) or "float32"
    return {"name": "keras", "version": keras.__version__, "precision": precision, "why": why}


def _batches(largest: int, together: float) -> dict[str, int]:
    return {"max_batch": largest if together <= TOLERANCE else 1}


def _worst(engine: KerasEngine | OnnxEngine, known: Sequence[list[Case]], *, batch: int) -> float:
    return max(compare.worst_difference(_run(engine), group, batch=batch) for group in known)


def _rows(engine: OnnxEngine, data: bytes, known: Sequence[Case], largest: int) -> str:
    """Say how the rows of a batch are run: together on all cores, or apart with a core each.

    What costs less processor time is taken; both take turns, so that other work on this machine
    disturbs them alike.
    """
    if largest == 1 or len(data) > _MOST_LOADED_TWICE:
        return "together"
    rows = [row for row, _ in known[:largest]]
    batch, apart = compare.joined(rows), OnnxEngine(data, threads=1)
    spent: list[tuple[float, float]] = []
    while len(spent) < _TURNS and sum(map(sum, spent)) < _TURNS_CPU_S:
        both = _cpu_s(lambda: engine.predict(batch))
        each = _cpu_s(lambda: [apart.predict(row) for row in rows])
        spent.append((both, each))
    together_s, apart_s = (statistics.median(turns) for turns in zip(*spent, strict=True))
    return "apart" if apart_s < together_s else "together"


def _cpu_s(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _session(data: bytes) -> OnnxEngine:
    try:
        return OnnxEngine(data, threads=len(os.sched_getaffinity(0)))
    # a boundary: ONNX Runtime refuses a graph in many ways, and its exceptions share no base
    except Exception as error:
        raise NotConvertible(f"ONNX Runtime cannot load it: {first_line(error)}") from error


def _run(engine: KerasEngine | OnnxEngine) -> Run:
    def run(rows: Rows) -> Rows | None:
        try:
            return engine.predict(rows)
        # a boundary: an index out of range, or a batch that a model was not made for
        except Exception:
            return None

    return run


def _runnable(
    engine: KerasEngine, signature: Signature, binding: Mapping[str, Any]
) -> list[Shapes]:
    """Return the first shapes of one row that the model runs on."""
    found: list[Shapes] = []
    refusal = "no size of its open axes is small enough"
    for shapes in row_shapes(signature, binding):
        try:
            answer = engine.predict(
                {name: np.zeros((1, *s), dtype) for name, (s, dtype) in shapes.items()}
            )
        # a boundary: a model's own graph may fail in any way
        except Exception as error:
            refusal = first_line(error)
        else:
            _check_outputs(answer)
            found.append(shapes)
        if len(found) == _SIZES_COMPARED:
            break
    if not found:
        raise BadModel(f"the model cannot be run: {refusal}")
    return found


def _check_outputs(answer: Rows) -> None:
    for name, values in answer.items():
        if values.ndim == 0 or values.shape[0] != 1:
            raise BadModel(
                f"axis 0 of output {name!r} is no batch axis: one row gives the shape "
                f"{list(values.shape)}",
                reason="output-batch",
            )


def row_shapes(signature: Signature, binding: Mapping[str, Any]) -> Iterator[Shapes]:
    """Yield shapes of one row to try: one, or several where axes stay open in the binding too."""
    bound = {item["tensor"]: item["shape"][1:] for item in binding["inputs"]}
    is_open = any(None in shape for shape in bound.values())
    for size in _OPEN_SIZES if is_open else _OPEN_SIZES[:1]:
        shapes = {
            spec.name: (tuple(axis or size for axis in bound[spec.name]), spec.fed)
            for spec in signature.inputs
        }
        if max(math.prod(shape) for shape, _ in shapes.values()) <= _MAX_ROW_ITEMS:
            yield shapes
