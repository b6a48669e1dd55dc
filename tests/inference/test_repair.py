"""server/inference/repair.py: what old configurations become, and what is refused."""

import copy
from typing import Any

import pytest

from server.errors import BadModel
from server.inference.repair import OLD_HARD_SIGMOID, repair

CONV = {"class_name": "Conv2D", "config": {"name": "c", "filters": 2, "kernel_size": [3, 3]}}
SHAPE = [None, 44, 13, 1]


def layer(name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": name, "config": {"name": name.lower(), **config}}


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "s", "layers": list(layers)}}


def repaired(config: dict[str, Any], version: str | None = "2.2.4-tf") -> dict[str, Any]:
    repair(config, keras_version=version)
    return config


def first_layers(config: dict[str, Any]) -> list[dict[str, Any]]:
    layers: list[dict[str, Any]] = config["config"]["layers"]
    return layers


def test_a_first_layer_with_its_input_shape_gets_an_input_layer() -> None:
    config = sequential(layer("Conv2D", batch_input_shape=SHAPE, dtype="float32"))
    assert repair(config, keras_version="2.2.4-tf") == ["Sequential: input shape"]
    given, conv = first_layers(config)
    assert given["class_name"] == "InputLayer"
    assert given["config"]["batch_shape"] == SHAPE
    assert "batch_input_shape" not in conv["config"]


def test_a_sequential_model_inside_another_is_repaired_too() -> None:
    inner = sequential(layer("Dense", batch_input_shape=[None, 58]))
    config = sequential(layer("InputLayer", batch_input_shape=[None, 58]), inner)
    repair(config, keras_version="2.3.0-tf")
    assert [entry["class_name"] for entry in first_layers(inner)] == ["InputLayer", "Dense"]


def test_a_model_in_place_of_the_first_layer_gives_its_input_shape() -> None:
    base = {
        "class_name": "Model",
        "config": {
            "name": "base",
            "layers": [
                {**layer("Dense"), "name": "dense"},
                {**layer("InputLayer", batch_input_shape=SHAPE), "name": "image"},
            ],
            "input_layers": [["image", 0, 0]],
        },
    }
    given, _ = first_layers(repaired(sequential(base)))
    assert given["config"]["batch_shape"] == SHAPE


@pytest.mark.parametrize(
    "told",
    [
        {"batch_shape": {"class_name": "__tuple__", "items": SHAPE}},
        {"shape": SHAPE[1:]},
        {"shape": SHAPE[1:], "batch_size": None},
    ],
)
@pytest.mark.parametrize("ends", [["image", 0, 0], {"x": ["image", 0, 0]}])
def test_the_input_shape_of_a_model_is_read_however_it_is_told(
    told: dict[str, Any], ends: Any
) -> None:
    image = layer("InputLayer", **told)
    image["config"]["name"] = "image"  # the entry itself bears none
    layers = [layer("InputLayer", batch_shape=[None, 7]), image]
    base = {"class_name": "Functional", "config": {"layers": layers, "input_layers": ends}}
    config = sequential(base)
    assert repair(config, keras_version="3.0.0") == ["Sequential: input shape"]
    assert first_layers(config)[0]["config"]["batch_shape"] == SHAPE


def test_a_sequential_model_in_place_of_the_first_layer_gives_its_input_shape() -> None:
    base = {"class_name": "Sequential", "config": [layer("Dense", batch_input_shape=[None, 58])]}
    given, _ = first_layers(repaired(sequential(base)))
    assert given["config"]["batch_shape"] == [None, 58]


def test_the_input_layer_takes_the_whole_numbers_of_its_first_layer() -> None:
    config = sequential(layer("Embedding", batch_input_shape=[None, 9], dtype="int32"))
    assert first_layers(repaired(config))[0]["config"]["dtype"] == "int32"


def test_a_list_becomes_a_named_sequential_model() -> None:
    config: dict[str, Any] = {"class_name": "Sequential", "config": [copy.deepcopy(CONV)]}
    assert repair(config, keras_version="2.0.6") == ["Sequential: list form"]
    assert config == {
        "class_name": "Sequential",
        "config": {"name": "sequential", "layers": [CONV]},
    }


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN", "ConvLSTM2D"])
def test_time_major_is_left_out_where_it_is_false(name: str) -> None:
    config = sequential(layer(name, time_major=False, reset_after=True))
    assert repair(config, keras_version="2.14.0") == [f"{name}: time_major"]
    assert "time_major" not in first_layers(config)[0]["config"]


def test_time_major_is_refused_where_it_is_true() -> None:
    with pytest.raises(BadModel, match=r"'lstm' \(LSTM\) has time_major=True") as refused:
        repair(sequential(layer("LSTM", time_major=True)), keras_version="2.14.0")
    assert refused.value.members == {"reason": "keras-2-argument"}


def test_a_layer_inside_a_wrapper_is_repaired() -> None:
    inner = layer("LSTM", time_major=False)
    repair(sequential(layer("Bidirectional", layer=inner)), keras_version="2.15.0")
    assert "time_major" not in inner["config"]


