"""Files that have one kernel of TensorFlow, or one loop, take more than its tensors tell."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import h5py
import numpy as np

from tests.gate.files import (
    Config,
    called,
    functional,
    given,
    h5_file,
    layer,
    members,
    sequential,
    tensor,
    zipped,
)
from tests.gate.hostile_costs import graph, operation, stack

Attack = tuple[Callable[[], bytes], str]
LONG = 20_000


def one_row(kind: str, **config: Any) -> bytes:
    """Have an operation make one row of all samples, and lay it over a tensor."""
    return graph(
        given(1, LONG),
        called(operation("Max", "m", axis=[1]), tensor("given")),
        called(operation(kind, "o", **config), tensor("m")),
        called(operation("ExpandDims", "e", axis=1), tensor("o")),
        called(operation("Add", "a"), tensor("e"), tensor("given")),
        called(operation("Max", "n", axis=[1]), tensor("a")),
        last="n",
    )


def in_two_stacks(shared: Config) -> bytes:
    """Put one layer into two models that stand side by side and give it other shapes."""
    shared = shared | {"shared_object_id": 77}
    stacks = [
        sequential(given(*shape, name=f"i{k}"), shared, name=f"s{k}")
        for k, shape in enumerate([(LONG, 1), (1, LONG)])
    ]
    return graph(
        given(LONG, 1),
        given(1, LONG, name="beside"),
        called(stacks[0], tensor("given")),
        called(stacks[1], tensor("beside")),
        called(layer("Flatten", "f0"), tensor("s0")),
        called(layer("Flatten", "f1"), tensor("s1")),
        called(layer("Add", "a"), [tensor("f0"), tensor("f1")]),
        last="a",
        inputs=[["given", 0, 0], ["beside", 0, 0]],
    )


def dropped_axis() -> bytes:
    """Tell an axis as a tuple in entries of Keras 2, of which Keras 3 keeps a number alone."""

    def entry(kind: str, name: str, feeds: list[str], **config: Any) -> Config:
        nodes = [[[feed, 0, 0, {}] for feed in feeds]] if feeds else []
        told = {"class_name": kind, "config": {"name": name, **config}, "inbound_nodes": nodes}
        return {**told, "name": name}

    axis = {"class_name": "__tuple__", "items": [1]}
    layers = [entry("InputLayer", "c", [], batch_shape=[None, 1, 1])]
    for _ in range(14):
        last = layers[-1]["name"]
        layers.append(entry("Concatenate", f"{last}c", [last, last], axis=axis))
    layers.append(entry("UpSampling1D", "u", ["c"], size=2**14))
    layers.append(entry("Add", "a", ["u", layers[-2]["name"]]))
    config = {"name": "f", "trainable": True, "layers": layers}
    config |= {"input_layers": [["c", 0, 0]], "output_layers": [["a", 0, 0]]}

    def without_weights(file: h5py.File) -> None:
        del file["model_weights"]["dense"]
        file["model_weights"].attrs["layer_names"] = np.array([], dtype="S1")

    return h5_file({"class_name": "Functional", "config": config}, spoil=without_weights)


def with_arrays(config: Config, arrays: Mapping[str, tuple[int, ...]]) -> bytes:
    """Write a ``.keras`` file with arrays at their places."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for path, shape in arrays.items():
            file[path] = np.zeros(shape, np.float32)
        file.require_group("vars")
    return zipped(members(config) | {"model.weights.h5": buffer.getvalue()})


def spread_in_a_loop() -> bytes:
    """Pad a picture by a window of two numbers that lie 200 million apart, in every step."""
    kind = layer(
        "ConvLSTM1D",
        "c",
        filters=1,
        kernel_size=2,
        dilation_rate=200_000_000,
        padding="same",
        use_bias=False,
    )
    place = "layers/conv_lstm1d/cell/vars"
    arrays = {f"{place}/0": (2, 1, 4), f"{place}/1": (2, 1, 4)}
    return with_arrays(sequential(given(4, 4, 1), kind), arrays)


