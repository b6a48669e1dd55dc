"""Files that have Keras build or compute more than their shapes tell; each was seen to."""

import io
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

from tests.gate.files import (
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
)

Attack = tuple[Callable[[], bytes], str]
COLUMN = [[0.0]] * 40_000
WIDE = 1_000_000


def operation(kind: str, name: str, **config: Any) -> Config:
    """Describe an operation of ``keras.ops`` between layers."""
    return {
        "module": "keras.src.ops.numpy",
        "class_name": kind,
        "config": {"name": name, **config},
        "registered_name": kind,
    }


def initializer(kind: str, **config: Any) -> Config:
    """Describe an initializer."""
    return {"module": "keras.initializers", "class_name": kind, "config": config}


def stack(*layers: Config, shape: tuple[int, ...] = (1, 1)) -> bytes:
    """Write a model of layers one after the other, without weights."""
    return keras_file(sequential(given(*shape), *layers), (0,))


def graph(*layers: Config, last: str, inputs: Any = ("given", 0, 0)) -> bytes:
    """Write a functional model, without weights."""
    return keras_file(functional(*layers, inputs=inputs, outputs=[last, 0, 0]), (0,))


def two_lists() -> bytes:
    """Hide a list, and an end of 64 bits for it, in the comment of the list's last entry."""
    content = members()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    data = buffer.getvalue()
    start = data.index(b"PK\x01\x02")
    listing, end = data[start:-22], data[-22:]
    at = listing.rindex(b"PK\x01\x02")
    hidden_at = start + len(listing)
    wide = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 3, 3, len(listing), hidden_at)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, hidden_at + len(listing), 1)
    comment = listing + wide + locator
    listing = listing[: at + 32] + struct.pack("<H", len(comment)) + listing[at + 34 :]
    fields = list(struct.unpack("<4s4H2IH", end))
    fields[5] = len(listing) + len(comment)
    return data[:start] + listing + comment + struct.pack("<4s4H2IH", *fields)


def two_ends() -> bytes:
    """Put an end of 64 bits before the end, and have it name another list."""
    data = keras_file()
    at, end = data.index(b"PK\x01\x02"), len(data) - 22
    wide = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, end - at, at)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    return data[:end] + wide + locator + data[end:]


def one_layer_many_times() -> bytes:
    """List one layer again and again, each of which would be looked up."""

    def spoil(file: h5py.File) -> None:
        del file["model_weights"].attrs["layer_names"]
        file["model_weights"].attrs["layer_names"] = np.full(40_000, b"a")

    return h5_file(spoil=spoil)


def crossed() -> bytes:
    """Have two layers be one to Keras, whose calls are then others than those that are named."""
    layers, last = [], "given"
    for k in range(4):
        entry = {**layer("UpSampling2D", f"u{k}", size=[16, 16]), "shared_object_id": k}
        first, second = ({**entry, "config": {**entry["config"]}} for _ in range(2))
        layers.append({**called(first, tensor(last)), "name": f"a{k}"})
        layers.append({**called(second, tensor("given")), "name": f"b{k}"})
        last = f"b{k}"
    model = functional(given(1, 1, 1), outputs=[last, 0, 0])
    model["config"]["layers"] += layers
    return keras_file(model, (0,))


def backwards(count: int) -> bytes:
    """List layers from the last to the first: each pass over them finds one that can be called."""
    chain = [
        called(layer("Identity", f"i{k}"), tensor(f"i{k - 1}" if k else "given"))
        for k in range(count)
    ]
    return graph(*chain[::-1], given(4), last=f"i{count - 1}")


def another_rank(*, outer: bool = False) -> bytes:
    """Call a model on one axis more than it declares, which Keras takes away.

    With `outer` a product of all pairs is behind it, which Keras would compute.
    """
    inner = functional(
        given(50_000, name="x"),
        called(operation("Max", "m", axis=[-2]), tensor("x")),
        called(operation("ExpandDims", "e", axis=1), tensor("m")),
        called(operation("Add", "a"), tensor("m"), tensor("e")),
        called(operation("Max", "mm", axis=[0, 1], keepdims=True), tensor("a")),
        inputs=["x", 0, 0],
        outputs=["mm" if outer else "m", 0, 0],
        name="inner",
    )
    return graph(given(50_000, 1), called(inner, tensor("given")), last="inner")


