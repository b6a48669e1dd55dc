"""Triton Inference Server through nvidia-pytriton: its C++ server, one Python model; batches."""
# its libraries live in an environment of their own
# mypy: disable-error-code="import-not-found,misc,untyped-decorator,no-any-return,attr-defined"

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.apps.engine import Engine
from benchmarks.peers.apps.rows import MAX_ROWS, PICTURE_SHAPE, WAIT_S

engine = Engine()


@batch
def predict(spectrogram: NDArray[np.float32], features: NDArray[np.float32]) -> list[Any]:
    """Run a batch."""
    return [engine.stacked(spectrogram, features)]


def main(port: int) -> None:
    """Serve until stopped."""
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=port,
        allow_grpc=False,
        allow_metrics=False,
        log_verbose=0,
    )
    inputs = [
        Tensor(name="spectrogram", dtype=np.float32, shape=PICTURE_SHAPE),
        Tensor(name="features", dtype=np.float32, shape=(58,)),
    ]
    batcher = DynamicBatcher(max_queue_delay_microseconds=round(WAIT_S * 1e6))
    with Triton(config=config) as triton:
        triton.bind(
            model_name="genre",
            infer_func=predict,
            inputs=inputs,
            outputs=[Tensor(name="genre", dtype=np.float32, shape=(10,))],
            config=ModelConfig(max_batch_size=MAX_ROWS, batcher=batcher),
            strict=False,
        )
        triton.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]))
