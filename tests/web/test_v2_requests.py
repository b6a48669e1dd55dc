"""server/web/v2: calls read from any bytes, cut into rows, and what inflates to them."""

import asyncio
import gzip
import json
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import BadEncoding, MalformedRequest, ServerError, TooLarge, UnusableInput
from server.web.v1.tensor_bodies import Numbers
from server.web.v2.datatypes import packed, unpacked
from server.web.v2.inflate import inflated
from server.web.v2.requests import Call, read_call
from server.web.v2.rows import rows_of, sounds_of

GZIP, DEFLATE = 31, 15
_MIB = 1 << 20
WANTED = [
    {"tensor": "x", "shape": [None, 2, None], "dtype": "float32"},
    {"tensor": "n", "shape": [None, 3], "dtype": "int64"},
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
NAMES = st.sampled_from(["x", "n", "audio", "csv", "é", ""])
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES | JSON,
        "shape": st.lists(st.integers(-1, 4), max_size=4) | JSON,
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES", "BOOL"]) | JSON,
        "data": st.lists(st.integers(-5, 5) | st.text(max_size=3), max_size=12) | JSON,
        "parameters": st.fixed_dictionaries(
            {}, optional={"binary_data_size": st.integers(-1, 40) | JSON, "content_type": JSON}
        )
        | JSON,
    },
)
DOCUMENT = st.fixed_dictionaries(
    {},
    optional={
        "id": JSON,
        "inputs": st.lists(TENSOR, max_size=3) | JSON,
        "outputs": st.lists(TENSOR, max_size=2) | JSON,
        "parameters": JSON,
    },
)


def read(body: bytes, header: str | None = None) -> Call:
    return asyncio.run(read_call(body, header))


@given(DOCUMENT, st.binary(max_size=48), st.integers(-2, 2) | st.none())
def test_whatever_is_sent_is_read_or_refused(
    document: Any, tensors: bytes, shift: int | None
) -> None:
    text = json.dumps(document).encode()
    header = None if shift is None else str(len(text) + shift)
    with suppress(ServerError):
        call = read(text + tensors if header else text, header)
        with suppress(ServerError):
            rows_of(call.inputs, WANTED)
        with suppress(ServerError):
            sounds_of(call.inputs)


@given(st.binary(max_size=64), st.none() | st.text(max_size=4))
def test_bytes_that_are_no_call_are_refused(body: bytes, header: str | None) -> None:
    with pytest.raises(ServerError):
        read(body, header)


def call_of(x: Any, n: Any, *, binary: bool = False) -> Call:
    x, n = np.asarray(x, "<f4"), np.asarray(n, "<i8")
    inputs = []
    for name, kind, values in (("x", "FP32", x), ("n", "INT64", n)):
        item: dict[str, Any] = {"name": name, "shape": list(values.shape), "datatype": kind}
        if binary:
            item["parameters"] = {"binary_data_size": values.nbytes}
        else:
            item["data"] = values.tolist()
        inputs.append(item)
    text = json.dumps({"inputs": inputs}).encode()
    if binary:
        return read(text + x.tobytes() + n.tobytes(), str(len(text)))
    return read(text)


@pytest.mark.parametrize("binary", [False, True])
def test_rows_are_cut_as_they_lie(binary: bool) -> None:
    x = np.arange(24).reshape(3, 2, 4)
    n = np.arange(9).reshape(3, 3) - (1 << 40)
    rows = rows_of(call_of(x, n, binary=binary).inputs, WANTED)
    assert len(rows) == 3
    for k, (first, second) in enumerate(rows):
        assert (first.name, first.shape) == ("x", (1, 2, 4))
        assert np.array_equal(np.frombuffer(first.data, first.dtype), x[k].ravel())
        assert (second.dtype, second.shape) == ("int64", (1, 3))
        assert np.array_equal(np.frombuffer(second.data, "<i8"), n[k])


def test_batches_of_two_lengths_do_not_go_together() -> None:
    call = call_of(np.zeros((2, 2, 1)), np.zeros((3, 3)))
    with pytest.raises(UnusableInput, match="batch"):
        rows_of(call.inputs, WANTED)


def test_numbers_that_are_no_whole_ones_are_refused() -> None:
    text = json.dumps(
        {
            "inputs": [
                {"name": "x", "shape": [1, 2, 1], "datatype": "FP32", "data": [1, 2]},
                {"name": "n", "shape": [1, 3], "datatype": "INT64", "data": [1, 2, 0.5]},
            ]
        }
    ).encode()
    with pytest.raises(UnusableInput, match="whole"):
        rows_of(read(text).inputs, WANTED)


@given(st.lists(st.binary(max_size=9), max_size=5))
def test_elements_of_bytes_are_found_again(elements: list[bytes]) -> None:
    found = unpacked(memoryview(packed(elements)), len(elements), "x")
    assert [bytes(each) for each in found] == elements
    with pytest.raises(MalformedRequest):
        unpacked(memoryview(packed([*elements, b""])), len(elements), "x")
    with pytest.raises(MalformedRequest):
        unpacked(memoryview(packed(elements)), len(elements) + 1, "x")


def test_a_length_that_no_body_has_is_refused() -> None:
    with pytest.raises(MalformedRequest):
        unpacked(memoryview(struct.pack("<I", 0xFFFFFFFF) + b"x"), 1, "x")


def test_numbers_of_json_hold_no_more_than_they_say() -> None:
    (given_one, _) = call_of(np.zeros((1, 2, 1)), np.zeros((1, 3))).inputs
    assert isinstance(given_one.data, Numbers)
    assert given_one.data.size == 2


# what is packed


def whole(data: bytes, window: int, most: int = 64 * _MIB) -> tuple[bytes, int]:
    async def collect() -> tuple[bytes, int]:
        pieces = [piece async for piece in inflated(data, window, most)]
        return b"".join(pieces), max(map(len, pieces), default=0)

    return asyncio.run(collect())


@pytest.mark.parametrize("size", [0, 1, _MIB - 1, _MIB, _MIB + 1, 3 * _MIB])
@pytest.mark.parametrize("window", [GZIP, DEFLATE])
def test_what_was_packed_is_found_again(size: int, window: int) -> None:
    for data in (bytes(size), np.random.default_rng(size).bytes(size)):
        text = gzip.compress(data) if window == GZIP else zlib.compress(data)
        found, largest = whole(text, window)
        assert found == data
        assert largest <= _MIB


def test_a_bomb_is_stopped_at_the_limit() -> None:
    bomb = zlib.compress(bytes(80 * _MIB), 9)
    with pytest.raises(TooLarge):
        whole(bomb, DEFLATE, 8 * _MIB)
    assert len(whole(zlib.compress(bytes(8 * _MIB)), DEFLATE, 8 * _MIB)[0]) == 8 * _MIB


@given(st.binary(max_size=80), st.sampled_from([GZIP, DEFLATE]))
def test_what_cannot_be_inflated_is_refused(data: bytes, window: int) -> None:
    with pytest.raises(BadEncoding):
        whole(data, window)


@pytest.mark.parametrize("behind", [b"x", gzip.compress(b"another", mtime=0), bytes(512 << 10)])
def test_nothing_may_stand_behind_the_end(behind: bytes) -> None:
    with pytest.raises(BadEncoding):
        whole(gzip.compress(b"one") + behind, GZIP)
