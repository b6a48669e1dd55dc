"""The worker of a model that stays with Keras, kept loaded and warm."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from server.inference import keras_model
from server.inference.child import Handler, serve
from server.inference.frames import PREDICT, SPARING
from server.inference.keras_engine import KerasEngine, settle
from server.inference.model_runs import handler, warm_up

_WARM_UPS = 3  # the first run traces and compiles, the second settles memory


def start(config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    """Load the model at `config["path"]` and warm it up."""
    if (threads := config.get("threads")) is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    engine = KerasEngine(keras_model.load(Path(config["path"])))
    batches = sorted({1, config.get("max_batch", 1)})
    warm_up(engine.predict, engine.inputs, batches=batches, runs=_WARM_UPS)
    settle()
    return {"engine": "keras"}, dict.fromkeys((PREDICT, SPARING), handler(engine.predict))


if __name__ == "__main__":
    serve(start)
