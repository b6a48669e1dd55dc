"""What Keras would make larger than it is told is refused, and what it writes is not."""

import copy
import io
import itertools
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.gate.files import (
    DENSE,
    SMALL_WEIGHTS,
    Config,
    called,
    functional,
    given,
    judged,
    keras_file,
    layer,
    members,
    reason,
    sequential,
    tensor,
    weights,
    zipped,
)
from tests.gate.hostile_costs import COSTS, initializer, operation
from tests.gate.hostile_kernels import KERNELS

SEED = {"module": "keras.random", "class_name": "SeedGenerator", "registered_name": None}


LARGER = COSTS | KERNELS


@pytest.mark.parametrize("name", LARGER)
def test_what_would_be_larger_is_refused(tmp_path: Path, name: str) -> None:
    make, code = LARGER[name]
    assert reason(tmp_path, make()) == code


def with_layer(kind: str, *shape: int, **config: Any) -> bytes:
    return keras_file(sequential(given(*shape), layer(kind, "it", **config)), (0,))


@pytest.mark.parametrize(
    "seed",
    [
        None,
        7,
        {**SEED, "config": {"name": "s", "seed": 5}},
        {"class_name": "__tuple__", "items": 7},
    ],
)
def test_a_seed_is_a_number_or_a_generator(tmp_path: Path, seed: Any) -> None:
    dense = layer("Dense", "d", units=3, kernel_initializer=initializer("HeNormal", seed=seed))
    model = sequential(given(4), layer("Dropout", "drop", rate=0.5, seed=seed), dense)
    assert judged(tmp_path, keras_file(model, (4, 3), (3,)))


@pytest.mark.parametrize(
    ("seed", "code"),
    [
        ([1, 2], "bad-value"),
        ({**SEED, "config": {"seed": [1]}}, "bad-value"),
        ({**SEED, "config": None}, "bad-value"),
        ({**SEED, "config": {"more": 1}}, "unknown-key"),
        ({**SEED, "class_name": "Other", "config": {}}, "bad-value"),
        ({**SEED, "module": "os", "config": {}}, "module"),
    ],
)
def test_any_other_seed_is_refused(tmp_path: Path, seed: Any, code: str) -> None:
    assert reason(tmp_path, with_layer("Dropout", 4, rate=0.5, seed=seed)) == code


def test_factors_are_few(tmp_path: Path) -> None:
    picture = layer("RandomZoom", "z", height_factor=[-0.1, 0.2], fill_value=0.0)
    model = sequential(given(5, 5, 4), picture, layer("Flatten", "f"), layer("Dense", "d", units=3))
    assert judged(tmp_path, keras_file(model, (100, 3), (3,)))
    for factor in ([0.1] * 5, [[0.1]]):
        assert reason(tmp_path, with_layer("RandomZoom", 5, 5, 4, factor=factor)) == "bad-value"


def test_initial_values_may_be_a_list(tmp_path: Path) -> None:
    value = {"class_name": "__numpy__", "config": {"value": [0.1, 0.2, 0.3], "dtype": "float32"}}
    dense = layer("Dense", "d", units=3, bias_initializer=initializer("Constant", value=value))
    assert judged(tmp_path, keras_file(sequential(given(4), dense), *SMALL_WEIGHTS))


def test_orthogonal_values_of_a_large_weight_are_refused(tmp_path: Path) -> None:
    asked = initializer("Orthogonal", gain=1.0)
    dense = layer("Dense", "d", units=20_000, kernel_initializer=asked)
    assert (
        reason(tmp_path, keras_file(sequential(given(20_000), dense), (0,))) == "cost-initializers"
    )
    assert reason(tmp_path, with_layer("LSTM", 3, 4, units=11_000)) == "cost-initializers"


def test_an_input_is_a_tensor_like_others(tmp_path: Path) -> None:
    pooled = layer("GlobalMaxPooling1D", "p")
    stack = sequential(given(60_000, 60_000), pooled)
    graph = functional(given(60_000, 60_000), called(pooled, tensor("given")), outputs=["p", 0, 0])
    for model in (stack, graph):
        assert reason(tmp_path, keras_file(model, (0,))) == "cost-tensor"


# the names of arguments

ATTENTION = layer("MultiHeadAttention", "h", num_heads=1, key_dim=2, use_bias=False)
WEIGHTS = ((4, 1, 2), (6, 1, 2), (5, 1, 2), (1, 2, 4))


def attended(**named: Any) -> Config:
    return functional(
        given(3, 4),
        given(3, 5, name="v"),
        given(3, 6, name="k"),
        called(ATTENTION, **named),
        inputs=[["given", 0, 0], ["v", 0, 0], ["k", 0, 0]],
        outputs=["h", 0, 0],
    )


def test_tensors_by_name_are_taken_as_the_function_has_them(tmp_path: Path) -> None:
    named = {"query": tensor("given"), "value": tensor("v"), "key": tensor("k")}
    for order in itertools.permutations(named.items()):
        assert judged(tmp_path, keras_file(attended(**dict(order)), *WEIGHTS))


@pytest.mark.parametrize(
    "named",
    [
        {"query": tensor("given"), "other": tensor("v")},
        {"query": tensor("given"), "value": tensor("v"), "key": tensor("k"), "more": tensor("k")},
    ],
)
def test_tensors_by_names_that_are_not_known_are_refused(tmp_path: Path, named: Any) -> None:
    assert reason(tmp_path, keras_file(attended(**named), (0,))) == "unknown-key"


