"""The worker of a converted model: one ONNX Runtime session, kept loaded and warm."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.inference.child import Handler, serve
from server.inference.frames import PREDICT, SPARING
from server.inference.model_runs import handler, warm_up
from server.inference.onnx_engine import OnnxEngine
from server.inference.onnx_rows import OnnxRows


def start(config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    """Load the ONNX file at `config["path"]` and warm it up."""
    chosen = OnnxRows if config["apart"] else OnnxEngine
    engine = chosen(Path(config["path"]), threads=config["threads"])
    # rows that are run apart warm the second session too; nothing else is compiled for a batch, and
    # its memory is taken when it is needed
    batches = [1, config["threads"]] if config["apart"] else [1]
    warm_up(engine.predict, engine.inputs, batches=batches, runs=2)
    sparing = engine.predict_on_one_core if isinstance(engine, OnnxRows) else engine.predict
    return {"engine": "onnxruntime"}, {PREDICT: handler(engine.predict), SPARING: handler(sparing)}


if __name__ == "__main__":
    serve(start)
