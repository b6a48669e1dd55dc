"""The one-shot process that judges a promoted Keras file.

It loads the model, binds it to its task, converts and compares it, and answers with the record that
the registry keeps; the converted model goes into the file that the parent opened for it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.errors import BadModel
from server.gate.cost.cost import MAX_TENSOR
from server.inference import keras_model
from server.inference.child import Handler, serve
from server.inference.intake_task import task_of
from server.inference.keras_engine import KerasEngine
from server.inference.keras_model import KerasModel
from server.inference.measured import check_memory
from server.inference.record import RECORD_VERSION
from server.inference.selection import choose, keep


def start(config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    """Judge the file at `config["path"]` by `config["manifest"]`.

    It must be read as the gate has read it, which `config["judged"]` tells, and take no more memory
    than the numbers that were counted, `config["activations"]`.
    """
    manifest: Mapping[str, Any] = config["manifest"] or {}
    loaded, engine = _load(Path(config["path"]), config.get("judged"))
    binding = task_of(manifest).bind(loaded.signature, manifest)
    if (activations := config.get("activations")) is not None:
        calls = config.get("calls", 0)
        check_memory(engine, loaded.signature, binding, activations=activations, calls=calls)
    output: int | None = config.get("output_fd")
    if output is None:
        choice = keep(engine, loaded.signature, binding, why="nothing takes a converted model")
    else:
        choice = choose(engine, loaded.signature, binding)
        with os.fdopen(output, "wb") as file:
            file.write(choice.onnx or b"")
    record = {
        "version": RECORD_VERSION,
        "format": loaded.format,
        **choice.record,
        "repairs": list(loaded.repairs),
        "parameters": int(loaded.model.count_params()),
        "signature": loaded.signature.describe(),
        "binding": binding,
    }
    return {"record": record}, {}


def _load(path: Path, judged: str | None) -> tuple[KerasModel, KerasEngine]:
    """Load a model, and hold its graph against what the gate has counted, before it is run."""
    try:
        loaded = keras_model.load(path, judged=judged)
        engine = KerasEngine(loaded)
        largest = engine.largest()
    except BadModel:
        raise
    # a boundary: Keras reads any structure that a file describes, and fails on it in any way
    except Exception as error:
        raise BadModel(
            f"the model cannot be read: {type(error).__name__}", reason="keras-refused"
        ) from error
    if largest > MAX_TENSOR:
        raise BadModel(
            f"a tensor of the model has {largest:.3g} numbers; the limit is {MAX_TENSOR:.3g}",
            reason="cost-tensor",
        )
    return loaded, engine


if __name__ == "__main__":
    serve(start)
