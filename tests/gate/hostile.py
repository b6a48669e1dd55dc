"""Files that attack: one at least for each row of the attack tables, made here, never downloaded.

Each is a name, what makes the bytes, and the code of the refusal.
"""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t

from server.gate.hdf5 import outline as hdf5
from tests.gate.files import (
    DENSE,
    SMALL_WEIGHTS,
    Config,
    called,
    functional,
    given,
    h5_file,
    keras_file,
    layer,
    members,
    sequential,
    tensor,
    zipped,
)
from tests.gate.hostile_costs import COSTS, Attack
from tests.gate.hostile_hdf5 import HDF5, one_text_often
from tests.gate.hostile_kernels import KERNELS
from tests.gate.onnx_files import external, loop, named, of_a_domain


def stacked(*layers: Config) -> Callable[[], bytes]:
    """Return what writes a model of these layers."""
    return lambda: keras_file(sequential(given(4), *layers), *SMALL_WEIGHTS)


def dense(**config: Any) -> Callable[[], bytes]:
    """Return what writes a model of one dense layer with other settings."""
    return stacked({**DENSE, "config": {**DENSE["config"], **config}})


def function(module: str, name: str) -> Config:
    """Describe a function by its name."""
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


CODE = {"class_name": "__lambda__", "config": {"code": "4wAAAAA=", "defaults": None}}
LAMBDA = layer("Lambda", "odd", function=CODE)


def nested(depth: int, *inner: Config) -> Config:
    """Put layers into models in models."""
    entry = sequential(given(4), *inner)
    for k in range(depth):
        entry = sequential(given(4), entry, name=f"n{k}")
    return entry


