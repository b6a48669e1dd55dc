"""The engine of the peers: ONNX Runtime on the file that `MODEL_ONNX` names.

Its options are those of our model workers, so that nobody wins by them.
"""

import os
from collections.abc import Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.peers.apps.rows import RAW_BYTES, Row, from_raw


class Engine:
    """The model, loaded and run once."""

    def __init__(self) -> None:
        path = os.environ["MODEL_ONNX"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count() or 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.run([from_raw(bytes(RAW_BYTES))])

    def run(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Return ten numbers for each row."""
        pictures, features = zip(*rows, strict=True)
        return self.stacked(np.stack(pictures), np.stack(features))

    def stacked(
        self, pictures: NDArray[np.float32], features: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return ten numbers for each row of two arrays."""
        fed = {"spectrogram": pictures, "features": features}
        outputs: list[NDArray[np.float32]] = self._session.run(None, fed)
        return outputs[0]