@pytest.mark.parametrize("name", ["DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose"])
def test_groups_are_left_out_where_there_is_one(name: str) -> None:
    config = sequential(layer(name, groups=1))
    assert repair(config, keras_version="2.15.0") == [f"{name}: groups"]


def test_groups_are_refused_where_there_are_several() -> None:
    with pytest.raises(BadModel, match="has groups=2"):
        repair(sequential(layer("DepthwiseConv2D", groups=2)), keras_version="2.15.0")


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [("BatchNormalization", "virtual_batch_size", 4), ("Attention", "causal", True)],
)
def test_an_argument_that_keras_3_cannot_follow_is_refused(
    name: str, argument: str, value: object
) -> None:
    with pytest.raises(BadModel, match=argument):
        repair(sequential(layer(name, **{argument: value})), keras_version="2.15.0")


def test_the_gru_of_old_keras_resets_before_the_product() -> None:
    config = sequential(layer("GRU", units=3))
    assert first_layers(repaired(config, "2.0.8"))[0]["config"]["reset_after"] is False


def test_the_hard_sigmoid_of_keras_2_keeps_its_slope() -> None:
    config = sequential(layer("LSTM", recurrent_activation="hard_sigmoid"))
    assert repair(config, keras_version="2.2.4") == ["LSTM: hard_sigmoid of Keras 2"]
    named = first_layers(config)[0]["config"]["recurrent_activation"]
    assert named["config"] == OLD_HARD_SIGMOID


def test_the_hard_sigmoid_of_keras_3_stays() -> None:
    config = sequential(layer("LSTM", recurrent_activation="hard_sigmoid"))
    assert repair(config, keras_version="3.8.0") == []


def test_values_that_numpy_wrote_become_numbers() -> None:
    config = sequential(layer("LeakyReLU", alpha={"type": "ndarray", "value": 0.3}))
    assert first_layers(repaired(config))[0]["config"]["alpha"] == 0.3


def test_a_precision_policy_becomes_its_name() -> None:
    policy = {"class_name": "Policy", "config": {"name": "mixed_float16"}}
    config = sequential(layer("Dense", dtype=policy))
    assert first_layers(repaired(config))[0]["config"]["dtype"] == "mixed_float16"


def test_the_dtype_of_an_initializer_is_left_out() -> None:
    zeros = {"class_name": "Zeros", "config": {"dtype": "float32"}}
    config = sequential(layer("Dense", bias_initializer=zeros))
    repair(config, keras_version="2.2.4-tf")
    assert zeros["config"] == {}


@pytest.mark.parametrize("version", ["3.15.1", "2.14.0", None])
def test_what_needs_no_repair_stays_as_it_is(version: str | None) -> None:
    config = sequential(layer("InputLayer", batch_shape=SHAPE), copy.deepcopy(CONV))
    before = copy.deepcopy(config)
    assert repair(config, keras_version=version) == []
    assert config == before


@pytest.mark.parametrize(
    "config",
    [
        {"class_name": "Sequential", "config": None},
        {"class_name": "Sequential", "config": []},
        {"class_name": "Sequential", "config": {"layers": [None]}},
        {"class_name": "Sequential", "config": {"layers": [{"class_name": "Model", "config": 3}]}},
        {"class_name": ["Sequential"], "config": {}},
    ],
)
def test_nonsense_is_left_to_keras(config: dict[str, Any]) -> None:
    repair(config, keras_version="2.2.4")


def test_a_model_inside_is_uncompiled_and_the_whole_one_left() -> None:
    compiled = {"optimizer": "adam", "metrics": [layer("MeanIoU", num_classes=10**6)]}
    inner = {**sequential(layer("Dense")), "compile_config": compiled}
    wrapped = layer("TimeDistributed", layer={**copy.deepcopy(inner), "name": "wrapped"})
    config = {**sequential(inner, wrapped), "compile_config": compiled}
    assert repair(config, keras_version="3.15.1") == ["compiled model inside"]
    assert "compile_config" not in inner
    assert "compile_config" not in wrapped["config"]["layer"]
    assert config["compile_config"] == compiled


@pytest.mark.parametrize("name", ["Constant", "constant"])
def test_a_list_of_initial_values_becomes_zeros(name: str) -> None:
    for value in ([[0.0]] * 9, {"class_name": "__numpy__", "config": {}}):
        start = {"module": "keras.initializers", "class_name": name, "config": {"value": value}}
        dense = layer("Dense", kernel_initializer=start)
        assert repair(sequential(dense), keras_version="3.15.1") == ["initializer: list"]
        assert start == {"module": "keras.initializers", "class_name": "Zeros", "config": {}}


def test_one_initial_value_stays() -> None:
    start = {"class_name": "Constant", "config": {"value": 0.5}}
    config = sequential(layer("InputLayer"), layer("Dense", kernel_initializer=start))
    assert repair(config, keras_version="3.15.1") == []
    assert start == {"class_name": "Constant", "config": {"value": 0.5}}
