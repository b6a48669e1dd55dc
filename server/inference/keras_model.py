"""Load a Keras model file and read what goes in and comes out of it.

Imported in child processes only, after the gate has looked at the file. ``safe_mode`` is the last
net, not the first.
"""

import json
import shutil
import tempfile
import zipfile
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import h5py
import keras
from keras.src.legacy.saving.legacy_h5_format import load_model_from_hdf5

from server.errors import BadModel, ServerError
from server.gate.reading import Placed, digest_of
from server.gate.sniff import Format, sniff
from server.inference.repair import OLD_HARD_SIGMOID, repair
from server.inference.signatures import check_inputs
from server.inference.wording import first_line
from server.tasks.contract import Signature, TensorSpec

_CONFIG, _METADATA = "config.json", "metadata.json"
_COPY_BYTES = 1 << 20


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


def load(path: Path, *, judged: str | None = None) -> KerasModel:
    """Load a model file whose name does not matter.

    Parameters
    ----------
    path : Path
        The file.
    judged : str, optional
        What the gate has judged, as `server.gate.reading` tells it: what is read here must be
        the same, however the file is made.

    Raises
    ------
    BadModel
        If it is no model, or Keras refuses it; gives Keras's reason.
    """
    format_ = sniff(path)
    try:
        with keras.saving.CustomObjectScope({OLD_HARD_SIGMOID: _old_hard_sigmoid}):
            model, repairs = (_load_h5 if format_ == "h5" else _load_keras)(path, judged)
    except ServerError:
        raise
    # a boundary: Keras lets anything out of a file that it cannot rebuild
    except Exception as error:
        raise BadModel(
            f"Keras {keras.__version__} cannot load the model: {first_line(error)}",
            reason="keras-refused",
        ) from error
    _check_stateless(model)
    signature = _signature(model)
    check_inputs(signature.inputs)
    return KerasModel(model, format_, tuple(repairs), signature)


def _old_hard_sigmoid(x: Any) -> Any:
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


class _RepairedFile(h5py.File):  # type: ignore[misc]  # h5py has no types
    """An HDF5 file, open for reading, that shows another model configuration than it holds."""

    config: dict[str, Any] | None = None

    @property
    def attrs(self) -> Mapping[str, Any]:
        held: Any = super().attrs
        if self.config is None:
            return cast(Mapping[str, Any], held)
        # looked up by name: nobody has judged what the others hold
        return ChainMap({"model_config": json.dumps(self.config)}, held)


def _load_h5(path: Path, judged: str | None) -> tuple[Any, list[str]]:
    with _RepairedFile(path, "r", locking=False) as file:
        config = _parsed(file.attrs["model_config"], judged, ())
        repairs = repair(config, keras_version=_text(file.attrs.get("keras_version")))
        if repairs:
            file.config = config
        return load_model_from_hdf5(file, compile=False, safe_mode=True), repairs


def _text(value: Any) -> str | None:
    return value.decode() if isinstance(value, bytes) else value


def _parsed(text: str | bytes, judged: str | None, members: Sequence[Placed]) -> Any:
    raw = text.encode() if isinstance(text, str) else text
    if judged is not None and digest_of(raw, members) != judged:
        raise BadModel(
            "the file can be read in two ways, of which one was judged", reason="two-readings"
        )
    return json.loads(raw)


def _load_keras(path: Path, judged: str | None) -> tuple[Any, list[str]]:
    with zipfile.ZipFile(path) as archive:
        config = _parsed(archive.read(_CONFIG), judged, [*map(_placed, archive.infolist())])
        version = json.loads(archive.read(_METADATA)).get("keras_version")
        repairs = repair(config, keras_version=version)
        # Keras chooses its reader by the name's ending, and models are stored without one
        with tempfile.TemporaryDirectory() as folder:
            named = Path(folder) / "model.keras"
            if repairs:
                _copy(archive, named, json.dumps(config))
            else:
                named.symlink_to(path.resolve())
            return keras.saving.load_model(named, compile=False, safe_mode=True), repairs


def _placed(member: zipfile.ZipInfo) -> Placed:
    return Placed(
        member.filename,
        member.header_offset,
        member.compress_type,
        member.compress_size,
        member.file_size,
        member.CRC,
    )


def _copy(archive: zipfile.ZipFile, target: Path, config: str) -> None:
    with zipfile.ZipFile(target, "w") as copy:
        for member in archive.infolist():
            if member.filename == _CONFIG:
                copy.writestr(_CONFIG, config)
                continue
            with archive.open(member) as source, copy.open(member.filename, "w") as sink:
                shutil.copyfileobj(source, sink, _COPY_BYTES)


def _check_stateless(model: Any) -> None:
    for layer in model._flatten_layers():
        if getattr(layer, "stateful", False):
            raise BadModel(
                f"layer {layer.name!r} is stateful: one caller's input would change the next "
                "one's answer; build the model with stateful=False and save it again",
                reason="stateful-layer",
            )


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
