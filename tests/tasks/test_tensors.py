"""server/tasks/tensors.py: any model, fed with what its callers bring."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from server.errors import BadManifest, BadModel, UnusableInput
from server.inference.contracts import Contracts
from server.tasks.contract import Signature, TensorSpec
from server.tasks.table import TASKS
from server.tasks.task import Call
from server.tasks.tensors import bind, frontend, reply

MFCC = TensorSpec("mfcc", (None, 44, 13, 1), "float32")
WORD = TensorSpec("word", (None, 10), "float32")
EMBEDDING = TensorSpec("embedding", (None, 64), "float32")


def bound(*inputs: TensorSpec, **manifest: Any) -> dict[str, Any]:
    return bind(Signature(inputs, (WORD,)), {"task": "tensors", **manifest})


def test_inputs_and_outputs_are_the_models_own() -> None:
    assert bound(MFCC) == {
        "task": "tensors",
        "takes": "tensors",
        "inputs": [{"tensor": "mfcc", "shape": [None, 44, 13, 1], "dtype": "float32"}],
        "outputs": [{"tensor": "word", "shape": [None, 10]}],
    }


@pytest.mark.parametrize(
    ("declared", "fed"),
    [
        ("float32", "float32"),
        ("float16", "float32"),
        ("bfloat16", "float32"),
        ("float64", "float32"),
        ("int32", "int32"),
        ("int64", "int64"),
        ("uint8", "int32"),
        ("uint32", "int64"),
        ("bool", "int32"),
    ],
)
def test_every_float_is_fed_as_float32_and_whole_numbers_stay_whole(
    declared: str, fed: str
) -> None:
    (item,) = bound(TensorSpec("x", (None, 3), declared))["inputs"]
    assert item["dtype"] == fed


@pytest.mark.parametrize(
    ("declared", "bounds"),
    [
        *(("bool", [0, 1]), ("uint8", [0, 255]), ("int8", [-128, 127]), ("uint16", [0, 65535])),
        *(("int16", [-32768, 32767]), ("uint32", [0, 2**32 - 1]), ("uint64", [0, 2**63 - 1])),
        *(("int32", None), ("int64", None), ("float32", None)),
    ],
)
def test_a_type_that_is_narrower_than_what_is_fed_has_its_bounds(
    declared: str, bounds: list[int] | None
) -> None:
    (item,) = bound(TensorSpec("x", (None, 3), declared))["inputs"]
    assert item.get("bounds") == bounds


def test_open_axes_stay_open() -> None:
    (item,) = bound(TensorSpec("x", (None, None, 128), "float32"))["inputs"]
    assert item["shape"] == [None, None, 128]


def test_labels_belong_to_the_only_output() -> None:
    labels = [f"word {k}" for k in range(10)]
    binding = bound(MFCC, labels=labels)
    assert (binding["output"], binding["labels"]) == ("word", labels)


def test_labels_of_one_of_several_outputs_need_its_name() -> None:
    signature = Signature((MFCC,), (WORD, EMBEDDING))
    labels = [f"word {k}" for k in range(10)]
    with pytest.raises(BadModel, match="must name one output"):
        bind(signature, {"labels": labels})
    assert bind(signature, {"labels": labels, "output": "word"})["output"] == "word"


def test_another_number_of_labels_is_refused() -> None:
    with pytest.raises(BadModel, match="has 10 values on its last axis and 2 labels"):
        bound(MFCC, labels=["yes", "no"])


def test_an_output_that_the_model_has_not_is_refused() -> None:
    with pytest.raises(BadModel, match="must name one output"):
        bound(MFCC, output="elsewhere")


def test_an_input_that_the_model_has_not_is_refused() -> None:
    with pytest.raises(BadModel, match="elsewhere"):
        bound(MFCC, inputs={"elsewhere": {}})


MEMBERS = [{"mean": 1.0}, {"scale": 2.0}, {"columns": ["a"]}, {"frontend": "mel-235x335@1"}]


@pytest.mark.parametrize("declared", MEMBERS)
def test_what_prepares_a_sound_is_refused_at_intake(declared: dict[str, Any]) -> None:
    with pytest.raises(BadModel, match=r"not for the task 'tensors'"):
        bound(MFCC, inputs={"mfcc": declared})


@pytest.mark.parametrize("declared", MEMBERS)
def test_what_prepares_a_sound_is_refused_at_registration(declared: dict[str, Any]) -> None:
    contracts = Contracts({name: asdict(task.contract) for name, task in TASKS.items()}, {})
    with pytest.raises(BadManifest, match=r"inputs\.mfcc: .* is not for the task 'tensors'"):
        contracts.check({"task": "tensors", "inputs": {"mfcc": declared}})


def test_a_manifest_that_names_its_inputs_is_taken() -> None:
    contracts = Contracts({name: asdict(task.contract) for name, task in TASKS.items()}, {})
    contracts.check({"task": "tensors", "inputs": {"mfcc": {}}})


def test_a_sound_is_refused() -> None:
    with pytest.raises(UnusableInput, match="takes tensors"):
        frontend(Call(b"RIFF", "wav", b""), bound(MFCC))


def test_outputs_are_answered_by_name() -> None:
    assert reply({"word": np.eye(2, dtype=np.float32)}, bound(MFCC)) == {
        "outputs": {"word": [[1.0, 0.0], [0.0, 1.0]]}
    }
