"""server/web/v1/tensor_bodies.py: numbers as numpy says, and every other form refused."""

import base64
import itertools
import json
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import simdjson
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from server.errors import BadBase64, MalformedRequest, ServerError, TooLarge, UnusableInput
from server.inference.frames import Part
from server.web.v1.tensor_bodies import (
    Numbers,
    Packed,
    parse_call,
    tensors_of_bytes,
    tensors_of_call,
)

REFUSALS = (MalformedRequest, UnusableInput)  # BadBase64 is one of the first
Shape = list[int | None]


def tensor(name: str = "x", *, shape: Shape, dtype: str = "float32") -> dict[str, Any]:
    """Return an input as a model's binding holds it."""
    return {"tensor": name, "shape": [None, *shape], "dtype": dtype}


def call(inputs: Any, *expected: dict[str, Any]) -> list[Part]:
    """Read a call with these inputs for a model that takes these tensors."""
    return tensors_of_call(parse_call(json.dumps({"inputs": inputs}).encode())["inputs"], expected)


def numbers(part: Part) -> NDArray[Any]:
    return np.frombuffer(part.data, part.dtype).reshape(part.shape)


def packed(array: NDArray[Any], **changed: object) -> dict[str, object]:
    text = base64.b64encode(array.tobytes()).decode()
    return {"shape": list(array.shape), "base64": text} | changed


# numbers that fit

shapes = arrays.array_shapes(min_dims=1, max_dims=5, max_side=5)
finite = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(1 << 63), 1 << 63)
floats = arrays.arrays(np.float32, shapes, elements=st.floats(-(2.0**99), 2.0**99, width=32))


@given(data=st.data(), shape=shapes)
def test_nested_lists_are_read_as_numpy_reads_them(
    data: st.DataObject, shape: tuple[int, ...]
) -> None:
    values = data.draw(st.lists(finite, min_size=math.prod(shape), max_size=math.prod(shape)))
    nested = np.array(values, dtype=object).reshape(shape).tolist()
    (part,) = call({"x": nested}, tensor(shape=list(shape)))
    assert part.shape == (1, *shape)
    np.testing.assert_array_equal(numbers(part)[0], np.array(nested, np.float64))


@given(array=floats)
def test_base64_is_read_as_its_bytes_are(array: NDArray[np.float32]) -> None:
    (part,) = call({"x": packed(array)}, tensor(shape=list(array.shape)))
    np.testing.assert_array_equal(numbers(part)[0], array)


@given(array=floats)
def test_axes_that_the_model_leaves_open_take_any_length(array: NDArray[np.float32]) -> None:
    is_open: Shape = [None] * array.ndim
    for given_as in (array.tolist(), packed(array)):
        (part,) = call({"x": given_as}, tensor(shape=is_open))
        np.testing.assert_array_equal(numbers(part)[0], array)


@pytest.mark.parametrize("form", ["list", "base64"])
def test_a_leading_1_is_the_batch_axis(form: str) -> None:
    array = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    value = array.tolist() if form == "list" else packed(array)
    assert call({"x": value}, tensor(shape=[2, 3]))[0].shape == (1, 2, 3)


def test_a_first_axis_of_1_is_not_taken_for_the_batch_axis() -> None:
    assert call({"x": [[1.0, 2.0]]}, tensor(shape=[1, 2]))[0].shape == (1, 1, 2)
    assert call({"x": [[[1.0, 2.0]]]}, tensor(shape=[1, 2]))[0].shape == (1, 1, 2)


def test_a_model_without_axes_takes_one_number() -> None:
    assert call({"x": [5]}, tensor(shape=[]))[0].shape == (1,)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_whole_numbers_are_given_in_the_models_type(dtype: str) -> None:
    (part,) = call({"x": [1, -2.0, 2e9]}, tensor(shape=[3], dtype=dtype))
    assert part.dtype == dtype
    assert numbers(part).tolist() == [[1, -2, 2_000_000_000]]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int32", 1.5), ("int32", 1 << 31), ("int64", 1e300), ("int64", (1 << 53) + 2)],
)
def test_a_number_that_its_type_cannot_hold_is_refused(dtype: str, value: float) -> None:
    with pytest.raises(UnusableInput, match=dtype):
        call({"x": [value]}, tensor(shape=[1], dtype=dtype))


