"""Run a converted model with ONNX Runtime, in float32 on the processor.

Imported in child processes only.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from server.errors import BadModel
from server.tasks.contract import Signature, TensorSpec

_SAME_AS_REQUESTED = 1
_ERROR = 3  # of ONNX Runtime's log levels: only what fails is said
_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32", "tensor(int64)": "int64"}


_SETTINGS = {
    # threads that spin while they wait took 1.3 to 1.6 times the processor time of a run, and on a
    # machine whose other core is busy also more wall time
    "session.intra_op.allow_spinning": "0",
    "session.use_env_allocators": "1",
    # float32 means float32, on processors with bfloat16 products too
    "mlas.enable_gemm_fastmath_arm64_bfloat16": "0",
}


class OnnxEngine:
    """One session.

    Parameters
    ----------
    model : Path or bytes
        The ONNX file or what is in it.
    threads : int
        How many cores one run uses.

    Attributes
    ----------
    signature : Signature
        Inputs and outputs in the model's order.

    Raises
    ------
    BadModel
        If it takes or gives numbers that are not served.
    """

    def __init__(self, model: Path | bytes, *, threads: int) -> None:
        _grow_as_requested()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _ERROR
        for name, value in _SETTINGS.items():
            options.add_session_config_entry(name, value)
        source = model if isinstance(model, bytes) else str(model)
        self._session = onnxruntime.InferenceSession(
            source, options, providers=["CPUExecutionProvider"]
        )
        self.signature = Signature(
            tuple(_spec("input", value) for value in self._session.get_inputs()),
            tuple(_spec("output", value) for value in self._session.get_outputs()),
        )
        self._outputs = [spec.name for spec in self.signature.outputs]
        self.inputs = {spec.name: (spec.shape, spec.dtype) for spec in self.signature.inputs}

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


@functools.cache
def _grow_as_requested() -> None:
    """Have ONNX Runtime ask for the memory that it needs, not for the next power of two.

    After batches of 8 of a 10 MB model the process keeps 181 MB so, and 249 MB otherwise; without
    an arena 50 MB, but every run pays 1.4 times the processor time for pages that it got before.
    """
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    settings = {"arena_extend_strategy": _SAME_AS_REQUESTED, "initial_chunk_size_bytes": 1 << 20}
    settings |= {"max_mem": 0, "max_dead_bytes_per_chunk": -1}
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(settings))


def _spec(what: str, value: Any) -> TensorSpec:
    dtype = _DTYPES.get(value.type)
    if dtype is None or (what == "output" and dtype != "float32"):
        taken = sorted(_DTYPES) if what == "input" else ["tensor(float)"]
        raise BadModel(
            f"{what} {value.name!r} is {value.type}; it must be {' or '.join(taken)}",
            reason="onnx-type",
        )
    shape = tuple(axis if isinstance(axis, int) else None for axis in value.shape)
    return TensorSpec(value.name, shape, dtype)
