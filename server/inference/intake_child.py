"""The one-shot process that judges a promoted file.

It loads the model, binds it to its task, runs it once, and answers with the record that the
registry keeps.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from server.errors import BadModel
from server.inference.child import Handler, serve
from server.inference.keras_engine import KerasEngine
from server.tasks import TASKS


def start(config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    """Judge the file at `config["path"]` by `config["manifest"]`."""
    manifest: Mapping[str, Any] = config["manifest"] or {}
    task = TASKS.get(manifest.get("task", "genre"))
    if task is None:
        raise BadModel(f"unknown task {manifest['task']!r}; there are {sorted(TASKS)}")
    engine = _load(Path(config["path"]))
    binding = task.bind(engine.signature, manifest)
    engine.warm_up()
    record = {
        "format": engine.format,
        "engine": f"keras {keras.__version__}",
        "parameters": engine.parameters,
        "signature": engine.signature.describe(),
        "binding": binding,
    }
    return {"record": record}, {}


def _load(path: Path) -> KerasEngine:
    try:
        return KerasEngine(path)
    except BadModel:
        raise
    # a boundary: Keras reads any structure that a file describes, and fails on it in any way
    except Exception as error:
        raise BadModel(
            f"the model cannot be read: {type(error).__name__}", reason="keras-refused"
        ) from error


if __name__ == "__main__":
    serve(start)