def inflating() -> bytes:
    """Write a configuration of 1 GiB into 1 MB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        with archive.open("config.json", "w", force_zip64=True) as sink:
            for _ in range(1024):
                sink.write(bytes(1 << 20))
        archive.writestr("model.weights.h5", b"")
    return buffer.getvalue()


def unwritten(file: h5py.File) -> None:
    """Declare 3.9 GB without storing anything."""
    h5d.create(file.id, b"x", h5t.NATIVE_FLOAT, h5s.create_simple((975_000_000,)))


def elsewhere(file: h5py.File) -> None:
    """Keep an array in another file."""
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_external(b"/etc/passwd", 0, 400)
    h5d.create(file.id, b"x", h5t.NATIVE_FLOAT, h5s.create_simple((100,)), plan)


def viewed(file: h5py.File) -> None:
    """Make an array of parts of another file."""
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(4,))
    file.create_virtual_dataset("x", layout)


def plugged(file: h5py.File) -> None:
    """Pack an array by a filter that would be loaded from a folder."""
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_chunk((1,))
    plan.set_filter(32_001, h5py.h5z.FLAG_OPTIONAL, (0,))
    h5d.create(file.id, b"x", h5t.NATIVE_FLOAT, h5s.create_simple((1,)), plan)


def many_objects(file: h5py.File) -> None:
    """Make as many groups and arrays as fit, and one more."""
    for k in range(2667):
        group = h5py.h5g.create(file.id, f"g{k}".encode())
        h5py.h5g.create(group, b"vars")
        raw = h5s.create_simple((1,))
        h5d.create(group, b"x", h5t.NATIVE_FLOAT, raw)


def arrays(file: h5py.File, count: int, plan: object = None) -> None:
    """Write arrays of one number."""
    space, kind = h5s.create_simple((1,)), h5t.NATIVE_FLOAT
    for k in range(count):
        made = h5d.create(file.id, f"d{plan is None}{k}".encode(), kind, space, plan)
        made.write(space, space, np.zeros(1, np.float32))


def in_pieces() -> object:
    """Return how arrays are stored in pieces that are packed in every way."""
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_chunk((1,))
    plan.set_shuffle()
    plan.set_deflate(4)
    plan.set_fletcher32()
    return plan


def as_many_as_fit(file: h5py.File) -> None:
    """Make as many of everything as fit, each looked at to the end, and one that is refused."""
    arrays(file, hdf5.MAX_PLANNED - 10, in_pieces())
    arrays(file, hdf5.MAX_ARRAYS - hdf5.MAX_PLANNED)
    for k in range(hdf5.MAX_OBJECTS - hdf5.MAX_ARRAYS - 10):
        h5py.h5g.create(file.id, f"g{k}".encode())
    file["z"] = "text"


def groups_in_groups(file: h5py.File) -> None:
    """Put each group into the one before."""
    group = file.id
    for _ in range(hdf5.MAX_OBJECTS - 10):
        group = h5py.h5g.create(group, b"g")


def many_attributes(file: h5py.File) -> None:
    """Give as many groups as fit as many empty attributes as fit, which no sum of bytes bounds."""
    for k in range(200):
        group = file.create_group(f"g{k}")
        for j in range(64):
            group.attrs[f"a{j}"] = np.zeros(0, np.int8)


def one_text_for_all_names() -> bytes:
    """Let 4,000 names be one text of 1 MiB, which a reader would copy each time."""
    mark, count = 7, 4000

    def spoil(file: h5py.File) -> None:
        file.attrs["long"] = "x" * (1 << 20)
        del file["model_weights"].attrs["layer_names"]
        file["model_weights"].attrs["layer_names"] = ["y" * mark] * count

    data = h5_file(spoil=spoil)
    at = data.index(struct.pack("<I", 1 << 20))
    while struct.unpack_from("<Q", data, at + 4)[0] >= len(data):
        at = data.index(struct.pack("<I", 1 << 20), at + 1)
    long = data[at : at + 16]
    first = struct.pack("<I", mark)
    start = data.index(first)
    while any(data[start + 16 * k : start + 16 * k + 4] != first for k in range(count)):
        start = data.index(first, start + 1)
    return data[:start] + long * count + data[start + 16 * count :]


def called_for_ever(depth: int, times: int) -> Config:
    """Call a model so many times in a model that is called so many times, and so on."""
    entry: Config = {**layer("Dense", "l0", units=4)}
    for k in range(depth):
        calls = entry
        for j in range(times):
            calls = called(calls, tensor("given") if j == 0 else tensor(f"l{k}", j - 1))
        last = times if k else times - 1
        entry = functional(given(4), calls, outputs=[f"l{k}", last, 0], name=f"l{k + 1}")
    return entry


def model_of(config: Config, *shapes: tuple[int, ...]) -> Callable[[], bytes]:
    """Return what writes a file of a configuration."""
    return lambda: keras_file(config, *shapes)


def raw_config(text: bytes) -> Callable[[], bytes]:
    """Return what writes a file whose configuration is this text."""
    return lambda: zipped(members() | {"config.json": text})


def picture(*layers: Config) -> Config:
    """Describe a model of pictures."""
    return sequential(given(235, 335, 1), *layers)


def big_kernel() -> bytes:
    """Ask for more numbers by an ``.h5`` file than any model has."""
    return h5_file(sequential(given(4), layer("Dense", "d", units=2_000_000_000)), (4, 3), (3,))


CELL = layer("LSTMCell", "c", units=2)


def recurrent(cell: Any) -> Config:
    """Describe a model that runs such a cell."""
    return sequential(given(5, 4), layer("RNN", "r", cell=cell))


CODES: dict[str, Attack] = {
    "lambda": (stacked(LAMBDA), "lambda"),
    "nested lambda": (model_of(nested(3, LAMBDA)), "lambda"),
    "lambda in h5": (lambda: h5_file(sequential(given(4), LAMBDA)), "lambda"),
    "lambda bound to a function of Keras": (
        stacked(layer("Lambda", "odd", function=function("keras.utils", "get_file"))),
        "lambda",
    ),
    "second config.json": (
        lambda: zipped(members() | {"cOnfig.json": json.dumps(LAMBDA).encode()}).replace(
            b"cOnfig", b"config"
        ),
        "zip-duplicate",
    ),
    "os.mkdir as activation": (dense(activation=function("os", "mkdir")), "module"),
    "get_file as activation": (dense(activation=function("keras.utils", "get_file")), "module"),
    "load_model as initializer": (
        dense(kernel_initializer=function("keras.models", "load_model")),
        "module",
    ),
    "exec as activation": (dense(activation=function("builtins", "exec")), "activation"),
    "nested code": (dense(kernel_initializer=CODE), "initializer"),
    "type specification": (stacked({**DENSE, "class_name": "__typespec__"}), "custom-layer"),
    "import of a module": (
        stacked({**DENSE, "module": "antigravity", "class_name": "Dense"}),
        "custom-layer",
    ),
    "test module of Keras": (
        stacked({**DENSE, "module": "keras.src.layers.core.dense_test"}),
        "custom-layer",
    ),
    "registered name": (stacked({**DENSE, "registered_name": "mine>Dense"}), "custom-layer"),
    "vocabulary path": (
        stacked(layer("StringLookup", "odd", vocabulary="/etc/passwd")),
        "lookup-layer",
    ),
    "TFSMLayer": (stacked(layer("TFSMLayer", "odd", filepath="/etc")), "foreign-layer"),
    "TorchModuleWrapper": (
        stacked(layer("TorchModuleWrapper", "odd", module="x")),
        "foreign-layer",
    ),
    "pickle": (lambda: b"\x80\x04cos\nsystem\n(S'id'\ntR.", "pickle"),
    "PyTorch": (lambda: zipped({"archive/data.pkl": b"\x80\x02"}), "torch"),
    "SavedModel": (lambda: b"\x08\x01\x12\x10ReadFile", "saved-model"),
    "SavedModel in a zip": (lambda: zipped({"m/saved_model.pb": b"\x08\x01"}), "saved-model"),
    "TFLite": (lambda: b"\xff\xff\xff\x7fTFL3" + b"\xff" * 64, "tflite"),
}
PLACES: dict[str, Attack] = {
    "external link": (
        lambda: h5_file(spoil=lambda f: f.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/"))),
        "hdf5-link",
    ),
    "soft link": (
        lambda: h5_file(spoil=lambda f: f.__setitem__("x", h5py.SoftLink("/model_weights"))),
        "hdf5-link",
    ),
    "external storage": (lambda: h5_file(spoil=elsewhere), "hdf5-external"),
    "virtual array": (lambda: h5_file(spoil=viewed), "hdf5-virtual"),
    "filter plugin": (lambda: h5_file(spoil=plugged), "hdf5-filter"),
    "cycle of groups": (
        lambda: h5_file(spoil=lambda f: f.__setitem__("model_weights/root", f["/"])),
        "hdf5-shared-object",
    ),
    "user block": (lambda: bytes(512) + h5_file(), "unknown-format"),
    "HDF5 with a zip behind": (lambda: h5_file() + keras_file(), "trailing-bytes"),
    "zip with bytes before": (lambda: b"#!/bin/sh\n" + keras_file(), "unknown-format"),
    "zip with bytes behind": (lambda: keras_file() + b"more", "trailing-bytes"),
    "name that climbs": (lambda: zipped(members(), more=("../../x",)), "zip-member"),
    "absolute name": (lambda: zipped(members(), more=("/etc/x",)), "zip-member"),
    "ONNX with outside data": (external, "onnx-external"),
    "ONNX with a loop": (loop, "onnx-operator"),
    "ONNX of a domain of its own": (of_a_domain, "onnx-domain"),
    "ONNX that lacks an attribute": (lambda: named("Concat"), "onnx-checker"),
    "ONNX with an unknown operator": (lambda: named("Execute"), "onnx-operator"),
}


def endless_heap() -> bytes:
    """Let the heap of the texts begin with an object that leads to itself."""
    data = h5_file()
    at = data.index(b"GCOL") + 16
    return data[:at] + bytes(16) + data[at + 16 :]


BOMBS: dict[str, Attack] = {
    "heap without an end": (endless_heap, "damaged-file"),
    "HDF5 of 3.9 GB": (lambda: h5_file(spoil=unwritten), "hdf5-bomb"),
    "over 8,000 objects": (lambda: h5_file(spoil=many_objects), "hdf5-objects"),
    "8,000 objects": (lambda: h5_file(spoil=as_many_as_fit), "hdf5-type"),
    "over 4,000 arrays": (
        lambda: h5_file(spoil=lambda f: arrays(f, hdf5.MAX_ARRAYS + 1)),
        "hdf5-objects",
    ),
    "over 1,000 arrays in pieces": (
        lambda: h5_file(spoil=lambda f: arrays(f, hdf5.MAX_PLANNED + 1, in_pieces())),
        "hdf5-objects",
    ),
    "8,000 groups in one another": (lambda: h5_file(spoil=groups_in_groups), "hdf5-nested"),
    "13,000 attributes": (lambda: h5_file(spoil=many_attributes), "hdf5-attributes"),
    "one long text for an attribute of many": (one_text_often, "damaged-file"),
    "one text for all names": (one_text_for_all_names, "damaged-file"),
    "configuration of 1 GiB": (inflating, "zip-ratio"),
    "65,000 members": (
        lambda: zipped(members(), more=tuple(f"m{k}" for k in range(65_000))),
        "zip-members",
    ),
    "50,000 layers": (model_of(sequential(given(4), *[DENSE] * 50_000)), "zip-member-size"),
    "10,000 small layers": (
        raw_config(
            json.dumps(sequential(*[{"class_name": "Flatten", "config": {}}] * 10_000)).encode()
        ),
        "config-layers",
    ),
    "300 nested models": (
        lambda: zipped(members() | {"config.json": b'{"a":' * 300 + b"1" + b"}" * 300}),
        "json-depth",
    ),
    "12 nested models": (model_of(nested(12, DENSE)), "config-nested"),
    "a million calls": (model_of(called_for_ever(7, 9), (4, 4), (4,)), "cost-calls"),
    "deep JSON": (raw_config(b"[" * 2_000_000), "json-nodes"),
    "many values": (raw_config(b"[" + b"0," * 4_000_000 + b"0]"), "json-nodes"),
    "duplicate keys": (raw_config(b'{"class_name": "a", "class_name": "b"}'), "json-duplicate-key"),
    "a text without end": (raw_config(b'"' + b'\\"' * 4_000_000), "json-damaged"),
    "NaN": (raw_config(b'{"class_name": NaN}'), "json-number"),
    "a number of a million digits": (raw_config(b"9" * 1_000_000), "json-number"),
    "Dense(2e9)": (dense(units=2_000_000_000), "cost-parameters"),
    "Dense(2e9) in h5": (big_kernel, "cost-parameters"),
    "Dense(1e5) on 1e5": (
        model_of(sequential(given(100_000), layer("Dense", "d", units=100_000)), (4, 3)),
        "cost-parameters",
    ),
    "fewer weights than declared": (dense(units=1_000_000), "weights-differ"),
    "built with other shapes": (
        stacked({**DENSE, "build_config": {"input_shape": [None, 2_000_000_000]}}),
        "build-config",
    ),
    "190,000 axes": (
        stacked(layer("Reshape", "r", target_shape=[2**31 - 1] * 190_000)),
        "bad-value",
    ),
    "many axes": (stacked(layer("Reshape", "r", target_shape=[4, *[1] * 40])), "cost-axis"),
    "weights with many axes": (
        model_of(sequential(given(2**27), layer("LayerNormalization", "n", axis=[1] * 60))),
        "cost-axis",
    ),
    "built with two shapes": (
        stacked(
            {
                **DENSE,
                "build_config": {
                    "input_shape": [None, 10**8],
                    "shapes_dict": {"input_shape": [None, 4]},
                },
            }
        ),
        "build-config",
    ),
    "an input with two shapes": (
        stacked(
            layer("InputLayer", "i", batch_shape=[None, 4], batch_input_shape=[None, 10**8]),
            DENSE,
        ),
        "bad-value",
    ),
    "channels first in capitals": (
        model_of(
            sequential(
                given(1 << 20, 2, 2),
                layer("GlobalAveragePooling2D", "p", data_format="CHANNELS_FIRST"),
                layer("Dense", "d", units=300),
            )
        ),
        "bad-value",
    ),
    "a cell that is built for others": (
        model_of(recurrent({**CELL, "build_config": {"input_shape": [None, 10**8]}})),
        "build-config",
    ),
    "cells as one cell": (model_of(recurrent([CELL, CELL])), "bad-value"),
    "two layers with one id": (
        stacked(
            {**layer("Identity", "i"), "shared_object_id": 7},
            {**DENSE, "shared_object_id": 7},
        ),
        "shared-layer",
    ),
    "UpSampling by 4096": (
        model_of(picture(layer("UpSampling2D", "u", size=[4096, 4096]))),
        "cost-tensor",
    ),
    "UpSampling on UpSampling": (
        model_of(picture(*[layer("UpSampling2D", f"u{k}", size=2) for k in range(40)])),
        "cost-tensor",
    ),
    "Resizing": (
        model_of(picture(layer("Resizing", "r", height=2_000_000, width=2_000_000))),
        "cost-tensor",
    ),
    "RepeatVector": (
        model_of(sequential(given(4), layer("RepeatVector", "r", n=2**31 - 1))),
        "cost-tensor",
    ),
    "ZeroPadding": (
        model_of(picture(layer("ZeroPadding2D", "z", padding=[[10**6, 10**6], [10**6, 10**6]]))),
        "cost-tensor",
    ),
    "outer product": (
        model_of(
            functional(
                given(1_000_000),
                called(layer("Reshape", "r", target_shape=[1_000_000, 1]), tensor("given")),
                called(layer("Dot", "d", axes=[2, 2]), [tensor("r"), tensor("r")]),
                outputs=["d", 0, 0],
            )
        ),
        "cost-tensor",
    ),
    "attention over a long sequence": (
        model_of(
            functional(
                given(1_000_000, 4),
                called(layer("Attention", "a"), [tensor("given"), tensor("given")]),
                outputs=["a", 0, 0],
            )
        ),
        "cost-tensor",
    ),
    "many activations": (
        model_of(sequential(given(200_000_000), *[layer("ReLU", f"r{k}") for k in range(20)])),
        "cost-activations",
    ),
    "many operations": (
        model_of(
            sequential(
                given(4000, 4000, 64),
                layer("Conv2D", "c", filters=2, kernel_size=3999, use_bias=False),
            )
        ),
        "cost-parameters",
    ),
    "a picture through large kernels": (
        model_of(
            sequential(
                given(2000, 2000, 8),
                layer("Conv2D", "c", filters=64, kernel_size=201, padding="same"),
            )
        ),
        "cost-flops",
    ),
    "a loop written out": (
        model_of(sequential(given(100_000, 4), layer("LSTM", "l", units=3, unroll=True))),
        "cost-unrolled",
    ),
    "many loops written out": (
        model_of(
            sequential(
                given(500, 3),
                *[
                    layer("SimpleRNN", f"l{k}", units=3, unroll=True, return_sequences=True)
                    for k in range(200)
                ],
            )
        ),
        "cost-calls",
    ),
    "ONNX that enlarges": (lambda: named("Tile", repeats=[2**40]), "cost-tensor"),
}
ATTACKS: dict[str, Attack] = {**CODES, **PLACES, **BOMBS, **COSTS, **HDF5, **KERNELS}
