"""server/gate/cost/rules_*.py: shapes and weights of every layer, as Keras has them."""

import json
import os
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

import pytest

from server.errors import BadModel
from server.gate.config.layer_table import LAYERS
from server.gate.config.operation_table import MODULE_OF, OPERATIONS
from server.gate.config.reader import ConfigReader
from server.gate.config.tree import BATCH
from server.gate.cost import counting
from server.gate.cost.effect import Effect
from server.gate.cost.rules_operations import indexed
from tests.gate import rule_cases
from tests.gate.files import given, layer, sequential
from tests.gate.rule_cases import CASES, FIRST, HEADS, Case

ROOT = Path(__file__).parents[2]


def named(case: Case) -> str:
    return f"{case[0]}-{'-'.join(case[1]) or 'plain'}"


def effect(
    kind: str, config: dict[str, Any], shapes: Any, *, module: str = "keras.layers"
) -> Effect:
    entry = {**layer(kind, "it"), "module": module, "config": config}
    model = ConfigReader(is_old=False).model(sequential(given(4), entry)).model
    assert model is not None
    (_, found) = model.layers
    return counting.Counter().run(found, tuple(map(batched, shapes)))


def batched(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Mark the first axis as the batch, where it is 1."""
    return (BATCH, *shape[1:]) if shape[:1] == (1,) else shape


@pytest.mark.parametrize("case", [*CASES, *HEADS, *FIRST], ids=named)
def test_a_layer_gives_and_keeps_what_its_case_says(case: Case) -> None:
    kind, config, inputs, outputs, weights = case
    found = effect(kind, config, inputs)
    assert list(found.outputs)[: len(outputs)] == outputs
    assert sorted(found.weights) == sorted(weights)
    assert found.flops >= 0
    assert found.largest >= max(map(prod, outputs))


@pytest.mark.parametrize("case", rule_cases.OPERATIONS, ids=named)
def test_an_operation_gives_what_its_case_says(case: Case) -> None:
    kind, config, inputs, outputs, _ = case
    found = effect(kind, config, inputs, module=MODULE_OF[kind])
    assert list(found.outputs) == outputs


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_keras_says_the_same_of_every_case() -> None:
    pytest.importorskip("keras", reason="needs the keras extra")
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.gate.against_keras"],
        cwd=ROOT,
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    cases = [*CASES, *HEADS, *rule_cases.OPERATIONS]
    for case, (outputs, weights) in zip(cases, told, strict=True):
        for found, meant in zip(outputs, case[3], strict=False):
            # Keras leaves axes open that it does not follow, the batch above all
            closed = [axis or n for axis, n in zip(found, meant, strict=True)]
            assert closed == list(meant), case
        assert sorted(weights) == sorted(list(shape) for shape in case[4]), case


@pytest.mark.parametrize(
    ("kind", "config", "code"),
    [
        ("Squeeze", {}, "shape-mismatch"),  # with one sample the batch would go, too
        ("Squeeze", {"axis": 0}, "batch-axis"),
        ("Max", {}, "batch-axis"),
        ("Max", {"axis": 0}, "batch-axis"),
        ("Transpose", {}, "batch-axis"),
        ("Transpose", {"axes": [1, 0, 2]}, "batch-axis"),
        ("Swapaxes", {"axis1": 0, "axis2": 1}, "batch-axis"),
        ("ExpandDims", {"axis": 0}, "batch-axis"),
        ("ExpandDims", {"axis": [1, 1]}, "shape-mismatch"),
        ("Reshape", {"newshape": [5, -1]}, "batch-axis"),
        ("Reshape", {"newshape": [-1]}, "batch-axis"),
    ],
)
def test_an_operation_keeps_the_batch_in_its_place(
    kind: str, config: dict[str, Any], code: str
) -> None:
    with pytest.raises(BadModel) as refused:
        effect(kind, config, [(1, 5, 1)], module="keras.src.ops.numpy")
    assert refused.value.members["reason"] == code


def test_every_class_of_the_tables_has_a_rule() -> None:
    cells = {"LSTMCell", "GRUCell", "SimpleRNNCell", "StackedRNNCells"}  # counted by their layer
    kinds = {*LAYERS, *(f"ops.{name}" for name in OPERATIONS)}
    assert kinds - set(counting.RULES) == cells
    assert set(counting.RULES) <= kinds


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        (0, (5, 4)),
        ([{"class_name": "__ellipsis__", "config": {}}, 0], (1, 5)),
        (
            [
                {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}},
                -1,
            ],
            (1, 4),
        ),
        (
            [
                {"class_name": "__slice__", "config": {"start": 0, "stop": 1, "step": None}},
                {"class_name": "__slice__", "config": {"start": 1, "stop": 9, "step": 2}},
            ],
            (1, 2, 4),
        ),
        ([None, 0], (1, 5, 4)),
    ],
)
def test_a_part_of_a_tensor_has_the_shape_that_numpy_gives(key: Any, shape: Any) -> None:
    assert indexed((1, 5, 4), key) == shape


BAD: list[tuple[str, dict[str, Any], Any]] = [
    ("Dense", {"units": 3}, [()]),
    ("Dense", {"units": 3}, []),
    ("Conv2D", {"filters": 3, "kernel_size": 3}, [(1, 5)]),
    ("Conv2D", {"filters": 3, "kernel_size": [3, 3, 3]}, [(1, 5, 5, 1)]),
    ("Conv2D", {"filters": 3, "kernel_size": 9}, [(1, 5, 5, 1)]),
    ("Conv2D", {"filters": 3, "kernel_size": 3, "groups": 0}, [(1, 5, 5, 1)]),
    ("Conv2D", {"filters": 3, "kernel_size": 0}, [(1, 5, 5, 1)]),
    ("GlobalMaxPooling2D", {}, [(1, 5, 1)]),
    ("Reshape", {"target_shape": [3, -1]}, [(1, 5)]),
    ("Reshape", {"target_shape": [-1, -1]}, [(1, 5)]),
    ("Reshape", {"target_shape": None}, [(1, 5)]),
    ("Reshape", {"target_shape": [0, -1]}, [(1, 5)]),
    ("Permute", {"dims": [1, 1]}, [(1, 5, 4)]),
    ("Permute", {}, [(1, 5, 4)]),
    ("RepeatVector", {"n": 3}, [(1, 5, 4)]),
    ("ZeroPadding2D", {"padding": [1, 2, 3]}, [(1, 5, 5, 1)]),
    ("ZeroPadding1D", {"padding": -1}, [(1, 5, 1)]),
    ("Cropping1D", {"cropping": 3}, [(1, 5, 1)]),
    ("Concatenate", {"axis": 5}, [(1, 5), (1, 5)]),
    ("Concatenate", {}, [(1, 5), (1, 5, 4)]),
    ("Dot", {"axes": None}, [(1, 4), (1, 4)]),
    ("Attention", {}, [(1, 5, 4)]),
    ("LSTM", {"units": 3}, [(1, 4)]),
    ("EinsumDense", {"equation": "abc,cd->abd", "output_shape": 6}, [(1, 4)]),
    ("EinsumDense", {"equation": "abc,cz->abd", "output_shape": [None, 6]}, [(1, 3, 4)]),
    ("PReLU", {"shared_axes": [9]}, [(1, 5, 4)]),
    ("BatchNormalization", {"axis": [0, 1]}, [(1, 5, 4)]),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "attention_axes": [9]}, [(1, 5, 4)]),
    ("SpectralNormalization", {"layer": rule_cases._inner("Flatten")}, [(1, 5, 4)]),
    ("Embedding", {"input_dim": -1, "output_dim": 3}, [(1, 5)]),
    ("MaxPooling1D", {"pool_size": 9 * 10**8, "strides": 1, "padding": "same"}, [(1, 4, 8)]),
    ("EinsumDense", {"equation": "ab,bc", "output_shape": 6}, [(1, 4)]),
    ("EinsumDense", {"equation": "...ab,bc->...ac", "output_shape": [2, 3, 4]}, [(1, 5, 4)]),
]


@pytest.mark.parametrize(("kind", "config", "shapes"), BAD)
def test_a_layer_that_does_not_fit_its_input_is_refused(
    kind: str, config: dict[str, Any], shapes: Any
) -> None:
    with pytest.raises(BadModel) as refused:
        effect(kind, config, shapes)
    assert refused.value.members["reason"] == "shape-mismatch"
    assert isinstance(refused.value.members["where"], str)


@pytest.mark.parametrize(
    ("kind", "config"),
    [("Transpose", {"axes": [0, 0]}), ("Transpose", {"axes": [0, 9]}), ("Mean", {"axis": 7})],
)
def test_an_operation_that_does_not_fit_its_input_is_refused(
    kind: str, config: dict[str, Any]
) -> None:
    with pytest.raises(BadModel):
        effect(kind, config, [(1, 5)], module="keras.src.ops.numpy")


def test_an_input_gives_what_it_is_given() -> None:
    assert effect("InputLayer", {"batch_shape": [None, 4]}, [(1, 4)]).outputs == ((1, 4),)


def test_a_cell_alone_is_no_layer() -> None:
    with pytest.raises(BadModel) as refused:
        effect("LSTMCell", {"units": 3}, [(1, 4)])
    assert refused.value.members["reason"] == "cost-unknown"


def test_a_loop_that_is_written_out_too_often_is_refused() -> None:
    for kind in ("LSTM", "ConvLSTM1D"):
        config = {"units": 3} if kind == "LSTM" else {"filters": 2, "kernel_size": 1}
        shape = (1, 9999, 4) if kind == "LSTM" else (1, 9999, 4, 4)
        with pytest.raises(BadModel) as refused:
            effect(kind, {**config, "unroll": True}, [shape])
        assert refused.value.members["reason"] == "cost-unrolled"
