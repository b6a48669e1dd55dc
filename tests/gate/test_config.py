"""server/gate/config: what is not known is refused, with its path."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from server.gate.config import reader as config_rules
from server.gate.config.layer_table import LAYERS
from tests.gate.files import (
    DENSE,
    SMALL_WEIGHTS,
    Config,
    called,
    functional,
    given,
    h5_file,
    judged,
    keras_file,
    layer,
    members,
    reason,
    refusal,
    sequential,
    tensor,
    zipped,
)
from tests.gate.hostile import ATTACKS


def with_dense(**changes: Any) -> bytes:
    """Write a file whose one layer has other keys around or in its configuration."""
    entry = copy.deepcopy(DENSE)
    inner = changes.pop("config", {})
    entry.update(changes)
    entry["config"].update(inner)
    return keras_file(sequential(given(4), entry), *SMALL_WEIGHTS)


def obj(kind: Any, module: Any = "keras.initializers", **config: Any) -> Config:
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


LAMBDA = layer("Lambda", "odd", function={"class_name": "__lambda__", "config": {"code": "4wA="}})
FUNCTION = {"class_name": "function", "config": "relu", "registered_name": "relu"}
MSE: Config = {
    "module": "builtins",
    "class_name": "function",
    "config": "mean_squared_error",
    "registered_name": "function",
}
POLICY = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}


@pytest.mark.parametrize(
    "inner",
    [
        {"activation": {**FUNCTION, "module": "builtins"}},
        {"activation": {**FUNCTION, "module": "keras.activations", "registered_name": "function"}},
        {"activation": layer("LeakyReLU", "leaky", negative_slope=0.1)},
        {"activation": None},
        {"kernel_initializer": "glorot_uniform"},
        {"kernel_initializer": obj("GlorotUniform", seed=None)},
        {"kernel_initializer": obj("Constant", value=[0.5, 1.0], dtype="float32")},
        {"kernel_initializer": {"class_name": "glorot_uniform", "config": {"seed": 1}}},
        {"kernel_regularizer": obj("L2", "keras.regularizers", l2=0.01)},
        {"kernel_regularizer": "l1_l2", "activity_regularizer": "l2"},
        {"kernel_constraint": obj("MaxNorm", "keras.constraints", max_value=2, axis=0)},
        {"dtype": {**POLICY, "registered_name": None, "shared_object_id": 140_234}},
        {
            "dtype": {
                "module": "keras.mixed_precision",
                "class_name": "Policy",
                "config": {"name": "mixed_float16"},
            }
        },
        {"kernel_initializer": obj("Constant", value={"class_name": "__tuple__", "items": [1]})},
        {"kernel_initializer": obj("Constant", value={"type": "ndarray", "value": [0.5]})},
        {"units": 3.0, "lora_rank": None, "quantization_config": None},
        {"name": None},
    ],
)
def test_what_keras_itself_writes_is_let_through(tmp_path: Path, inner: Config) -> None:
    assert judged(tmp_path, with_dense(config=inner)).cost.parameters == 15


@pytest.mark.parametrize(
    "around",
    [
        {"build_config": {"input_shape": [None, 4]}},
        {"build_config": {"input_shape": None}},
        {"build_config": None, "compile_config": None, "shared_object_id": 7},
        {"build_config": {"shapes_dict": {"input_shape": [None, 4]}}},
        {
            "compile_config": {
                "optimizer": obj("Adam", "keras.optimizers", name="adam"),
                "loss": MSE,
                "loss_weights": {"class_name": "__tuple__", "items": [1, 2]},
                "metrics": ["accuracy", [obj("AUC", "keras.metrics")]],
            }
        },
        {"compile_config": {"loss": obj("x", "os"), "metrics": [obj("AUC", None, n=10**9)]}},
        {"registered_name": "Dense"},
    ],
)
def test_what_stands_around_a_layer_is_let_through(tmp_path: Path, around: Config) -> None:
    assert judged(tmp_path, with_dense(**around)).cost.parameters == 15


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ({"surprise": 1}, "unknown-key"),
        ({"activation": "exec"}, "activation"),
        ({"activation": 5}, "activation"),
        ({"activation": {**FUNCTION, "class_name": ["ReLU"]}}, "activation"),
        ({"activation": {**FUNCTION, "config": "get_file", "module": "keras.utils"}}, "module"),
        (
            {"activation": {**FUNCTION, "config": "load_model", "module": "builtins"}},
            "custom-object",
        ),
        ({"activation": {**FUNCTION, "registered_name": "mine"}}, "custom-object"),
        ({"activation": {**FUNCTION, "registered_name": "mine>relu"}}, "custom-object"),
        ({"activation": {"class_name": "Dense", "config": {}}}, "activation"),
        ({"activation": {**layer("ReLU", "r"), "module": "os"}}, "module"),
        ({"activation": layer("ReLU", "r", surprise=1)}, "unknown-key"),
        ({"activation": {"class_name": "__lambda__", "config": {}}}, "activation"),
        ({"kernel_initializer": "exec"}, "initializer"),
        ({"kernel_initializer": ["zeros"]}, "initializer"),
        ({"kernel_initializer": obj("Lambda")}, "initializer"),
        ({"kernel_initializer": obj(5)}, "initializer"),
        ({"kernel_initializer": obj("Zeros", "os")}, "module"),
        ({"kernel_initializer": obj("Zeros", 5)}, "module"),
        ({"kernel_initializer": obj("Zeros", surprise=1)}, "unknown-key"),
        ({"kernel_initializer": {**obj("Zeros"), "more": 1}}, "unknown-key"),
        ({"kernel_initializer": {**obj("Zeros"), "config": []}}, "bad-value"),
        (
            {"kernel_initializer": {**obj("Zeros"), "registered_name": "mine>Zeros"}},
            "custom-object",
        ),
        ({"kernel_initializer": {**obj("Zeros"), "shared_object_id": "x"}}, "bad-value"),
        (
            {"kernel_initializer": obj("Constant", value={"class_name": "x", "config": {}})},
            "bad-value",
        ),
        ({"kernel_initializer": obj("Constant", value="../etc/passwd")}, "bad-value"),
        (
            {"kernel_initializer": obj("Constant", value={"class_name": "__numpy__", "config": 5})},
            "bad-value",
        ),
        ({"kernel_regularizer": "exec"}, "regularizer"),
        ({"bias_constraint": "exec"}, "constraint"),
        ({"dtype": "string"}, "dtype"),
        ({"dtype": {**POLICY, "class_name": "QuantizedDTypePolicy"}}, "dtype"),
        ({"dtype": {**POLICY, "config": {"name": 5}}}, "dtype"),
        ({"dtype": {**POLICY, "config": []}}, "bad-value"),
        ({"dtype": {**POLICY, "config": {"name": "float32", "loss_scale": 5}}}, "feature"),
        ({"dtype": {**POLICY, "module": "os"}}, "module"),
        ({"units": "three"}, "bad-value"),
        ({"units": 2.5}, "bad-value"),
        ({"units": 1 << 31}, "cost-axis"),
        ({"units": 0}, "shape-mismatch"),
        ({"units": -3}, "shape-mismatch"),
        ({"units": None}, "missing-key"),
        ({"units": [3, 4]}, "shape-mismatch"),
        ({"lora_rank": 4}, "feature"),
        ({"quantization_config": {"mode": "int8"}}, "feature"),
        ({"use_bias": {"class_name": "x"}}, "bad-value"),
        ({"name": 5}, "bad-value"),
        ({"name": "n" * 600}, "bad-value"),
    ],
)
def test_what_keras_does_not_write_is_refused(tmp_path: Path, inner: Config, expected: str) -> None:
    assert reason(tmp_path, with_dense(config=inner)) == expected


@pytest.mark.parametrize(
    ("around", "expected"),
    [
        ({"class_name": 5}, "bad-value"),
        ({"class_name": "Mine"}, "unserved-layer"),
        ({"module": "keras.src.ops.nn", "class_name": "OneHot"}, "unserved-layer"),
        ({"class_name": "Mine", "registered_name": "mine>Mine"}, "custom-layer"),
        ({"module": "mine", "class_name": "Mine"}, "custom-layer"),
        ({"class_name": "__lambda__"}, "custom-layer"),
        ({"class_name": "__typespec__"}, "custom-layer"),
        ({"module": "keras.utils"}, "custom-layer"),
        ({"module": None}, "custom-layer"),
        ({"module": ["keras.layers"]}, "custom-layer"),
        ({"class_name": "EinsumDense", "config": {"equation": "a;b"}}, "bad-value"),
        ({"module": "builtins", "class_name": "exec"}, "custom-layer"),
        ({"registered_name": "mine>Dense"}, "custom-layer"),
        ({"registered_name": 5}, "custom-layer"),
        ({"config": None}, "bad-value"),
        ({"surprise": 1}, "unknown-key"),
        ({"build_config": 5}, "build-config"),
        ({"build_config": {"surprise": 1}}, "build-config"),
        ({"build_config": {"input_shape": [None, 999_999]}}, "build-config"),
        ({"build_config": {"input_shape": [None, -4]}}, "bad-value"),
        ({"build_config": {"input_shape": [None, *[1] * 9]}}, "bad-value"),
        ({"inbound_nodes": 5}, "bad-value"),
    ],
)
def test_odd_things_around_a_layer_are_refused(
    tmp_path: Path, around: Config, expected: str
) -> None:
    entry = {**copy.deepcopy(DENSE), **around}
    data = keras_file(sequential(given(4), entry), *SMALL_WEIGHTS)
    assert reason(tmp_path, data) == expected


@pytest.mark.parametrize(
    "name",
    [
        *("built with two shapes", "an input with two shapes", "channels first in capitals"),
        *("a cell that is built for others", "cells as one cell", "two layers with one id"),
        "190,000 axes",
    ],
)
def test_what_keras_would_read_in_another_way_is_refused(tmp_path: Path, name: str) -> None:
    make, expected = ATTACKS[name]
    assert reason(tmp_path, make()) == expected


@pytest.mark.parametrize("axes", ["-", 5, ["d"], "d" * 33])
def test_axes_of_a_bias_are_letters(tmp_path: Path, axes: Any) -> None:
    config = {"equation": "ab,bc->ac", "output_shape": [3], "bias_axes": axes}
    entry = sequential(given(4), layer("EinsumDense", "e", **config))
    assert reason(tmp_path, keras_file(entry, *SMALL_WEIGHTS)) == "bad-value"


@pytest.mark.parametrize(
    ("kind", "expected", "word"),
    [
        ("Lambda", "lambda", "keras.ops"),
        ("TFOpLambda", "tensorflow-operation", "Keras 3"),
        ("TFSMLayer", "foreign-layer", "another library"),
        ("TorchModuleWrapper", "foreign-layer", "another library"),
        ("JaxLayer", "foreign-layer", "another library"),
        ("FlaxLayer", "foreign-layer", "another library"),
        ("HubKerasLayer", "foreign-layer", "another library"),
        ("KerasLayer", "foreign-layer", "another library"),
        ("StringLookup", "lookup-layer", "callers"),
        ("TextVectorization", "lookup-layer", "callers"),
        ("MyLayer", "unserved-layer", "other layers"),
    ],
)
def test_code_in_a_model_is_refused_with_what_to_do(
    tmp_path: Path, kind: str, expected: str, word: str
) -> None:
    data = keras_file(sequential(given(4), layer(kind, "odd"), DENSE), *SMALL_WEIGHTS)
    told = refusal(tmp_path, data)
    assert told.members == {"reason": expected, "where": "model/stack/odd"}
    assert word in told.detail


def nested(entry: Config, depth: int) -> Config:
    for k in range(depth):
        entry = sequential(entry, name=f"n{k}")
    return entry


@pytest.mark.parametrize("depth", [1, 3])
def test_a_lambda_is_found_at_any_depth(tmp_path: Path, depth: int) -> None:
    data = keras_file(sequential(given(4), nested(LAMBDA, depth)))
    assert reason(tmp_path, data) == "lambda"


@pytest.mark.parametrize(
    "wrapper",
    [
        layer("TimeDistributed", "w", layer=LAMBDA),
        layer("Bidirectional", "w", layer=layer("LSTM", "l", units=2), backward_layer=LAMBDA),
        layer("RNN", "w", cell=LAMBDA),
        layer("RNN", "w", cell=layer("StackedRNNCells", "s", cells=[LAMBDA])),
    ],
)
def test_a_lambda_is_found_inside_a_wrapper(tmp_path: Path, wrapper: Config) -> None:
    assert reason(tmp_path, keras_file(sequential(given(3, 4), wrapper))) == "lambda"


def test_a_second_configuration_is_no_way_in(tmp_path: Path) -> None:
    data = keras_file(sequential(given(4), LAMBDA))
    assert reason(tmp_path, data) == "lambda"
    twice = zipped(members() | {"cOnfig.json": json.dumps(sequential(LAMBDA)).encode()})
    assert reason(tmp_path, twice.replace(b"cOnfig", b"config")) == "zip-duplicate"


def test_an_h5_file_is_judged_by_the_same_rules(tmp_path: Path) -> None:
    assert reason(tmp_path, h5_file(sequential(given(4), LAMBDA))) == "lambda"


def old(entry: Config) -> Config:
    """Describe a layer as Keras 2 did: without a module."""
    return {key: entry[key] for key in ("class_name", "config") if key in entry}


@pytest.mark.parametrize(
    "config",
    [
        old(sequential(old(layer("Dense", "d", units=3, batch_input_shape=[None, 4])))),
        {
            "class_name": "Sequential",
            "config": [old(layer("Dense", "d", units=3, batch_input_shape=[None, 4]))],
        },
        old(
            sequential(
                old(sequential(old(layer("Dense", "d", units=3, batch_input_shape=[None, 4]))))
            )
        ),
    ],
)
def test_files_of_keras_2_are_let_through(tmp_path: Path, config: Config) -> None:
    data = h5_file(config, *SMALL_WEIGHTS, version="2.1.6")
    assert judged(tmp_path, data).cost.parameters == 15


def test_a_functional_model_of_keras_2_is_let_through(tmp_path: Path) -> None:
    graph = functional(given(4), DENSE, inputs=[["given", 0, 0]], outputs=[["dense", 0, 0]])
    inner = graph["config"]["layers"]
    for entry in inner:
        del entry["module"], entry["registered_name"]
    inner[1]["inbound_nodes"] = [[["given", 0, 0, {"training": False}]]]
    data = h5_file({"class_name": "Model", "config": graph["config"]}, *SMALL_WEIGHTS)
    assert judged(tmp_path, data).cost.parameters == 15


def test_a_gru_of_keras_2_has_one_bias(tmp_path: Path) -> None:
    gru = old(layer("GRU", "gru", units=2, batch_input_shape=[None, 5, 4]))
    shapes = ((4, 6), (2, 6), (6,))
    data = h5_file(old(sequential(gru)), *shapes, version="2.1.6")
    assert judged(tmp_path, data).cost.parameters == 42
    data = h5_file(old(sequential(gru)), *shapes)
    assert reason(tmp_path, data) == "weights-differ"


def test_a_graph_may_stand_for_the_inputs_of_a_stack(tmp_path: Path) -> None:
    config = sequential(GRAPH, name="outer")
    assert judged(tmp_path, keras_file(config, *SMALL_WEIGHTS)).cost.parameters == 15


def test_a_wrapper_may_leave_its_second_layer_out(tmp_path: Path) -> None:
    inner = layer("SimpleRNN", "rnn", units=2)
    wrapper = layer("Bidirectional", "both", layer=inner, backward_layer=None)
    shapes = ((4, 2), (2, 2), (2,)) * 2
    assert judged(tmp_path, keras_file(sequential(given(5, 4), wrapper), *shapes))


def test_operations_in_an_h5_file_are_told(tmp_path: Path) -> None:
    data = h5_file(sequential(given(4), {"class_name": "Mean", "config": {}}))
    assert reason(tmp_path, data) == "operation-in-h5"


GRAPH = functional(given(4), called(DENSE, tensor("given")), outputs=["dense", 0, 0])


def test_a_functional_model_is_let_through(tmp_path: Path) -> None:
    assert judged(tmp_path, keras_file(GRAPH, *SMALL_WEIGHTS)).cost.parameters == 15


def with_node(node: Any) -> bytes:
    graph = copy.deepcopy(GRAPH)
    graph["config"]["layers"][1]["inbound_nodes"] = [node]
    return keras_file(graph, *SMALL_WEIGHTS)


KEPT = tensor("given")


@pytest.mark.parametrize(
    "node",
    [
        {"args": [KEPT], "kwargs": {"training": False, "mask": None, "mode": "plain"}},
        {"args": [], "kwargs": {"inputs": KEPT}},
        [["given", 0, 0]],
        [["given", 0, 0, {"training": False, "mode": "text"}]],
    ],
)
def test_calls_in_every_honest_form_are_read(tmp_path: Path, node: Any) -> None:
    assert judged(tmp_path, with_node(node)).cost.parameters == 15


def kept(**changes: Any) -> Config:
    entry = copy.deepcopy(KEPT)
    entry["config"].update(changes)
    return entry


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (5, "bad-value"),
        ({"args": []}, "bad-value"),
        ({"args": 5, "kwargs": {}}, "bad-value"),
        ({"args": [], "kwargs": []}, "bad-value"),
        ({"args": [], "kwargs": {}}, "broken-graph"),
        ({"args": [{"a": KEPT}], "kwargs": {}}, "call-arguments"),
        ({"args": [[KEPT, KEPT]], "kwargs": {}}, "call-arguments"),
        ({"args": [KEPT, KEPT], "kwargs": {}}, "call-arguments"),
        ({"args": [[KEPT, [KEPT]]], "kwargs": {}}, "bad-value"),
        ({"args": [[KEPT, {"a": KEPT}]], "kwargs": {}}, "bad-value"),
        ([], "broken-graph"),
        ({"args": [KEPT, LAMBDA], "kwargs": {}}, "custom-object"),
        (
            {"args": [KEPT, {"class_name": "__lambda__", "config": {}}], "kwargs": {}},
            "custom-object",
        ),
        ({"args": [KEPT, {"class_name": "__slice__", "config": 5}], "kwargs": {}}, "custom-object"),
        ({"args": [KEPT, "../etc/passwd"], "kwargs": {}}, "bad-value"),
        ({"args": [kept(surprise=1)], "kwargs": {}}, "bad-value"),
        ({"args": [kept(shape="x")], "kwargs": {}}, "bad-value"),
        ({"args": [kept(dtype="x")], "kwargs": {}}, "dtype"),
        ({"args": [kept(keras_history=None)], "kwargs": {}}, "bad-value"),
        ({"args": [kept(keras_history=["given", -1, 0])], "kwargs": {}}, "bad-value"),
        ({"args": [kept(keras_history=["given", 0, "x"])], "kwargs": {}}, "bad-value"),
        ({"args": [kept(keras_history=["given", 1, 0])], "kwargs": {}}, "broken-graph"),
        ({"args": [kept(keras_history=["given", 0, 1])], "kwargs": {}}, "broken-graph"),
        ({"args": [kept(keras_history=["absent", 0, 0])], "kwargs": {}}, "broken-graph"),
        ({"args": [kept(keras_history=["dense", 0, 0])], "kwargs": {}}, "broken-graph"),
        ([5], "bad-value"),
        ([["given", 0]], "bad-value"),
        ([["given", 0, 0, 5]], "bad-value"),
        ([["given", 0, 0, {"class_name": "__lambda__"}]], "bad-value"),
        ([["given", 0, 0, {"a": {"class_name": "__lambda__"}}]], "bad-value"),
    ],
)
def test_odd_calls_are_refused(tmp_path: Path, node: Any, expected: str) -> None:
    assert reason(tmp_path, with_node(node)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"input_layers": 5}, "bad-value"),
        ({"input_layers": ["absent", 0, 0]}, "broken-graph"),
        ({"input_layers": ["dense", 0, 0]}, "broken-graph"),
        ({"output_layers": ["dense", 3, 0]}, "broken-graph"),
        ({"output_layers": {"b": ["dense", 0, 0], "a": ["absent", 0, 0]}}, "broken-graph"),
        ({"layers": 5}, "no-model"),
        ({"surprise": 1}, "unknown-key"),
        ({"name": 5}, "bad-value"),
        ({"dtype": "string"}, "dtype"),
    ],
)
def test_odd_functional_models_are_refused(tmp_path: Path, changes: Config, expected: str) -> None:
    graph = copy.deepcopy(GRAPH)
    graph["config"].update(changes)
    assert reason(tmp_path, keras_file(graph, *SMALL_WEIGHTS)) == expected


def test_two_layers_of_one_name_are_refused(tmp_path: Path) -> None:
    graph = copy.deepcopy(GRAPH)
    graph["config"]["layers"].append(graph["config"]["layers"][1])
    assert reason(tmp_path, keras_file(graph, *SMALL_WEIGHTS)) == "duplicate-name"


def test_a_layer_that_is_never_called_is_refused(tmp_path: Path) -> None:
    graph = copy.deepcopy(GRAPH)
    graph["config"]["layers"][1]["inbound_nodes"] = []
    assert reason(tmp_path, keras_file(graph, *SMALL_WEIGHTS)) == "broken-graph"


@pytest.mark.parametrize("config", [5, [], {"class_name": "Dense"}, {}, DENSE, given(4)])
def test_what_is_no_model_is_refused(tmp_path: Path, config: Any) -> None:
    assert reason(tmp_path, keras_file(config)) in ("bad-value", "no-model", "missing-key")


def test_a_model_that_does_not_tell_its_inputs_is_refused(tmp_path: Path) -> None:
    for layers in ([], [DENSE]):
        assert reason(tmp_path, keras_file(sequential(*layers), *SMALL_WEIGHTS)) == "no-signature"


def test_a_built_model_tells_its_inputs(tmp_path: Path) -> None:
    config = sequential(DENSE)
    config["config"]["build_input_shape"] = [None, 4]
    assert judged(tmp_path, keras_file(config, *SMALL_WEIGHTS)).cost.parameters == 15


@pytest.mark.parametrize("shape", [[], 5, [None, -1], [None, [4]]])
def test_an_odd_input_shape_is_refused(tmp_path: Path, shape: Any) -> None:
    config = sequential(layer("InputLayer", "given", batch_shape=shape), DENSE)
    assert reason(tmp_path, keras_file(config, *SMALL_WEIGHTS)) == "bad-value"


def test_an_input_in_the_way_of_keras_3_constructors_is_read(tmp_path: Path) -> None:
    config = sequential(layer("InputLayer", "given", shape=[4], batch_size=None), DENSE)
    assert judged(tmp_path, keras_file(config, *SMALL_WEIGHTS)).cost.parameters == 15


def test_texts_as_inputs_are_left_to_the_task(tmp_path: Path) -> None:
    entry = given(4)
    entry["config"]["dtype"] = "string"
    config = sequential(entry, DENSE)
    assert judged(tmp_path, keras_file(config, *SMALL_WEIGHTS)).cost.parameters == 15


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (sequential(given(4), *[DENSE] * config_rules.MAX_LAYERS), "config-layers"),
        (sequential(given(4), nested(DENSE, 9)), "config-nested"),
        (
            functional(
                given(4),
                {**called(DENSE), "inbound_nodes": [[["given", 0, 0]]] * 20_001},
                outputs=["dense", 0, 0],
            ),
            "config-calls",
        ),
    ],
)
def test_more_layers_than_any_model_has_are_refused(
    tmp_path: Path, config: Config, expected: str
) -> None:
    assert reason(tmp_path, keras_file(config)) == expected


@pytest.mark.parametrize("version", [b"[]", b'{"keras_version": 3}', b"{"])
def test_odd_metadata_is_refused(tmp_path: Path, version: bytes) -> None:
    data = zipped(members() | {"metadata.json": version})
    told = {b"[]": None}.get(version, "refused")
    if told is None:
        assert judged(tmp_path, data).keras_version is None
    else:
        assert reason(tmp_path, data) in ("bad-value", "json-damaged")


def test_a_layer_of_a_known_network_is_read_from_its_home_only(tmp_path: Path) -> None:
    scale = layer("LayerScale", "scale", init_values=0.1, projection_dim=4)
    assert reason(tmp_path, keras_file(sequential(given(4), scale), (4,))) == "unserved-layer"
    scale |= {"module": "keras.src.applications.convnext", "registered_name": "LayerScale"}
    assert judged(tmp_path, keras_file(sequential(given(4), scale), (4,))).cost.parameters == 4


def test_the_table_names_about_a_hundred_layers() -> None:
    assert 90 <= len(LAYERS) <= 130