def states_by_cell() -> bytes:
    """Lay the states of a wide first cell over those of a narrow second one."""
    width = 500
    cells = [
        layer("SimpleRNNCell", f"c{k}", units=units, use_bias=False)
        for k, units in enumerate((width, 1))
    ]
    loop = layer("RNN", "r", cell=layer("StackedRNNCells", "s", cells=cells), return_state=True)
    model = functional(
        given(2, 1),
        called(loop, tensor("given")),
        called(layer("Reshape", "x", target_shape=[-1, 1]), tensor("r", 0, 1)),
        called(layer("Reshape", "y", target_shape=[1, -1]), tensor("r", 0, 1)),
        called(layer("Add", "a"), [tensor("x"), tensor("y")]),
        called(layer("UpSampling1D", "u", size=2000), tensor("a")),
        called(layer("GlobalMaxPooling1D", "g"), tensor("u")),
        outputs=["g", 0, 0],
    )
    place = "layers/rnn/cell/cells/simple_rnn_cell"
    shapes = [(1, width), (width, width), (width, 1), (1, 1)]
    names = [f"{place}/vars/0", f"{place}/vars/1", f"{place}_1/vars/0", f"{place}_1/vars/1"]
    return with_arrays(model, dict(zip(names, shapes, strict=True)))


def mask_that_is_handed_on() -> bytes:
    """Give a layer a mask by name, which Keras hands on to one that lays it over the channels."""
    norm = layer("BatchNormalization", "n", center=False, scale=False)
    pool = layer("GlobalAveragePooling1D", "p", data_format="channels_first")
    model = functional(
        given(LONG, 1),
        given(LONG, name="mask"),
        called(norm, tensor("given"), mask=tensor("mask")),
        called(pool, tensor("n")),
        inputs=[["given", 0, 0], ["mask", 0, 0]],
        outputs=["p", 0, 0],
    )
    place = "layers/batch_normalization/vars"
    return with_arrays(model, {f"{place}/0": (1,), f"{place}/1": (1,)})


def state_of_the_other_way() -> bytes:
    """Begin a narrow way with a state that is as wide as both ways together."""
    wide = 500
    states = {"h1": 1, "c1": wide + 1, "h2": wide, "c2": wide}
    ways = [
        layer("LSTM", f"l{units}", units=units, use_bias=False, unroll=True, return_state=True)
        for units in (1, wide)
    ]
    ways[1]["config"]["go_backwards"] = True
    both = layer("Bidirectional", "b", layer=ways[0], backward_layer=ways[1])
    model = functional(
        given(1, 1),
        *(given(width, name=name) for name, width in states.items()),
        called(both, tensor("given"), initial_state=[tensor(name) for name in states]),
        inputs=[[name, 0, 0] for name in ("given", *states)],
        outputs=["b", 0, 0],
    )
    place = "layers/bidirectional"
    shapes = {"forward_layer": (1, 1), "backward_layer": (1, wide)}
    arrays = {
        f"{place}/{way}/cell/vars/{k}": (rows, 4 * units)
        for way, (narrow, units) in shapes.items()
        for k, rows in enumerate((narrow, units))
    }
    return with_arrays(model, arrays)


def columns_of_a_wide_float() -> bytes:
    """Enlarge a picture in float64, for which every product is written down."""
    size = 600
    kind = layer(
        "Conv2DTranspose",
        "c",
        filters=1,
        kernel_size=size,
        padding="same",
        use_bias=False,
        dtype="float64",
    )
    arrays = {"layers/conv2d_transpose/vars/0": (size, size, 1, 1)}
    return with_arrays(sequential(given(100, 100, 1), kind), arrays)


