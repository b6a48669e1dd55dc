"""Run a converted model with ONNX Runtime, in float32 on the processor.

Imported in child processes only.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

_ERROR = 3  # of ONNX Runtime's log levels: only what fails is said
_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32", "tensor(int64)": "int64"}


class OnnxEngine:
    """One session.

    Parameters
    ----------
    model : Path or bytes
        The ONNX file or what is in it.
    threads : int
        How many cores one run uses.
    """

    def __init__(self, model: Path | bytes, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _ERROR
        source = model if isinstance(model, bytes) else str(model)
        self._session = onnxruntime.InferenceSession(
            source, options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [value.name for value in self._session.get_outputs()]
        self.inputs = {
            value.name: (tuple(_axis(axis) for axis in value.shape), _DTYPES[value.type])
            for value in self._session.get_inputs()
        }

    def predict(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Run the model once.

        Parameters
        ----------
        tensors : mapping of str to np.ndarray
            Every input by name, the batch axis first.

        Returns
        -------
        dict of str to np.ndarray
            Every output by name, float32.
        """
        fed = {
            name: np.ascontiguousarray(tensors[name], dtype)
            for name, (_, dtype) in self.inputs.items()
        }
        return dict(zip(self._outputs, self._session.run(self._outputs, fed), strict=True))


def _axis(axis: int | str | None) -> int | None:
    return axis if isinstance(axis, int) else None
