"""The worker of a converted model: one ONNX Runtime session, kept loaded and warm."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.inference.child import Handler, serve
from server.inference.model_runs import handler, warm_up
from server.inference.onnx_engine import OnnxEngine


def start(config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    """Load the ONNX file at `config["path"]` and warm it up."""
    engine = OnnxEngine(Path(config["path"]), threads=config["threads"])
    # one row alone: nothing is compiled for a batch, and its memory is taken when it is needed
    warm_up(engine.predict, engine.inputs, batches=[1], runs=2)
    return {"engine": "onnxruntime"}, {"predict": handler(engine.predict)}


if __name__ == "__main__":
    serve(start)