def called_often() -> bytes:
    """Call one loop 3,000 times: Keras makes it anew for each."""
    calls = [{"args": [tensor("given")], "kwargs": {}}] * 3000
    loop = layer("LSTM", "l", units=1)
    add = called(layer("Add", "a"), [tensor("l", 0), tensor("l", 1)])
    return graph(given(1, 1), {**loop, "inbound_nodes": calls}, add, last="a")


SOFTMAX = {**layer("Softmax", "softmax", axis=-1), "registered_name": None}
KERNELS: dict[str, Attack] = {
    "sums along no axis": (lambda: one_row("Cumsum"), "batch-axis"),
    "products along no axis": (lambda: one_row("Cumprod", axis=None), "batch-axis"),
    "numbers in order along no axis": (lambda: one_row("Sort", axis=None), "batch-axis"),
    "one normalization in two stacks": (
        lambda: in_two_stacks(layer("Normalization", "n", axis=1, mean=0.0, variance=1.0)),
        "shape-mismatch",
    ),
    "one layer with weights in two stacks": (
        lambda: in_two_stacks(layer("LayerNormalization", "n")),
        "shared-layer",
    ),
    "a layer for an activation that takes the mask": (
        lambda: stack(
            layer("Masking", "m"), layer("Activation", "a", activation=SOFTMAX), shape=(1024, 1)
        ),
        "masked-layer",
    ),
    "a picture resized by lanczos": (
        lambda: stack(
            layer("Resizing", "r", height=LONG, width=1, interpolation="lanczos5"),
            shape=(1, LONG, 1),
        ),
        "cost-tensor",
    ),
    "a picture resized with smooth edges": (
        lambda: stack(
            layer("Resizing", "r", height=LONG, width=1, antialias=True), shape=(1, LONG, 1)
        ),
        "cost-tensor",
    ),
    "two windows over half a sound each": (
        lambda: stack(
            layer("AdaptiveAveragePooling1D", "p", output_size=[2]), shape=(4_000_000, 1)
        ),
        "cost-flops",
    ),
    "an axis that Keras drops": (dropped_axis, "bad-value"),
    "a window spread in a loop": (spread_in_a_loop, "cost-tensor"),
    "a mask that is handed on": (mask_that_is_handed_on, "masked-layer"),
    "a state of the other way": (state_of_the_other_way, "shape-mismatch"),
    "products that are written down": (columns_of_a_wide_float, "cost-tensor"),
    "a layer at each of many steps": (
        lambda: stack(
            layer("TimeDistributed", "t", layer=layer("Activation", "a", activation="gelu")),
            shape=(20_000, 1),
        ),
        "cost-calls",
    ),
    "a mask for a layer at each step": (
        lambda: graph(
            given(2, 1024, 1),
            given(2, 1024, name="mask"),
            called(
                layer("TimeDistributed", "t", layer=layer("Softmax", "s")),
                tensor("given"),
                mask=tensor("mask"),
            ),
            last="t",
            inputs=[["given", 0, 0], ["mask", 0, 0]],
        ),
        "masked-layer",
    ),
    "many cells in a long loop": (
        lambda: stack(
            layer(
                "RNN",
                "r",
                cell=layer(
                    "StackedRNNCells",
                    "s",
                    cells=[layer("SimpleRNNCell", f"c{k}", units=1) for k in range(100)],
                ),
            ),
            shape=(400_000, 1),
        ),
        "cost-flops",
    ),
    "a loop that is called often": (called_often, "cost-calls"),
    "remainders of far exponents": (
        lambda: graph(
            given(1 << 14, 1 << 13),
            *(
                called(operation("Mod", f"m{k}"), tensor(f"m{k - 1}" if k else "given"), 3.0)
                for k in range(8)
            ),
            last="m7",
        ),
        "cost-flops",
    ),
    "a large window over each channel": (
        lambda: stack(layer("DepthwiseConv2D", "d", kernel_size=80), shape=(100, 100, 1)),
        "cost-tensor",
    ),
    "states in the order of the cells": (states_by_cell, "cost-tensor"),
}
