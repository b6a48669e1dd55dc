"""The one-shot process that judges a promoted ONNX file.

ONNX Runtime loads it, it is bound to its task and run on the fixed inputs; it is served as it was
uploaded. Nothing of Keras is imported.
"""

import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from server.errors import BadModel
from server.inference import compare
from server.inference.child import Handler, serve
from server.inference.fixed_inputs import Shapes, fixed_rows
from server.inference.intake_task import task_of
from server.inference.onnx_engine import OnnxEngine
from server.inference.record import RECORD_VERSION
from server.inference.signatures import check_inputs
from server.inference.trials import (
    batches,
    largest_batch,
    rows_of_batches,
    run,
    runnable,
    worst_of,
)
from server.inference.wording import first_line

_SLOW_S = 0.5  # a row that takes longer has all cores: nothing is gained by batches


def start(config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    """Judge the file at `config["path"]` by `config["manifest"]`."""
    path, manifest = Path(config["path"]), config["manifest"] or {}
    engine = _load(path)
    for what, specs in (("input", engine.signature.inputs), ("output", engine.signature.outputs)):
        if not specs:
            raise BadModel(f"the model has no {what}", reason="onnx-graph")
    check_inputs(engine.signature.inputs)
    binding = task_of(manifest).bind(engine.signature, manifest)
    shapes = runnable(engine, engine.signature, binding)
    batched = _batches(engine, path, shapes)
    served = {
        "name": "onnxruntime",
        "version": onnxruntime.__version__,
        "precision": "float32",
        "rows": batched.pop("rows"),
    }
    record = {
        "version": RECORD_VERSION,
        "format": "onnx",
        "engine": served,
        "conversion": None,
        **batched,
        "repairs": [],
        "signature": engine.signature.describe(),
        "binding": binding,
    }
    return {"record": record}, {}


def _load(path: Path) -> OnnxEngine:
    try:
        return OnnxEngine(path, threads=len(os.sched_getaffinity(0)))
    except BadModel:
        raise
    # a boundary: ONNX Runtime refuses a graph in many ways, and its exceptions share no base
    except Exception as error:
        raise BadModel(
            f"ONNX Runtime {onnxruntime.__version__} cannot load the model: {first_line(error)}",
            reason="onnx-refused",
        ) from error


def _batches(engine: OnnxEngine, path: Path, shapes: Sequence[Shapes]) -> dict[str, Any]:
    """Say how many rows the model is given at once, and how they are run."""
    largest = largest_batch(engine.signature)
    if largest == 1 or _row_s(engine, shapes[0]) > _SLOW_S:
        return {"max_batch": 1, "rows": "together"}
    known = [compare.cases(run(engine), entry) for entry in shapes]
    if not min(map(len, known)):
        return {"max_batch": 1, "rows": "together"}
    found = batches(largest, worst_of(engine, known, batch=largest))
    rows = rows_of_batches(engine, path, known[0], found["max_batch"])
    return {**found, "rows": rows}


def _row_s(engine: OnnxEngine, shapes: Shapes) -> float:
    """Return how long a row takes, at best of two."""
    row = next(fixed_rows(shapes))
    best = math.inf
    for _ in range(2):
        began = time.monotonic()
        engine.predict(row)
        best = min(best, time.monotonic() - began)
    return best


if __name__ == "__main__":
    serve(start)
