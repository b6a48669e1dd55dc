"""Run a Keras model file: load it, read its signature, call it.

Imported in child processes only, after the gate has looked at the file. ``safe_mode`` is the last
net, not the first. The model is called, never `predict`-ed: that takes seven times as long for one
song.
"""

import gc
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from server.errors import BadModel
from server.gate.sniff import Format, sniff
from server.tasks.contract import Signature, TensorSpec

_WARM_UPS = 3  # the first run traces and compiles, the second settles memory
_REASON_CHARS = 400


class KerasEngine:
    """A loaded model.

    Parameters
    ----------
    path : Path
        The model file; its name does not matter.

    Attributes
    ----------
    format : str
        ``h5`` or ``keras``.
    signature : Signature
        Inputs and outputs in the model's order.

    Raises
    ------
    BadModel
        If it is no model, or Keras refuses it; gives Keras's reason.
    """

    def __init__(self, path: Path) -> None:
        self.format: Format = sniff(path)
        self._model = _load(path, self.format)
        self.signature = _signature(self._model)
        inputs = self.signature.inputs
        _check_batch_axis(inputs)
        specs = [
            tf.TensorSpec(spec.shape, spec.dtype, name=f"in{k}") for k, spec in enumerate(inputs)
        ]
        self._run = tf.function(self._call, input_signature=specs)

    @property
    def parameters(self) -> int:
        """How many numbers the model has learned or keeps."""
        return int(self._model.count_params())

    def warm_up(self) -> None:
        """Run the model until a run costs what later ones will.

        Raises
        ------
        BadModel
            If it cannot be run on inputs of its own signature.
        """
        zeros = {spec.name: _zeros(spec) for spec in self.signature.inputs}
        try:
            for _ in range(_WARM_UPS):
                self.predict(zeros)
        # a boundary: a model's own graph may fail in any way
        except Exception as error:
            raise BadModel(f"the model cannot be run: {_first_line(error)}") from error
        gc.collect()
        gc.freeze()  # 200,000 objects of TensorFlow that no collection needs to visit again

    def predict(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the model once.

        Parameters
        ----------
        tensors : mapping of str to np.ndarray
            Every input by name, the batch axis first.

        Returns
        -------
        dict of str to np.ndarray
            Every output by name, float32: other widths are what a model computes with, not answers.
        """
        fed = [tf.constant(tensors[spec.name], dtype=spec.dtype) for spec in self.signature.inputs]
        values = self._run(*fed)
        outputs = self.signature.outputs
        named = zip(outputs, values, strict=True)
        return {spec.name: tf.cast(value, tf.float32).numpy() for spec, value in named}

    def _call(self, *tensors: Any) -> list[Any]:
        structure = keras.tree.pack_sequence_as(_structure(self._model), list(tensors))
        return list(keras.tree.flatten(self._model(structure, training=False)))


def _load(path: Path, format_: Format) -> Any:
    # Keras chooses its reader by the name's ending, and models are stored without one.
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / f"model.{format_}"
        named.symlink_to(path.resolve())
        try:
            return keras.saving.load_model(named, compile=False, safe_mode=True)
        # a boundary: Keras lets anything out of a file that it cannot rebuild
        except Exception as error:
            raise BadModel(
                f"Keras {keras.__version__} cannot load the model: {_first_line(error)}",
                reason="keras-refused",
            ) from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:_REASON_CHARS]


def _structure(model: Any) -> Any:
    """Return how the model takes its inputs: one tensor, a list of them, or a dictionary."""
    return 0 if isinstance(model, keras.Sequential) else model.input


def _signature(model: Any) -> Signature:
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise BadModel(
            "the file does not say what the model's inputs are: build the model before saving it",
            reason="no-signature",
        )
    inputs, outputs = list(model.inputs), list(model.outputs)
    # a Sequential model has no output names; a layer used twice gives one name to two outputs
    names = list(getattr(model, "output_names", None) or [model.layers[-1].name])
    if len(names) != len(outputs) or len(set(names)) != len(names):
        names = [f"output_{k}" for k in range(len(outputs))]
    return Signature(
        tuple(_spec(tensor.name, tensor) for tensor in inputs),
        tuple(_spec(name, t) for name, t in zip(names, outputs, strict=True)),
    )


def _check_batch_axis(inputs: tuple[TensorSpec, ...]) -> None:
    for spec in inputs:
        if spec.shape[0] not in (None, 1):
            raise BadModel(
                f"axis 0 of input {spec.name!r} is fixed at {spec.shape[0]}: one song is predicted "
                "at a time, so leave the batch axis open when you build the model",
                reason="fixed-batch",
            )


def _spec(name: str, tensor: Any) -> TensorSpec:
    shape = tuple(None if axis is None else int(axis) for axis in tensor.shape)
    return TensorSpec(str(name), shape, str(tensor.dtype))


def _zeros(spec: TensorSpec) -> NDArray[np.float32]:
    # an open axis gets a size that the pooling of common models survives
    shape = [1, *(axis or 256 for axis in spec.shape[1:])]
    return np.zeros(shape, np.float32)
