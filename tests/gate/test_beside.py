"""server/gate/cost/beside.py: what stands beside the inputs of a call may not make it larger."""

from pathlib import Path
from typing import Any

import pytest

from server.gate.config.tree import Layer, Shape
from server.gate.cost.beside import fits
from tests.gate.files import (
    Config,
    called,
    functional,
    given,
    judged,
    keras_file,
    layer,
    reason,
    sequential,
    tensor,
)
from tests.gate.hostile_costs import operation

SOUND, MADE = ((1, 5, 4),), ((1, 3),)
PICTURES, PICTURE = ((1, 6, 9, 9, 2),), ((1, 7, 7, 8),)
FRAMES = ((1, 6, 7, 7, 8),)
QUERY, SCORES = ((1, 5, 4), (1, 6, 4)), ((1, 5, 4), (1, 2, 5, 6))
PLAIN = ((1, 5, 4), (1, 5, 6))  # of Attention, which has no heads

GOOD = [
    ("LSTM", "initial_state.0", (1, 3), SOUND, MADE),
    ("ConvLSTM2D", "initial_state.1", (1, 7, 7, 8), PICTURES, PICTURE),
    ("ConvLSTM2D", "initial_state.1", (1, 7, 7, 8), PICTURES, FRAMES),
    ("LSTM", "mask.0", (1, 5), SOUND, MADE),
    ("TimeDistributed", "mask.0", (1, 5), SOUND, MADE),
    ("Softmax", "mask.0", (1, 1, 4), SOUND, SOUND),
    ("MultiHeadAttention", "query_mask.0", (1, 5), QUERY, SCORES),
    ("MultiHeadAttention", "value_mask.0", (1, 6), QUERY, SCORES),
    ("MultiHeadAttention", "key_mask.0", (1, 1), QUERY, SCORES),
    ("MultiHeadAttention", "attention_mask.0", (1, 5, 6), QUERY, SCORES),
    ("MultiHeadAttention", "attention_mask.0", (1, 1, 1, 6), QUERY, SCORES),
    ("Attention", "mask.0", (1, 5), QUERY, PLAIN),
    ("Attention", "mask.1", (1, 6), QUERY, PLAIN),
]
BAD = [
    ("LSTM", "initial_state.0", (1, 9, 3), SOUND, MADE),
    ("LSTM", "initial_state.0", (9, 3), SOUND, MADE),
    ("ConvLSTM2D", "initial_state.0", (1, 7, 70, 8), PICTURES, PICTURE),
    ("LSTM", "mask.0", (1, 9), SOUND, MADE),
    ("GlobalAveragePooling1D", "mask.0", (1, 5, 4, 1), SOUND, MADE),
    ("Softmax", "mask.0", (1, 9, 1, 1), SOUND, SOUND),
    ("Softmax", "mask.0", (7, 1, 1), SOUND, SOUND),
    ("MultiHeadAttention", "query_mask.0", (1, 6), QUERY, SCORES),
    ("MultiHeadAttention", "value_mask.0", (1, 5), QUERY, SCORES),
    ("MultiHeadAttention", "attention_mask.0", (1, 6), QUERY, SCORES),
    ("MultiHeadAttention", "attention_mask.0", (1, 50, 6), QUERY, SCORES),
    ("MultiHeadAttention", "attention_mask.0", (1, 9, 5, 6), QUERY, SCORES),
    ("Attention", "mask.1", (1, 5), QUERY, PLAIN),
    ("MultiHeadAttention", "query_mask.0", (1, 9), ((1, 3, 3, 4),), ((1, 3, 3, 4), (1, 2, 9, 9))),
    ("Functional", "initial_state.0", (1, 3), (), MADE),
    ("Functional", "mask.0", (1, 3), SOUND, ()),
    ("Functional", "mask.0", (1, 6), QUERY, MADE),
    ("LSTM", "initial_state.1", (1, 9), SOUND, MADE),
    ("LSTM", "initial_state.0", (1, 1), SOUND, MADE),
    ("LSTM", "initial_state.2", (1, 3), SOUND, MADE),
]
Case = tuple[str, str, Shape, tuple[Shape, ...], tuple[Shape, ...]]


def layer_of(case: Case) -> Layer:
    return Layer(case[0], "it", {"units": 3}, "", {})


@pytest.mark.parametrize("case", GOOD)
def test_what_covers_its_input_fits(case: Case) -> None:
    assert fits(layer_of(case), *case[1:])


@pytest.mark.parametrize("case", BAD)
def test_what_would_make_a_call_larger_does_not(case: Case) -> None:
    assert not fits(layer_of(case), *case[1:])


def test_a_mask_over_channels_first_does_not() -> None:
    pooled = Layer("GlobalAveragePooling1D", "it", {"data_format": "channels_first"}, "", {})
    assert not fits(pooled, "mask.0", (1, 5), SOUND, MADE)


def test_a_layer_with_a_first_state_and_a_mask_is_let_through(tmp_path: Path) -> None:
    lstm = called(
        layer("LSTM", "l", units=2),
        tensor("given"),
        initial_state=[tensor("h"), tensor("c")],
        mask=tensor("m"),
    )
    graph = functional(
        *(given(5, 4), given(2, name="h"), given(2, name="c"), given(5, name="m"), lstm),
        inputs=[[name, 0, 0] for name in ("given", "h", "c", "m")],
        outputs=["l", 0, 0],
    )
    assert judged(tmp_path, keras_file(graph, (4, 8), (2, 8), (8,))).cost.parameters == 56


