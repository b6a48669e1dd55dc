"""Load a Keras model file and read what goes in and comes out of it.

Imported in child processes only, after the gate has looked at the file. ``safe_mode`` is the last
net, not the first.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from server.errors import BadModel
from server.gate.sniff import Format, sniff
from server.tasks.contract import Signature, TensorSpec

_REASON_CHARS = 400


@dataclass(frozen=True, slots=True)
class KerasModel:
    """A loaded model.

    Attributes
    ----------
    model : keras.Model
        As Keras built it.
    format : str
        ``h5`` or ``keras``.
    repairs : tuple of str
        What was repaired in its configuration.
    signature : Signature
        Inputs and outputs in the model's order.
    """

    model: Any
    format: Format
    repairs: tuple[str, ...]
    signature: Signature


def load(path: Path) -> KerasModel:
    """Load a model file whose name does not matter.

    Raises
    ------
    BadModel
        If it is no model, or Keras refuses it; gives Keras's reason.
    """
    format_ = sniff(path)
    model = _load(path, format_)
    signature = _signature(model)
    _check_batch_axis(signature.inputs)
    return KerasModel(model, format_, (), signature)


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
                f"Keras {keras.__version__} cannot load the model: {first_line(error)}",
                reason="keras-refused",
            ) from error


def first_line(error: Exception) -> str:
    """Return the first line of what a library says, not too long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:_REASON_CHARS]


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


def _spec(name: str, tensor: Any) -> TensorSpec:
    shape = tuple(None if axis is None else int(axis) for axis in tensor.shape)
    return TensorSpec(str(name), shape, str(tensor.dtype))


def _check_batch_axis(inputs: tuple[TensorSpec, ...]) -> None:
    for spec in inputs:
        if spec.shape[0] not in (None, 1):
            raise BadModel(
                f"axis 0 of input {spec.name!r} is fixed at {spec.shape[0]}: one song is predicted "
                "at a time, so leave the batch axis open when you build the model",
                reason="fixed-batch",
            )