def test_tensors_come_in_the_models_order() -> None:
    parts = call({"b": [2], "a": [1]}, tensor("a", shape=[1]), tensor("b", shape=[1]))
    assert [(part.name, numbers(part).item()) for part in parts] == [("a", 1), ("b", 2)]


@pytest.mark.parametrize("name", ["", "a/b", "~1", "~0", 'a"b', "\U0001f600", "\x01", "keras:0"])
def test_a_tensor_may_have_any_name(name: str) -> None:
    (part,) = call({name: [7]}, tensor(name, shape=[1]))
    assert (part.name, numbers(part).item()) == (name, 7)


RAGGED = [
    *([[1], 2, [[3]]], [[1, 2], [3], [4, 5, 6]], [[1, 2], [3, [4]]], [[[1], 2], [3, 4]]),
    *([1, [2]], [[1], [2, 3]], [[1, 2], [3]], [[1, 2], 3, 4, 5], [[[]], [1]]),
    [[[1, 2], [3, 4]], [[5, 6], [7], [8]]],
]


@pytest.mark.parametrize("name", ["x", "x[0]", 'a "quoted", {braced} [name', "x\\"])
@pytest.mark.parametrize("nested", RAGGED, ids=str)
def test_lists_that_are_no_tensor_are_refused(nested: Any, name: str) -> None:
    count = len(np.array(str(nested).replace("[", "").replace("]", "").split(",")))
    shapes: list[Shape] = [[None], [None, None], [count], [count, 1], [3, 2]]
    for shape in shapes:
        with pytest.raises(UnusableInput, match="equally long"):
            call({name: nested}, tensor(name, shape=shape))


@pytest.mark.parametrize("name", ["x[0]", 'a "quoted", {braced} [name', "x\\"])
def test_a_name_with_brackets_keeps_no_tensor_out(name: str) -> None:
    (part,) = call({name: [[1, 2], [3, 4]]}, tensor(name, shape=[2, 2]))
    assert numbers(part).tolist() == [[[1, 2], [3, 4]]]


def test_the_lists_of_a_picture_are_not_gone_through_one_by_one() -> None:
    picture = np.random.default_rng(5).standard_normal((235, 335, 1)).tolist()
    text = json.dumps({"inputs": {"x": picture}, "_path": "/v1/models", "_ts": 1.5}).encode()

    def least(read: Callable[[bytes], object]) -> float:
        times = []
        for _ in range(7):
            start = time.process_time()
            read(text)
            times.append(time.process_time() - start)
        return min(times)

    # reading each list as an object would take 25 times as long
    assert least(parse_call) < 6 * least(lambda given: simdjson.Parser().parse(given))


def test_lists_that_begin_as_a_tensor_of_any_memory_are_refused() -> None:
    row = [0] * 1000
    nested = [[[[row] + [0] * 999] + [0] * 999] + [0] * 999]
    with pytest.raises(UnusableInput, match="equally long"):
        call({"x": nested}, tensor(shape=[None] * 5))


# numbers that do not fit


@pytest.mark.parametrize(
    ("given_as", "shape", "says"),
    [
        ([1, 2], [3], "axis 0"),
        ([[1], [2]], [2, 2], "axis 1"),
        ([1], [1, 1], "1 axes"),
        ([[[[1]]]], [1], "4 axes"),
        ([], [1], "axis 0"),
        ([[], []], [2, None], "axis 1"),
        ([[], [1]], [2, None], "axis 1"),
        ([[1], []], [2, None], "1 values"),
        ({"shape": [2], "base64": "AAAAAA=="}, [2], "1 values"),
        ({"shape": [2], "base64": "AAAAAAAAAA=="}, [2], "1.75 values"),
        ({"shape": [3], "base64": ""}, [2], "axis 0"),
        ({"shape": [0], "base64": ""}, [None], "axis 0"),
        ({"shape": [18446744073709551615], "base64": ""}, [None], "0 values"),
    ],
)
def test_a_shape_that_does_not_fit_is_named(given_as: Any, shape: Shape, says: str) -> None:
    with pytest.raises(UnusableInput, match=says):
        call({"x": given_as}, tensor(shape=shape))