def test_states_are_those_of_each_cell_and_each_way(tmp_path: Path) -> None:
    cells = [layer("LSTMCell", "wide", units=3), layer("GRUCell", "narrow", units=2)]
    loop = layer("RNN", "r", cell=layer("StackedRNNCells", "s", cells=cells))
    states = {"h1": 3, "c1": 3, "h2": 2}

    def graph(around: Config, widths: dict[str, int]) -> bytes:
        told = called(around, tensor("given"), initial_state=[tensor(name) for name in widths])
        inputs = [[name, 0, 0] for name in ("given", *widths)]
        given_states = (given(width, name=name) for name, width in widths.items())
        outputs = [around["config"]["name"], 0, 0]
        return keras_file(
            functional(given(5, 4), *given_states, told, inputs=inputs, outputs=outputs), (0,)
        )

    both = layer("Bidirectional", "b", layer=layer("GRU", "g", units=2))
    assert reason(tmp_path, graph(loop, states)) == "weights-differ"
    assert reason(tmp_path, graph(loop, states | {"h2": 3})) == "shape-mismatch"
    assert reason(tmp_path, graph(both, {"h1": 2, "h2": 2})) == "weights-differ"
    assert reason(tmp_path, graph(both, {"h1": 2, "h2": 4})) == "shape-mismatch"


def test_a_call_on_a_state_alone_is_refused(tmp_path: Path) -> None:
    graph = functional(
        given(4),
        called(layer("LSTM", "l", units=2), initial_state=[tensor("given")]),
        outputs=["l", 0, 0],
    )
    assert reason(tmp_path, keras_file(graph, (0,))) == "broken-graph"


def around(inner: Config, mask: Any, *, width: int = 5) -> bytes:
    """Call a model on a tensor, and have a mask handed to it."""
    return keras_file(
        functional(
            given(5, 4),
            given(width, name="m"),
            called(inner, tensor("given"), mask=mask),
            inputs=[["given", 0, 0], ["m", 0, 0]],
            outputs=["inner", 0, 0],
        ),
        (0,),
    )


PASSING = sequential(given(5, 4, name="x"), layer("Dropout", "d", rate=0.5), name="inner")


def test_a_mask_for_a_model_goes_on_inside(tmp_path: Path) -> None:
    softmax = sequential(given(5, 4, name="x"), layer("Softmax", "s"), name="inner")
    # all is well but the weights, which are none of these models'
    assert reason(tmp_path, around(PASSING, tensor("m"))) == "weights-differ"
    assert reason(tmp_path, around(PASSING, tensor("m"), width=6)) == "shape-mismatch"
    assert reason(tmp_path, around(softmax, tensor("m"))) == "masked-layer"


def test_masks_that_are_not_there_are_none(tmp_path: Path) -> None:
    inner = functional(
        given(4, name="a"),
        given(3, name="b"),
        called(layer("Concatenate", "c"), [tensor("a"), tensor("b")]),
        inputs=[["a", 0, 0], ["b", 0, 0]],
        outputs=["c", 0, 0],
        name="inner",
    )

    def file(mask: Any) -> bytes:
        outer = functional(
            given(4),
            given(3, name="other"),
            called(inner, [tensor("given"), tensor("other")], mask=mask),
            inputs=[["given", 0, 0], ["other", 0, 0]],
            outputs=["inner", 1, 0],
        )
        return keras_file(outer, (0,))

    assert reason(tmp_path, file([None, None])) == "weights-differ"
    assert reason(tmp_path, file([None, tensor("other")])) == "weights-differ"
    assert reason(tmp_path, file([None, tensor("given")])) == "shape-mismatch"


def masked(*layers: Config) -> bytes:
    return keras_file(sequential(given(5, 4), layer("Masking", "m"), *layers), (0,))


LSTM_ = layer("LSTM", "l", units=3)
SEQUENCE = layer("LSTM", "l", units=3, return_sequences=True)
SOFTMAX_ = layer("Softmax", "s")


@pytest.mark.parametrize(
    "end",
    [
        LSTM_,
        layer("Bidirectional", "b", layer=LSTM_),
        layer("Flatten", "f"),
        layer("GlobalMaxPooling1D", "g"),
    ],
)
def test_a_mask_ends_where_a_sequence_does(tmp_path: Path, end: Config) -> None:
    assert reason(tmp_path, masked(end, SOFTMAX_)) == "weights-differ"


@pytest.mark.parametrize(
    "between",
    [
        [],
        [SEQUENCE],
        [layer("Bidirectional", "b", layer=SEQUENCE)],
        [layer("Dropout", "d", rate=0.5), layer("Dense", "e", units=3)],
    ],
)
def test_a_mask_goes_on_where_a_sequence_does(tmp_path: Path, between: list[Config]) -> None:
    assert reason(tmp_path, masked(*between, SOFTMAX_)) == "masked-layer"


def test_an_operation_hands_no_mask_on(tmp_path: Path) -> None:
    def file(between: Config) -> bytes:
        graph = functional(
            given(5, 4),
            called(layer("Masking", "m"), tensor("given")),
            called(between, tensor("m")),
            called(SOFTMAX_, tensor(between["config"]["name"])),
            outputs=["s", 0, 0],
        )
        return keras_file(graph, (0,))

    assert reason(tmp_path, file(operation("Absolute", "a"))) == "weights-differ"
    assert reason(tmp_path, file(layer("ReLU", "r"))) == "masked-layer"
