"""A model's signature held against the form of a task."""

from typing import Any

import pytest

from server.errors import BadModel
from server.tasks.binding import bind_form
from server.tasks.contract import Contract, Form, Signature, TensorSpec

N = None
PAIR = Form(
    "pair",
    inputs=(TensorSpec("audio", (N, 100, 1), "float32"),),
    outputs=(
        TensorSpec("note", (N, 20, 8), "float32"),
        TensorSpec("onset", (N, 20, 8), "float32"),
        TensorSpec("contour", (N, 20, 24), "float32"),
    ),
)
WIDE = Form(
    "wide",
    inputs=(TensorSpec("mix", (N, 2, None), "float32"),),
    outputs=(TensorSpec("stems", (N, 4, 2, None), "float32"),),
)
X = TensorSpec("x", (N, 100, 1), "float32")
OUTPUTS = (
    TensorSpec("c", (N, 20, 24), "float32"),
    TensorSpec("a", (N, 20, 8), "float32"),
    TensorSpec("b", (N, 20, 8), "float32"),
)


def contract(*forms: Form) -> Contract:
    return Contract("listening", 22_050, 0.1, (), "Hears.", answers="job", forms=forms)


def bind(signature: Signature, *forms: Form, **manifest: Any) -> dict[str, Any]:
    return bind_form(contract(*forms or (PAIR,)), signature, manifest)


def test_a_manifest_says_which_of_two_tensors_of_one_shape_is_which() -> None:
    bound = bind(Signature((X,), OUTPUTS), outputs={"a": {"as": "onset"}})
    assert [(item["as"], item["tensor"]) for item in bound["outputs"]] == [
        ("note", "b"),
        ("onset", "a"),
        ("contour", "c"),
    ]
    assert bound["inputs"] == [
        {"as": "audio", "tensor": "x", "shape": [None, 100, 1], "dtype": "float32"}
    ]


def test_a_tensor_is_told_by_its_own_name() -> None:
    outputs = tuple(
        TensorSpec(name, spec.shape, spec.dtype)
        for name, spec in zip(("contour", "onset", "note"), OUTPUTS, strict=True)
    )
    bound = bind(Signature((X,), outputs))
    assert [item["tensor"] for item in bound["outputs"]] == ["note", "onset", "contour"]


def test_an_axis_that_a_model_leaves_open_is_that_of_the_form() -> None:
    open_input = TensorSpec("x", (N, None, 1), "float32")
    bound = bind(Signature((open_input,), OUTPUTS), outputs={"a": {"as": "note"}})
    assert bound["inputs"][0]["shape"] == [None, 100, 1]


def test_an_axis_that_the_form_leaves_open_is_that_of_the_model() -> None:
    signature = Signature(
        (TensorSpec("m", (1, 2, 4096), "float32"),),
        (TensorSpec("s", (1, 4, 2, 4096), "float32"),),
    )
    bound = bind(signature, PAIR, WIDE)
    assert (bound["form"], bound["inputs"][0]["shape"]) == ("wide", [1, 2, 4096])


@pytest.mark.parametrize(
    ("signature", "manifest", "said"),
    [
        (Signature((X,), OUTPUTS), {}, "say which in the manifest"),
        (
            Signature((TensorSpec("x", (N, 90, 1), "float32"),), OUTPUTS),
            {},
            "axis 1 must be 100, not 90",
        ),
        (Signature((TensorSpec("x", (N, 100), "float32"),), OUTPUTS), {}, "3 axes"),
        (Signature((TensorSpec("x", (N, 100, 1), "int32"),), OUTPUTS), {}, "float32, not int32"),
        (
            Signature((X, TensorSpec("y", (N, 4), "float32")), OUTPUTS),
            {"outputs": {"a": {"as": "note"}}},
            r"nothing feeds the inputs \['y'\]",
        ),
        (
            Signature((X,), OUTPUTS[:2]),
            {"outputs": {"a": {"as": "note"}}},
            "'c' as 'onset' .* axis 2 must be 8",
        ),
        (Signature((X,), ()), {}, "no output has the shape of 'note'"),
        (Signature((X,), OUTPUTS), {"outputs": {"z": {"as": "note"}}}, r"outputs \['z'\]"),
        (Signature((X,), OUTPUTS), {"outputs": {"a": {"as": "pitch"}}}, r"\['pitch'\]"),
        (
            Signature((X,), OUTPUTS),
            {"outputs": {"a": {"as": "note"}, "b": {"as": "note"}}},
            "two outputs alike",
        ),
        (Signature((X,), OUTPUTS), {"outputs": {"a": {"as": "contour"}}}, "axis 2 must be 24"),
    ],
)
def test_what_does_not_fit_is_named(
    signature: Signature, manifest: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadModel, match=said):
        bind(signature, **manifest)


def test_of_several_forms_each_says_why_not() -> None:
    with pytest.raises(BadModel, match=r"pair: .*; wide: "):
        bind(Signature((TensorSpec("x", (N, 5), "float32"),), OUTPUTS), PAIR, WIDE)