@pytest.mark.parametrize("inputs", [{}, {"y": [1]}, {"x": [1], "y": [1]}])
def test_other_tensors_than_the_models_are_refused(inputs: Any) -> None:
    with pytest.raises(UnusableInput, match="takes the tensors"):
        call(inputs, tensor(shape=[1]))


def test_a_refusal_repeats_no_long_name() -> None:
    with pytest.raises(UnusableInput) as refused:
        call({"y" * 100_000: [1]}, tensor(shape=[1]))
    assert len(refused.value.detail) < 200


# forms that are no call


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{", b"[]", b"1", b"null", b'"x"', b"{} {}", b"\x00", b'{"a":1'),
        *(b'{"a":1,"a":2}', b'{"inputs":{"x":[1],"x":[2]}}', b'{"a\\u0062":1,"ab":1}'),
        *(b'{"inputs":{"x":[NaN]}}', b'{"inputs":{"x":[-Infinity]}}'),
        *(b'{"inputs":{"x":[1e999]}}', b'{"a":1e999}'),
        *(b'{"a":123456789012345678901234567890}', b'{"inputs":{"x":[99999999999999999999]}}'),
        *(b'{"a":"\\ud800"}', b'{"\\udfff":1}', b'{"inputs":{"\\ud800":[1]}}', b'{"a":"\xff"}'),
        *(b'{"a\\u0000":1}', b'{"inputs":{"\\u0000":[1],"":[2]}}'),
        *(b'{"inputs":{"x":[true]}}', b'{"inputs":{"x":[1,null]}}', b'{"inputs":{"x":["1"]}}'),
        *(b'{"inputs":{"x":[{}]}}', b'{"inputs":{"x":1}}', b'{"inputs":{"x":"1"}}'),
        *(b'{"inputs":{"x":null}}', b'{"inputs":[1]}', b'{"a":[]}', b'{"a":{}}'),
        b'{"inputs":{"x":' + b"[" * 2000 + b"]" * 2000 + b"}}",
        b'{"inputs":{"x":' + b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"inputs":{"x":[01]}}',
        b'{"inputs":{"x":[1,]}}',
    ],
    ids=lambda text: ascii(text[:30]),
)
def test_text_that_is_no_call_is_malformed(text: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse_call(text)


BAD_SHAPES: list[Any] = [
    *(1, None, "1", {}, [[1]], [1.0], [1e1], [True], [-1], ["1"], [None], [1] * 9, [1] * 100_000),
]


@pytest.mark.parametrize(
    "value",
    [
        *({}, {"shape": [1]}, {"base64": "AAAAAA=="}, {"shape": [1], "base64": 5}),
        {"shape": [1], "base64": "AAAAAA==", "more": 1},
        *({"shape": shape, "base64": ""} for shape in BAD_SHAPES),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_packed_tensor_of_another_form_is_malformed(value: Any) -> None:
    with pytest.raises(MalformedRequest):
        call({"x": value}, tensor(shape=[1]))


@pytest.mark.parametrize("text", ["AAAAA", "AAAA AA==", "AAAAAA=", "====", "AAAA-A==", "\u00e9"])
def test_base64_of_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(BadBase64):
        call({"x": {"shape": [1], "base64": text}}, tensor(shape=[1]))


@pytest.mark.parametrize("where", ["payload", "inputs"])
def test_more_fields_than_any_call_needs_are_refused(where: str) -> None:
    fields = {f"field {k}": [1] if where == "inputs" else 1 for k in range(65)}
    text = json.dumps(fields if where == "payload" else {"inputs": fields})
    with pytest.raises(MalformedRequest, match="64 fields"):
        parse_call(text.encode())


def test_more_values_than_a_tensor_may_have_are_refused_unread() -> None:
    with pytest.raises(TooLarge, match="values"):
        parse_call(b'{"inputs":{"x":[' + b"0," * (1 << 24) + b"0]}}")


def test_the_other_fields_are_handed_on() -> None:
    told = parse_call(b'{"_ts": 1.5, "_path": "/x", "n": 3, "yes": true, "none": null}')
    assert told == {"_ts": 1.5, "_path": "/x", "n": 3, "yes": True, "none": None}


# anything at all

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
names = st.sampled_from(["x", "inputs", "shape", "base64", "_ts", "\x00", ""]) | st.text(max_size=4)
values = st.recursive(
    scalars | st.just("AAAAAA=="),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
EXPECTED = [
    [tensor(shape=[1])],
    [tensor(shape=[None, 2])],
    [tensor(shape=[None], dtype="int64")],
    [tensor(shape=[]), tensor("", shape=[2], dtype="int32")],
]


def _only_refuses(text: bytes) -> None:
    try:
        fields = parse_call(text)
    except REFUSALS:
        return
    inputs = fields.get("inputs")
    if not isinstance(inputs, dict):
        return
    assert all(isinstance(value, Numbers | Packed) for value in inputs.values())
    for expected in EXPECTED:
        try:
            parts = tensors_of_call(inputs, expected)
        except REFUSALS:
            continue
        for part, item in zip(parts, expected, strict=True):
            assert numbers(part).shape[0] == 1
            assert numbers(part).ndim == len(item["shape"])


@given(inputs=values, more=st.dictionaries(names, values, max_size=2))
@settings(max_examples=400)
def test_no_json_raises_anything_but_a_refusal(inputs: Any, more: dict[str, Any]) -> None:
    _only_refuses(json.dumps(more | {"inputs": inputs}).encode())
    _only_refuses(json.dumps(more | {"inputs": {"x": inputs}}, ensure_ascii=True).encode())


@given(text=st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_refusal(text: bytes) -> None:
    _only_refuses(text)
    _only_refuses(b'{"inputs":{"x":' + text + b"}}")


@given(data=st.data())
@settings(max_examples=400)
def test_no_altered_call_raises_anything_but_a_refusal(data: st.DataObject) -> None:
    text = bytearray(b'{"inputs":{"x":[[1.5,2],[3,4e2]],"y":{"shape":[1],"base64":"AAAAAA=="}}}')
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        piece = data.draw(st.sampled_from([b"", b"[", b"]", b"\\u0000", b"-", b"null", b'"', b"9"]))
        text[at : at + data.draw(st.integers(0, 3))] = piece
    _only_refuses(bytes(text))


# raw bodies


@given(array=arrays.arrays(np.float32, shapes, elements=st.floats(width=32)))
@example(array=np.array([np.nan], np.float32))
def test_raw_bytes_are_cut_as_the_model_says(array: NDArray[np.float32]) -> None:
    wanted = [tensor("x", shape=list(array.shape)), tensor("n", shape=[2], dtype="int64")]
    x, n = tensors_of_bytes(array.tobytes() + np.array([3, -4], np.int64).tobytes(), wanted)
    np.testing.assert_array_equal(numbers(x)[0], array)
    assert numbers(n).tolist() == [[3, -4]]


@pytest.mark.parametrize("size", [0, 1, 7, 9, 16])
def test_a_raw_body_of_another_length_is_refused_with_the_right_one(size: int) -> None:
    with pytest.raises(UnusableInput, match=r"x \[2\] take 8"):
        tensors_of_bytes(bytes(size), [tensor(shape=[2])])


def test_a_raw_body_for_open_axes_is_refused() -> None:
    with pytest.raises(UnusableInput, match="send JSON"):
        tensors_of_bytes(bytes(8), [tensor(shape=[None])])


@given(body=st.binary(max_size=40))
def test_no_raw_body_raises_anything_but_a_refusal(body: bytes) -> None:
    for expected in EXPECTED:
        try:
            parts = tensors_of_bytes(body, expected)
        except ServerError as error:
            assert isinstance(error, UnusableInput)  # noqa: PT017
        else:
            sizes = itertools.accumulate(len(part.data) for part in parts)
            assert list(sizes)[-1] == len(body)