def test_numbers_among_the_arguments_are_a_tensor(tmp_path: Path) -> None:
    dense = called(layer("Dense", "d", units=3), tensor("given"))
    added = called(operation("Add", "a"), tensor("d"), [1.0, 2, 3])
    graph = functional(given(4), dense, added, outputs=["a", 0, 0])
    assert judged(tmp_path, keras_file(graph, *SMALL_WEIGHTS)).cost.activations == 3 + 3


# the order of a graph


def alternating(times: int) -> Config:
    """Call two layers in turns, as a decoder that is written out does."""
    first, second = layer("Dense", "a", units=4), layer("ReLU", "b")
    last = tensor("given")
    for k in range(times):
        first = called(first, last)
        second = called(second, tensor("a", k))
        last = tensor("b", k)
    return functional(given(4), first, second, outputs=["b", times - 1, 0])


def test_layers_in_turns_are_let_through(tmp_path: Path) -> None:
    assert judged(tmp_path, keras_file(alternating(300), (4, 4), (4,))).cost.layers == 601


# models inside


def test_a_model_inside_that_was_trained_is_let_through(tmp_path: Path) -> None:
    content = members()
    content["config.json"] = json.dumps(
        sequential(given(4), sequential(given(4), DENSE, name="inner"))
    ).encode()
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["layers/inner/layers/dense/vars/0"] = np.zeros((4, 3), np.float32)
        file["layers/inner/layers/dense/vars/1"] = np.zeros(3, np.float32)
        file["layers/inner/optimizer/vars/0"] = np.zeros((), np.int64)
        file["optimizer/vars/1"] = np.zeros((), np.float32)
    content["model.weights.h5"] = buffer.getvalue()
    assert judged(tmp_path, zipped(content)).cost.parameters == 15


@pytest.mark.parametrize("value", [["a"] * 65, [[False]]])
def test_long_lists_beside_an_old_call_are_refused(tmp_path: Path, value: Any) -> None:
    dense = {**DENSE, "name": "dense", "inbound_nodes": [[["given", 0, 0, {"mask": value}]]]}
    graph = functional(given(4), dense, outputs=["dense", 0, 0])
    assert reason(tmp_path, keras_file(graph, *SMALL_WEIGHTS)) == "bad-value"


def test_a_layer_with_weights_is_no_activation(tmp_path: Path) -> None:
    data = with_layer("Dense", 4, units=3, activation=layer("PReLU", "p"))
    assert reason(tmp_path, data) == "activation"


PAIR = functional(
    given(4, name="a"),
    given(2, name="b"),
    called(layer("Concatenate", "c"), [tensor("b"), tensor("a")]),
    inputs=[["b", 0, 0], ["a", 0, 0]],
    outputs=["c", 0, 0],
    name="pair",
)


def paired(inner: Config, *arguments: Any) -> bytes:
    outer = functional(
        given(4),
        given(2, name="two"),
        called(inner, *arguments),
        inputs=[["given", 0, 0], ["two", 0, 0]],
        outputs=["pair", 1, 0],
    )
    return keras_file(outer, (0,))


def test_a_model_is_called_by_the_names_of_its_inputs(tmp_path: Path) -> None:
    named = {"a": tensor("given"), "b": tensor("two")}
    by_name = copy.deepcopy(PAIR)
    by_name["config"]["input_layers"] = {"b": ["b", 0, 0], "a": ["a", 0, 0]}
    for inner in (PAIR, by_name):
        content = members() | {"model.weights.h5": weights()}
        outer = json.loads(zipfile.ZipFile(io.BytesIO(paired(inner, named))).read("config.json"))
        content["config.json"] = json.dumps(outer).encode()
        assert judged(tmp_path, zipped(content)).cost.largest == 6
    other = {"a": tensor("given"), "c": tensor("two")}
    assert reason(tmp_path, paired(PAIR, other)) == "call-arguments"
    assert reason(tmp_path, paired(PAIR, tensor("two"), tensor("given"))) == "call-arguments"


def test_inputs_by_name_are_one_each(tmp_path: Path) -> None:
    graph = copy.deepcopy(PAIR)
    graph["config"]["input_layers"] = {"both": [["b", 0, 0], ["a", 0, 0]]}
    assert reason(tmp_path, keras_file(graph, (0,))) == "bad-value"


def test_attention_behind_a_mask_is_let_through(tmp_path: Path) -> None:
    masked = called(layer("Masking", "m"), tensor("given"))
    attention = called(ATTENTION, tensor("m"), tensor("m"))
    graph = functional(given(3, 4), masked, attention, outputs=["h", 0, 0])
    shapes = ((4, 1, 2), (4, 1, 2), (4, 1, 2), (1, 2, 4))
    assert judged(tmp_path, keras_file(graph, *shapes))


@pytest.mark.parametrize("by_name", [False, True])
def test_a_tensor_is_no_place(tmp_path: Path, *, by_name: bool) -> None:
    entry = operation("GetItem", "g")
    key = tensor("given")
    found = called(entry, key, key=key) if by_name else called(entry, key, key)
    graph = functional(given(4), found, outputs=["g", 0, 0])
    assert reason(tmp_path, keras_file(graph, (0,))) == "bad-value"


@pytest.mark.parametrize("units", [None, [None], [3, 4], [[2]], 5])
def test_a_setting_that_a_layer_does_not_use_is_not_counted(tmp_path: Path, units: Any) -> None:
    data = with_layer("ConvLSTM1D", 4, 8, 1, filters=2, kernel_size=3, units=units)
    assert reason(tmp_path, data) == "weights-differ"