def up(name: str, *calls: Any) -> Config:
    """Describe a layer that makes a picture 1,024 times as large, and its calls."""
    entry = layer("UpSampling2D", name, size=[32, 32])
    for call in calls:
        entry = called(entry, call)
    return entry


def called_on_constants() -> bytes:
    """Call layers on constants first, which Keras computes at once and does not count."""
    constant = {"class_name": "__numpy__", "config": {"value": [[[[0.0]]]], "dtype": "float32"}}
    chain = [up(f"u{k}", constant, tensor(f"u{k - 1}" if k else "given")) for k in range(4)]
    return graph(given(1, 1, 1), *chain, last="u3")


def second_calls() -> bytes:
    """Name second calls of models, which are not the first to Keras where a call takes them."""
    layers, last = [], tensor("given")
    for k in range(4):
        inner = functional(
            given(None, None, 1),
            up("u", tensor("given")),
            outputs=["u", 0, 0],
            name=f"f{k}",
        )
        layers.append(called(called(inner, tensor("given")), last))
        last = tensor(f"f{k}", 1)
    layers.append(called(layer("GlobalMaxPooling2D", "p"), last))
    return graph(given(1, 1, 1), *layers, last="p")


def by_other_names() -> bytes:
    """Call a model by the names of its inputs, in another order than they are declared."""
    inner = functional(
        given(1, 8, name="z"),
        given(9000, 9000, name="a"),
        called(layer("GlobalMaxPooling1D", "p"), tensor("z")),
        called(layer("Dense", "d", units=60_000), tensor("p")),
        inputs=[["z", 0, 0], ["a", 0, 0]],
        outputs=["d", 0, 0],
        name="inner",
    )
    outer = called(inner, {"z": tensor("big"), "a": tensor("given")})
    return graph(
        given(1, 8),
        given(9000, 9000, name="big"),
        outer,
        last="inner",
        inputs=[["given", 0, 0], ["big", 0, 0]],
    )


ALL = {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}
LSTM_CELL = {
    **layer("LSTM", "c", units=2),
    "build_config": {"input_shape": [None, 3, 50_000_000]},
}
SPREAD = {"kernel_size": 2, "dilation_rate": 200_000_000, "use_bias": False}
ATTENTION = layer("MultiHeadAttention", "h", num_heads=1, key_dim=1, use_bias=False)

