"""Judge small models as intake does: `python -m tests.inference.judging FOLDER`.

Run as a process of its own, because TensorFlow has no place in the tests' process. The models and
what they were converted to stay in the folder; the records of the layer families and what old files
answer are in `judged.json`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from server.errors import BadModel
from server.inference import keras_model
from server.inference.keras_engine import KerasEngine
from server.inference.onnx_engine import OnnxEngine
from server.inference.selection import choose
from server.tasks.tensors import bind
from tests.inference import old_files
from tests.inference.layer_families import FAMILIES


def main(folder: Path) -> None:
    """Judge every model."""
    families = {}
    for name, build in FAMILIES.items():
        path = folder / f"{name}.keras"
        build().save(path)
        families[name] = _judged(path)
    meant = old_files.write(folder)
    old = {name: {"meant": answer, **_judged(folder / name)} for name, answer in meant.items()}
    (folder / "judged.json").write_text(json.dumps({"families": families, "old": old}))


def _judged(path: Path) -> dict[str, Any]:
    try:
        loaded = keras_model.load(path)
    except BadModel as error:
        return {"refused": error.detail}
    engine = KerasEngine(loaded)
    choice = choose(engine, loaded.signature, bind(loaded.signature, {}))
    path.with_suffix(".onnx").write_bytes(choice.onnx or b"")
    served = OnnxEngine(choice.onnx, threads=1) if choice.onnx else engine
    inputs = [spec.name for spec in loaded.signature.inputs]
    found = {**choice.record, "repairs": loaded.repairs, "inputs": inputs}
    if path.stem not in FAMILIES:
        (spec,) = loaded.signature.inputs
        rows = old_files.inputs([axis or 0 for axis in spec.shape[1:]])
        (answer,) = served.predict({spec.name: rows}).values()
        found |= {"shape": list(spec.shape), "answer": np.asarray(answer).tolist()}
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
