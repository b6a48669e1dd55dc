"""server/gate/cost/cost.py and weights.py: what a model costs, and whether its file agrees."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from server.gate.cost.cost import Cost
from server.gate.version import VERSION
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
    reason,
    sequential,
    tensor,
)
from tests.gate.hostile import BOMBS


def cost(folder: Path, config: Config, *shapes: tuple[int, ...]) -> Cost:
    return judged(folder, keras_file(config, *shapes)).cost


def test_a_dense_layer_is_counted(tmp_path: Path) -> None:
    assert cost(tmp_path, sequential(given(4), DENSE), *SMALL_WEIGHTS) == Cost(
        parameters=15, activations=3, largest=4, flops=24, layers=2
    )


def test_the_verdict_is_plain_data(tmp_path: Path) -> None:
    described = judged(tmp_path, keras_file()).describe()
    assert re.fullmatch("[0-9a-f]{64}", described.pop("reading"))
    assert described == {
        "version": VERSION,
        "format": "keras",
        "keras_version": "3.15.1",
        "parameters": 15,
        "activations": 3,
        "largest": 4,
        "flops": 24,
        "layers": 2,
    }


def test_a_shared_layer_is_kept_once_and_called_twice(tmp_path: Path) -> None:
    square = layer("Dense", "square", units=4)
    twice = called(called(square, tensor("given")), tensor("square"))
    found = cost(tmp_path, functional(given(4), twice, outputs=["square", 1, 0]), (4, 4), (4,))
    assert (found.parameters, found.flops, found.layers) == (20, 64, 3)


def test_a_shared_layer_that_would_need_other_weights_is_refused(tmp_path: Path) -> None:
    twice = called(called(DENSE, tensor("given")), tensor("dense"))
    graph = functional(given(4), twice, outputs=["dense", 1, 0])
    assert reason(tmp_path, keras_file(graph, *SMALL_WEIGHTS)) == "shared-layer"


def test_layers_may_be_listed_in_any_order(tmp_path: Path) -> None:
    last = called(layer("Dense", "last", units=2), tensor("dense"))
    graph = functional(last, called(DENSE, tensor("given")), given(4), outputs=["last", 0, 0])
    assert cost(tmp_path, graph, *SMALL_WEIGHTS, (3, 2), (2,)).parameters == 23


def test_layers_that_wait_for_each_other_are_refused(tmp_path: Path) -> None:
    one = called(layer("ReLU", "one"), tensor("two"))
    two = called(layer("ReLU", "two"), tensor("one"))
    graph = functional(given(4), one, two, outputs=["two", 0, 0])
    assert reason(tmp_path, keras_file(graph)) == "broken-graph"


def test_inputs_and_outputs_may_have_names(tmp_path: Path) -> None:
    both = called(layer("Concatenate", "both"), [tensor("b"), tensor("a")])
    graph = functional(
        given(4, name="b"),
        given(2, name="a"),
        both,
        inputs={"b": ["b", 0, 0], "a": ["a", 0, 0]},
        outputs={"joined": ["both", 0, 0]},
    )
    assert cost(tmp_path, graph).activations == 6


INNER = functional(given(4), called(DENSE, tensor("given")), outputs=["dense", 0, 0], name="inner")


@pytest.mark.parametrize(
    ("inner", "node"), [(INNER, 1), (sequential(given(4), DENSE, name="inner"), 0)]
)
def test_as_an_output_a_functional_model_counts_the_call_that_made_it(
    tmp_path: Path, inner: Config, node: int
) -> None:
    for told in (0, 1):
        outer = functional(given(4), called(inner, tensor("given")), outputs=["inner", told, 0])
        data = keras_file(outer, *SMALL_WEIGHTS)
        if told == node:
            assert judged(tmp_path, data).cost.parameters == 15
        else:
            assert reason(tmp_path, data) == "broken-graph"


def test_as_an_argument_every_model_counts_its_calls(tmp_path: Path) -> None:
    twice = called(called(INNER, tensor("given")), tensor("given"))
    for told, code in ((0, None), (1, None), (2, "broken-graph")):
        last = called(layer("ReLU", "r"), tensor("inner", told))
        data = keras_file(functional(given(4), twice, last, outputs=["r", 0, 0]), *SMALL_WEIGHTS)
        if code is None:
            assert judged(tmp_path, data).cost.parameters == 15
        else:
            assert reason(tmp_path, data) == code


def test_a_model_called_on_another_length_keeps_its_weights(tmp_path: Path) -> None:
    pooled = [layer("Conv1D", "c", filters=2, kernel_size=1), layer("GlobalMaxPooling1D", "g")]
    inner = sequential(given(None, 3), *pooled, name="inner")
    outer = functional(given(9, 3), called(inner, tensor("given")), outputs=["inner", 0, 0])
    assert cost(tmp_path, outer, (1, 3, 2), (2,)).parameters == 8


@pytest.mark.parametrize("inner", [INNER, sequential(given(4), DENSE, name="inner")])
def test_a_model_called_on_what_it_was_not_built_for_is_refused(
    tmp_path: Path, inner: Config
) -> None:
    outer = functional(given(5), called(inner, tensor("given")), outputs=["inner", 0, 0])
    assert reason(tmp_path, keras_file(outer, (5, 3), (3,))) == "build-config"


def test_a_stack_without_inputs_is_built_by_its_call(tmp_path: Path) -> None:
    outer = functional(
        given(4), called(sequential(DENSE, name="inner"), tensor("given")), outputs=["inner", 0, 0]
    )
    assert cost(tmp_path, outer, *SMALL_WEIGHTS).parameters == 15


def test_a_model_called_on_too_many_tensors_is_refused(tmp_path: Path) -> None:
    outer = functional(
        given(4), called(INNER, [tensor("given"), tensor("given")]), outputs=["inner", 0, 0]
    )
    assert reason(tmp_path, keras_file(outer, *SMALL_WEIGHTS)) == "broken-graph"


def test_a_layer_may_have_several_outputs(tmp_path: Path) -> None:
    lstm = called(layer("LSTM", "l", units=2, return_state=True), tensor("given"))
    joined = called(layer("Add", "j"), [tensor("l", 0, 1), tensor("l", 0, 2)])
    graph = functional(given(5, 4), lstm, joined, outputs=["j", 0, 0])
    assert cost(tmp_path, graph, (4, 8), (2, 8), (8,)).parameters == 56


def operation(kind: str, name: str, *args: Any, **config: Any) -> Config:
    entry = {**layer(kind, name), "module": "keras.src.ops.numpy", "registered_name": kind}
    return called({**entry, "config": {"name": name, **config}}, *args)


ARRAY = {"class_name": "__numpy__", "config": {"value": [1.0] * 4, "dtype": "float32"}}
SLICE = {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}


def test_constants_and_parts_are_followed(tmp_path: Path) -> None:
    graph = functional(
        given(5, 4),
        operation("Add", "plus", tensor("given"), ARRAY),
        operation("Multiply", "times", tensor("plus"), 2.5),
        operation("GetItem", "last", tensor("times"), [SLICE, -1]),
        called(DENSE, tensor("last")),
        outputs=["dense", 0, 0],
    )
    assert cost(tmp_path, graph, *SMALL_WEIGHTS).parameters == 15


@pytest.mark.parametrize("key", [[SLICE, 9], "word", {"class_name": "__slice__", "config": {}}])
def test_a_part_that_is_not_there_is_refused(tmp_path: Path, key: Any) -> None:
    graph = functional(
        given(5, 4), operation("GetItem", "last", tensor("given"), key), outputs=["last", 0, 0]
    )
    assert reason(tmp_path, keras_file(graph)) in ("shape-mismatch", "custom-object")


@pytest.mark.parametrize(
    ("shapes", "place"),
    [
        (((4, 3),), "absent"),
        (((4, 3), (3,), (3,)), "stored"),
        (((3, 4), (3,)), "absent"),
        (((4, 3), (3,), ()), "stored"),
    ],
)
def test_weights_that_are_not_those_of_the_model_are_refused(
    tmp_path: Path, shapes: tuple[tuple[int, ...], ...], place: str
) -> None:
    for write in (keras_file, h5_file):
        assert reason(tmp_path, write(sequential(given(4), DENSE), *shapes)) == "weights-differ"


def test_a_layer_is_built_in_the_way_of_its_call(tmp_path: Path) -> None:
    heads = layer("MultiHeadAttention", "heads", num_heads=2, key_dim=3)
    built = {"key_shape": [None, 5, 4], "value_shape": [None, 5, 4], "query_shape": [None, 5, 4]}
    heads["build_config"] = {"shapes_dict": built}
    graph = functional(
        given(5, 4), called(heads, tensor("given"), tensor("given")), outputs=["heads", 0, 0]
    )
    shapes = [*[(4, 2, 3), (2, 3)] * 3, (2, 3, 4), (4,)]
    assert cost(tmp_path, graph, *shapes).parameters == 118


@pytest.mark.parametrize(
    "built",
    [
        [[None, 4], [None, 4]],
        {"a": [None, 4], "b": [None, 4]},
        [{"class_name": "__tuple__", "items": [None, 4]}, None],
    ],
)
def test_several_shapes_are_read_in_every_form(tmp_path: Path, built: Any) -> None:
    joined = copy.deepcopy(layer("Add", "joined"))
    joined["build_config"] = {"input_shape": built}
    graph = functional(
        given(4), called(joined, [tensor("given"), tensor("given")]), outputs=["joined", 0, 0]
    )
    assert cost(tmp_path, graph).parameters == 0


def test_masks_and_states_are_no_inputs(tmp_path: Path) -> None:
    lstm = called(
        layer("LSTM", "l", units=4), tensor("given"), initial_state=[tensor("s"), tensor("s")]
    )
    graph = functional(
        given(5, 4),
        given(4, name="s"),
        lstm,
        inputs=[["given", 0, 0], ["s", 0, 0]],
        outputs=["l", 0, 0],
    )
    assert cost(tmp_path, graph, (4, 16), (4, 16), (16,)).parameters == 144


@pytest.mark.parametrize("name", [name for name in BOMBS if BOMBS[name][1].startswith("cost-")])
def test_what_costs_too_much_is_refused(tmp_path: Path, name: str) -> None:
    make, code = BOMBS[name]
    assert reason(tmp_path, make()) == code


@pytest.mark.parametrize("steps", [None, 1000])
def test_steps_of_an_open_axis_are_no_calls_of_their_own(tmp_path: Path, steps: Any) -> None:
    deep = [
        layer("TimeDistributed", f"t{k}", layer=layer("Activation", f"a{k}", activation="relu"))
        for k in range(40)
    ]
    data = keras_file(sequential(given(steps, 4), *deep), (0,))
    assert reason(tmp_path, data) == ("weights-differ" if steps is None else "cost-calls")
