"""Try a model on the fixed inputs: alone, in batches, with its rows together or apart.

Imported in child processes only.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from server.errors import BadModel
from server.inference import compare
from server.inference.compare import MAX_BATCH, TOLERANCE, Case, Run
from server.inference.fixed_inputs import Rows, Shapes
from server.inference.onnx_engine import OnnxEngine
from server.inference.wording import first_line
from server.tasks.contract import Signature

_OPEN_SIZES = (256, 97, 1024, 22_050)  # what an axis that a model leaves open is tried with
_SIZES_COMPARED = 2
_MAX_ROW_ITEMS = 16 << 20
_MOST_LOADED_TWICE = 128 << 20  # larger models are held in memory once only
_TURNS, _TURNS_CPU_S = 7, 2.0


class Engine(Protocol):
    """What runs a model."""

    def predict(self, tensors: Mapping[str, NDArray[Any]], /) -> Mapping[str, NDArray[Any]]:
        """Run it once."""


def known_cases(
    engine: Engine, signature: Signature, binding: Mapping[str, Any]
) -> list[list[Case]]:
    """Return what an engine answers to the fixed inputs, for each of the shapes that it runs on."""
    shapes = runnable(engine, signature, binding)
    return [compare.cases(run(engine), entry) for entry in shapes]


def largest_batch(signature: Signature) -> int:
    """Return how many rows a model could be given at once."""
    return 1 if any(spec.shape[0] == 1 for spec in signature.inputs) else MAX_BATCH


def batches(largest: int, together: float) -> dict[str, int]:
    """Say how many rows a model is given at once, by how far their answers are then off."""
    return {"max_batch": largest if together <= TOLERANCE else 1}


def worst_of(engine: Engine, known: Sequence[list[Case]], *, batch: int) -> float:
    """Return how far an engine is off at worst, given so many rows at once."""
    return max(compare.worst_difference(run(engine), group, batch=batch) for group in known)


def rows_of_batches(
    engine: OnnxEngine, model: Path | bytes, known: Sequence[Case], largest: int
) -> str:
    """Say how the rows of a batch are run: together on all cores, or apart with a core each.

    What costs less processor time is taken; both take turns, so that other work on this machine
    disturbs them alike.
    """
    if largest == 1 or _size(model) > _MOST_LOADED_TWICE:
        return "together"
    rows = [row for row, _ in known[:largest]]
    batch, apart = compare.joined(rows), OnnxEngine(model, threads=1)
    spent: list[tuple[float, float]] = []
    while len(spent) < _TURNS and sum(map(sum, spent)) < _TURNS_CPU_S:
        both = _cpu_s(lambda: engine.predict(batch))
        each = _cpu_s(lambda: [apart.predict(row) for row in rows])
        spent.append((both, each))
    together_s, apart_s = (statistics.median(turns) for turns in zip(*spent, strict=True))
    return "apart" if apart_s < together_s else "together"


def _size(model: Path | bytes) -> int:
    return len(model) if isinstance(model, bytes) else model.stat().st_size


def _cpu_s(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def run(engine: Engine) -> Run:
    """Return a function that runs an engine, and answers None where it does not."""

    def tried(rows: Rows) -> Rows | None:
        try:
            return engine.predict(rows)
        # a boundary: an index out of range, or a batch that a model was not made for
        except Exception:
            return None

    return tried


def runnable(engine: Engine, signature: Signature, binding: Mapping[str, Any]) -> list[Shapes]:
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
