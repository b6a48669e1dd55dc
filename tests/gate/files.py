"""Model files made by hand, without Keras: an honest one, and ways to spoil it."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from server.errors import BadModel
from server.gate.judge import Verdict, judge

Config = dict[str, Any]
VERSION = "3.15.1"


def layer(kind: str, name: str, **config: Any) -> Config:
    """Describe a layer as Keras 3 does."""
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": {"name": name, "trainable": True, "dtype": "float32", **config},
        "registered_name": None,
    }


def given(*shape: int | None, name: str = "given") -> Config:
    """Describe an input."""
    return layer("InputLayer", name, batch_shape=[None, *shape])


def sequential(*layers: Config, name: str = "stack") -> Config:
    """Describe a model of layers one after the other."""
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": name, "trainable": True, "layers": list(layers)},
        "registered_name": None,
    }


def tensor(name: str, node: int = 0, index: int = 0) -> Config:
    """Describe a tensor of a functional model."""
    history = [name, node, index]
    return {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None, 4], "dtype": "float32", "keras_history": history},
    }


def called(entry: Config, *args: Any, **kwargs: Any) -> Config:
    """Add a call to a layer of a functional model."""
    calls = [*entry.get("inbound_nodes", []), {"args": list(args), "kwargs": kwargs}]
    return {**entry, "name": entry["config"]["name"], "inbound_nodes": calls}


def functional(
    *layers: Config, inputs: Any = ("given", 0, 0), outputs: Any, name: str = "graph"
) -> Config:
    """Describe a functional model; layers without a call are inputs."""
    named = [
        {**entry, "name": entry["config"]["name"], "inbound_nodes": entry.get("inbound_nodes", [])}
        for entry in layers
    ]
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": name,
            "trainable": True,
            "layers": named,
            "input_layers": list(inputs) if not isinstance(inputs, dict) else inputs,
            "output_layers": list(outputs) if not isinstance(outputs, dict) else outputs,
        },
        "registered_name": "Functional",
    }


DENSE = layer("Dense", "dense", units=3, activation="relu")
SMALL = sequential(given(4), DENSE)
SMALL_WEIGHTS = ((4, 3), (3,))


def weights(*shapes: tuple[int, ...]) -> bytes:
    """Write arrays as the weights of a ``.keras`` file."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for index, shape in enumerate(shapes):
            file[f"layers/dense/vars/{index}"] = np.zeros(shape, np.float32)
        file.require_group("vars")
    return buffer.getvalue()


def members(config: Any = None, *shapes: tuple[int, ...]) -> dict[str, bytes]:
    """Return the members of a ``.keras`` file."""
    return {
        "metadata.json": json.dumps({"keras_version": VERSION}).encode(),
        "config.json": json.dumps(SMALL if config is None else config).encode(),
        "model.weights.h5": weights(*(SMALL_WEIGHTS if config is None else shapes)),
    }


def zipped(
    content: dict[str, bytes], *, method: int = zipfile.ZIP_STORED, more: tuple[str, ...] = ()
) -> bytes:
    """Write an archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
        for name in more:
            archive.writestr(name, b"")
    return buffer.getvalue()


def keras_file(config: Any = None, *shapes: tuple[int, ...]) -> bytes:
    """Write a ``.keras`` file of a configuration and arrays; without them an honest one."""
    return zipped(members(config, *shapes))


def h5_file(
    config: Any = None,
    *shapes: tuple[int, ...],
    version: str = VERSION,
    spoil: Callable[[h5py.File], object] = lambda _: None,
    libver: str = "earliest",
) -> bytes:
    """Write an ``.h5`` file; `spoil` changes it before it is closed."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=libver) as file:
        file.attrs["model_config"] = json.dumps(SMALL if config is None else config)
        file.attrs["keras_version"] = version
        kept = SMALL_WEIGHTS if config is None else shapes
        group = file.create_group("model_weights/dense")
        file["model_weights"].attrs["layer_names"] = [b"dense"]
        group.attrs["weight_names"] = [f"dense/{k}".encode() for k in range(len(kept))]
        for index, shape in enumerate(kept):
            group[f"dense/{index}"] = np.zeros(shape, np.float32)
        spoil(file)
    return buffer.getvalue()


def patched(data: bytes, place: bytes, offset: int, form: str, value: int) -> bytes:
    """Overwrite a number that lies so many bytes after a mark."""
    at = data.rindex(place) + offset
    packed = struct.pack(form, value)
    return data[:at] + packed + data[at + len(packed) :]


def judged(folder: Path, data: bytes) -> Verdict:
    """Judge bytes."""
    path = folder / "model"
    path.write_bytes(data)
    return judge(path)


def refusal(folder: Path, data: bytes) -> BadModel:
    """Return the refusal of bytes."""
    with pytest.raises(BadModel) as refused:
        judged(folder, data)
    return refused.value


def reason(folder: Path, data: bytes) -> object:
    """Return the code of the refusal of bytes."""
    return refusal(folder, data).members["reason"]