COSTS: dict[str, Attack] = {
    "a second list in a comment": (two_lists, "zip-layout"),
    "two ends that differ": (two_ends, "zip-layout"),
    "one layer 40,000 times": (one_layer_many_times, "hdf5-names"),
    "a list as the mean of random numbers": (
        lambda: stack(
            layer(
                "Dense", "d", units=9, kernel_initializer=initializer("RandomNormal", mean=COLUMN)
            )
        ),
        "bad-value",
    ),
    "a list as a slope": (lambda: stack(layer("ELU", "e", alpha=COLUMN)), "bad-value"),
    "a list as the first of a maximum": (
        lambda: graph(
            given(1, 1),
            called(operation("Max", "m", axis=[1], initial=COLUMN), tensor("given")),
            last="m",
        ),
        "bad-value",
    ),
    "a list as a scale": (lambda: stack(layer("Rescaling", "r", scale=COLUMN)), "shape-mismatch"),
    "more scales than a layer has numbers": (
        lambda: stack(
            {
                **layer("LayerScale", "s", init_values=1e-6, projection_dim=WIDE),
                "module": "keras.src.applications.convnext",
            },
        ),
        "shape-mismatch",
    ),
    "lists among the arguments of a call": (
        lambda: graph(
            given(1),
            called(operation("LogicalAnd", "a"), tensor("given"), [1.0] * 4000),
            called(operation("LogicalAnd", "b"), tensor("a"), COLUMN[:4000]),
            last="b",
        ),
        "batch-axis",
    ),
    "a mask that is larger than what it covers": (
        lambda: graph(
            given(1, 40_000),
            called(layer("Permute", "p", dims=[2, 1]), tensor("given")),
            called(layer("Softmax", "s"), tensor("given"), mask=tensor("p")),
            last="s",
        ),
        "shape-mismatch",
    ),
    "attention by names in another order": (
        lambda: graph(
            given(2, 4),
            given(2, WIDE, name="big"),
            called(ATTENTION, key=tensor("given"), value=tensor("given"), query=tensor("big")),
            called(layer("Dense", "d", units=600), tensor("h")),
            last="d",
            inputs=[["given", 0, 0], ["big", 0, 0]],
        ),
        "cost-parameters",
    ),
    "a part that is named by a keyword": (
        lambda: graph(
            given(WIDE, 1),
            called(operation("GetItem", "g"), tensor("given"), key=[ALL, ALL, 0]),
            called(layer("Dense", "d", units=600), tensor("g")),
            last="d",
        ),
        "cost-parameters",
    ),
    "attention by a sum of pairs, without a scale": (
        lambda: graph(
            given(2000, 800),
            called(
                layer("Attention", "a", use_scale=False, score_mode="concat"),
                [tensor("given"), tensor("given")],
            ),
            last="a",
        ),
        "cost-tensor",
    ),
    "an equation with more axes than letters": (
        lambda: stack(
            layer("EinsumDense", "e", equation="ab,bc->ac", output_shape=[200_000_000, 3]),
            shape=(4,),
        ),
        "shape-mismatch",
    ),
    "an equation with a letter twice": (
        lambda: stack(
            layer("EinsumDense", "e", equation="aab,bc->ac", output_shape=[3]), shape=(4, 4)
        ),
        "shape-mismatch",
    ),
    "padding to the ratio of a line": (
        lambda: stack(
            layer("Resizing", "r", height=1, width=WIDE, pad_to_aspect_ratio=True),
            shape=(1000, 1, 1),
        ),
        "cost-tensor",
    ),
    "a window that reaches far before the sound": (
        lambda: stack(layer("Conv1D", "c", filters=1, padding="causal", **SPREAD), shape=(4, 8)),
        "cost-tensor",
    ),
    "a window for each channel that reaches far": (
        lambda: stack(layer("DepthwiseConv1D", "c", padding="same", **SPREAD), shape=(4, 8)),
        "cost-tensor",
    ),
    "two windows that reach far": (
        lambda: stack(
            layer("SeparableConv1D", "c", filters=1, padding="causal", **SPREAD), shape=(4, 8)
        ),
        "cost-tensor",
    ),
    "a layer as a cell": (
        lambda: stack(layer("RNN", "r", cell=LSTM_CELL), shape=(3, 4)),
        "build-config",
    ),
    "a layer as a cell that is not built": (
        lambda: stack(layer("RNN", "r", cell=layer("LSTM", "c", units=2)), shape=(3, 4)),
        "shape-mismatch",
    ),
    "two layers that are one to Keras": (crossed, "shared-layer"),
    "layers from the last to the first": (lambda: backwards(500), "broken-graph"),
    "a model called on another rank": (another_rank, "shape-mismatch"),
    "truths among the arguments of a call": (
        lambda: graph(
            given(1),
            called(operation("LogicalAnd", "a"), tensor("given"), [[True]] * 4000),
            last="a",
        ),
        "batch-axis",
    ),
    "an operation that is called as of old": (
        lambda: graph(
            given(1),
            {**operation("LogicalAnd", "a"), "inbound_nodes": [[["given", 0, 0, {"x2": True}]]]},
            last="a",
        ),
        "call-arguments",
    ),
    "a list beside a call of old": (
        lambda: graph(
            given(1),
            {**layer("Softmax", "s"), "inbound_nodes": [[["given", 0, 0, {"mask": [True] * 9}]]]},
            last="s",
        ),
        "bad-value",
    ),
    "calls on constants": (called_on_constants, "broken-graph"),
    "second calls of models": (second_calls, "cost-tensor"),
    "a model by the names of its inputs": (by_other_names, "build-config"),
    "numbers of one call over another": (
        lambda: graph(
            given(WIDE, 1),
            given(1, WIDE, name="b"),
            called(
                called(
                    layer("Normalization", "n", axis=1, mean=0.0, variance=1.0), tensor("given")
                ),
                tensor("b"),
            ),
            last="n",
            inputs=[["given", 0, 0], ["b", 0, 0]],
        ),
        "shape-mismatch",
    ),
    "a first state of another width": (
        lambda: graph(
            given(1, 1),
            given(1, name="h"),
            given(60_000, name="c"),
            called(
                layer("LSTM", "l", units=1),
                tensor("given"),
                initial_state=[tensor("h"), tensor("c")],
            ),
            last="l",
            inputs=[[name, 0, 0] for name in ("given", "h", "c")],
        ),
        "shape-mismatch",
    ),
    "a mask by its place": (
        lambda: graph(
            given(1, 60_000),
            called(layer("GlobalAveragePooling1D", "p"), tensor("given"), tensor("given")),
            last="p",
        ),
        "call-arguments",
    ),
    "a mask that Keras hands on": (
        lambda: stack(
            layer("Masking", "m"),
            layer("GlobalAveragePooling1D", "p", data_format="channels_first"),
            shape=(60_000, 1),
        ),
        "masked-layer",
    ),
    "a softmax behind a mask": (
        lambda: stack(layer("Masking", "m"), layer("Softmax", "s"), shape=(60_000, 1)),
        "masked-layer",
    ),
    "two ways of other widths": (
        lambda: stack(
            layer(
                "Bidirectional",
                "b",
                layer=layer("SimpleRNN", "f", units=1),
                backward_layer=layer("SimpleRNN", "g", units=300, go_backwards=True),
                merge_mode="sum",
            ),
        ),
        "shape-mismatch",
    ),
    "a layer on a list": (
        lambda: graph(
            given(1 << 20),
            called(layer("ReLU", "r"), [tensor("given")] * 3000),
            last="r",
        ),
        "call-arguments",
    ),
    "an operation on a list": (
        lambda: graph(
            given(1 << 20),
            called(operation("LogicalAnd", "a"), [tensor("given")] * 5000, tensor("given")),
            last="a",
        ),
        "call-arguments",
    ),
    "numbers that have no place but the last": (
        lambda: stack(layer("RMSNormalization", "r", axis=1), shape=(60_000, 1)),
        "shape-mismatch",
    ),
    "axes from behind": (
        lambda: graph(
            given(60_000),
            called(operation("ExpandDims", "a", axis=[-2, -1]), tensor("given")),
            called(operation("ExpandDims", "b", axis=[1, 2]), tensor("given")),
            called(operation("Add", "c"), tensor("a"), tensor("b")),
            last="c",
        ),
        "cost-tensor",
    ),
    "a batch that is moved": (
        lambda: graph(
            given(60_000),
            called(operation("Transpose", "t", axes=[1, 0]), tensor("given")),
            called(operation("Multiply", "m"), tensor("t"), tensor("given")),
            last="m",
        ),
        "batch-axis",
    ),
    "orthogonal values in stacked cells": (
        lambda: stack(
            layer(
                "RNN",
                "r",
                cell=layer("StackedRNNCells", "s", cells=[layer("LSTMCell", "c", units=9000)]),
            ),
            shape=(3, 4),
        ),
        "cost-initializers",
    ),
    "a first shape that is an array": (
        lambda: keras_file(
            {
                "class_name": "Sequential",
                "config": {
                    "name": "s",
                    "layers": [
                        {
                            "class_name": "Flatten",
                            "config": {
                                "name": "f",
                                "batch_input_shape": {"type": "ndarray", "value": [1, WIDE, 1]},
                            },
                        }
                    ],
                },
            },
            (0,),
        ),
        "bad-value",
    ),
    "one layer for all that bear no id": (
        lambda: stack({**layer("Identity", "i"), "shared_object_id": None}),
        "bad-value",
    ),
    "loops of many cells written out": (
        lambda: stack(
            layer(
                "RNN",
                "r",
                cell=layer(
                    "StackedRNNCells",
                    "s",
                    cells=[layer("SimpleRNNCell", f"c{k}", units=1) for k in range(400)],
                ),
                unroll=True,
            ),
            shape=(512, 1),
        ),
        "cost-calls",
    ),
    "a long list among the arguments of a call": (
        lambda: graph(
            given(1),
            called(operation("Add", "a"), tensor("given"), [1.0] * 5000),
            last="a",
        ),
        "bad-value",
    ),
}
