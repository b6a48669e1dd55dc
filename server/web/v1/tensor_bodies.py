"""Tensors from outside, checked against the model that they are meant for.

::

    raw    every input of one row, little-endian in C order, one after the other
    JSON   {"inputs": {"<tensor>": [[...], ...]                                nested lists
                       "<tensor>": {"shape": [...], "base64": "<float32>"}}}

Shapes are without the batch axis; a leading 1 may be given. Numbers in lists are read into one
buffer by a parser in C, without a Python object for each.
"""

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import simdjson

from server.errors import MalformedRequest, TooLarge, UnusableInput
from server.inference.frames import ITEM_BYTES, Part
from server.web.base64_field import decode_base64
from server.web.signed import THREAD_BYTES
from server.web.v1.nesting import MAX_RANK, check_nesting, shape_of

_LARGEST_WHOLE = 1 << 53  # above it not every whole number is a float
_MAX_FIELDS = 64
KEPT_BYTES = THREAD_BYTES  # texts up to this are read in the event loop alone, by one parser
_kept = simdjson.Parser()  # its memory is a third of the cost of a new one's reading
_MAX_VALUES = 1 << 24  # the parser takes 24 bytes for each, and counts no list that is longer


class Numbers:
    """Numbers that came as nested lists.

    Attributes
    ----------
    data : memoryview
        float64, row-major.
    shape : tuple of int
        Lengths of the lists, outermost first.
    """

    def __init__(self, nested: simdjson.Array, name: str) -> None:
        try:
            self.data = memoryview(nested.as_buffer(of_type="d")).cast("B").toreadonly()
        except (TypeError, ValueError, RuntimeError) as error:
            raise MalformedRequest(f"inputs.{name} must hold numbers only") from error
        self.shape = shape_of(nested)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return len(self.data) // ITEM_BYTES["float64"]


class Packed:
    """Numbers that came as base64.

    Attributes
    ----------
    text : str
        Not decoded yet.
    shape : tuple of int
        As declared.
    """

    def __init__(self, given: simdjson.Object, name: str) -> None:
        fields = members(given, f"inputs.{name}")
        text, shape = fields.get("base64"), fields.get("shape")
        if set(fields) != {"base64", "shape"} or not isinstance(text, str):
            raise MalformedRequest(f"inputs.{name} must hold `shape` and `base64`")
        listed: list[Any] = [None]
        if isinstance(shape, simdjson.Array) and len(shape) <= MAX_RANK:
            listed = shape.as_list()
        axes = tuple(axis for axis in listed if type(axis) is int and axis >= 0)
        if len(axes) != len(listed):
            raise MalformedRequest(f"inputs.{name}.shape must be a list of axis lengths")
        self.text, self.shape = text, axes

    @property
    def size(self) -> int:
        """How many numbers there are, about."""
        return len(self.text) // 5


def parse_call(payload: bytes | memoryview) -> dict[str, Any]:
    """Read the JSON of a call: texts and numbers as they are, `inputs` as `Numbers` and `Packed`.

    Raises
    ------
    MalformedRequest
        If it is no JSON object, names a field twice, or holds anything else.
    TooLarge
        If it holds more values than a tensor may have.
    UnusableInput
        If lists in lists are no tensor.
    """
    text = bytes(payload)
    # each value takes two bytes at least: only a text that could hold too many is counted
    if len(text) > 2 * _MAX_VALUES and text.count(b",") >= _MAX_VALUES:
        raise TooLarge(f"a call holds at most {_MAX_VALUES} values", limit=_MAX_VALUES)
    try:
        document = parsed(text)
    except (ValueError, RuntimeError) as error:
        raise MalformedRequest("the signed payload is not JSON in UTF-8") from error
    if not isinstance(document, simdjson.Object):
        raise MalformedRequest("the signed payload must be a JSON object")
    fields = members(document, "the payload")
    for name, value in fields.items():
        if name == "inputs" and isinstance(value, simdjson.Object):
            inputs = members(value, "inputs")
            fields[name] = {tensor: _given(item, tensor) for tensor, item in inputs.items()}
            nested = {n[:40]: i for n, i in inputs.items() if isinstance(i, simdjson.Array)}
            check_nesting(text, document, nested)
        elif isinstance(value, simdjson.Object | simdjson.Array):
            raise MalformedRequest(f"the field {name[:40]!r} must be a text or a number")
    return fields


def parsed(text: bytes) -> Any:
    """Read JSON; what comes out holds the parser's memory until it is dropped."""
    if len(text) > KEPT_BYTES:
        return simdjson.Parser().parse(text)
    try:
        return _kept.parse(text)
    except RuntimeError:
        # a bad text, or somebody still holds the document before it: in a traceback, say
        return simdjson.Parser().parse(text)


def _given(value: object, name: str) -> Numbers | Packed:
    if isinstance(value, simdjson.Array):
        return Numbers(value, name[:40])
    if isinstance(value, simdjson.Object):
        return Packed(value, name[:40])
    raise MalformedRequest(f"inputs.{name[:40]} must be nested lists, or `shape` and `base64`")


def members(given: simdjson.Object, where: str) -> dict[str, Any]:
    """Return the members of an object by name.

    Raises
    ------
    MalformedRequest
        If there are too many, or one of them twice.
    """
    if len(given) > _MAX_FIELDS:
        raise MalformedRequest(f"{where} has more than {_MAX_FIELDS} fields")
    names = list(given.keys())
    if len(set(names)) != len(names):
        raise MalformedRequest(f"{where} names a field twice")
    if any("\0" in name for name in names):
        # the parser would look for what stands before it
        raise MalformedRequest(f"{where} has a field whose name holds a NUL")
    return {name: given[name] for name in names}


def tensors_of_call(
    given: Mapping[str, Numbers | Packed], inputs: Sequence[Mapping[str, Any]]
) -> list[Part]:
    """Make a model's tensors from the `inputs` of a call.

    Parameters
    ----------
    given : mapping
        By tensor name.
    inputs : sequence of mapping
        Of the model's binding.

    Raises
    ------
    UnusableInput
        Naming the tensor, and the axis that does not fit.
    """
    known = [str(item["tensor"]) for item in inputs]
    if set(given) != set(known):
        sent = [name[:40] for name in sorted(given)[:16]]
        raise UnusableInput(f"the model takes the tensors {known}; sent were {sent}")
    return [_part(given[item["tensor"]], item) for item in inputs]


def _part(value: Numbers | Packed, item: Mapping[str, Any]) -> Part:
    name, dtype = str(item["tensor"]), str(item["dtype"])
    shape = _row_shape(value.shape, item["shape"], name)
    if isinstance(value, Packed):
        data = decode_base64(value.text, f"inputs.{name}.base64")
        _check_count(len(data) / ITEM_BYTES[dtype], shape, name)
        return Part(name, data, dtype, shape)
    _check_count(len(value.data) / ITEM_BYTES["float64"], shape, name)
    return Part(name, *as_asked(value.data, dtype, name), shape)


def _check_count(count: float, shape: tuple[int, ...], name: str) -> None:
    if count != math.prod(shape):
        raise UnusableInput(
            f"the tensor {name!r} has {count:.10g} values; "
            f"its shape {list(shape[1:])} takes {math.prod(shape)}"
        )


def as_asked(data: memoryview, dtype: str, name: str) -> tuple[bytes | memoryview, str]:
    """Return floats as they were read, whole numbers in the model's type.

    Raises
    ------
    UnusableInput
        If a number is none that the type can hold.
    """
    if dtype.startswith("float"):
        return data, "float64"  # the worker narrows them at once
    values = data.cast("d")
    try:
        # infinity, NaN and what is too large for the type raise
        whole = array("q" if dtype == "int64" else "i", map(int, values))
    except (ValueError, OverflowError) as error:
        raise _not_whole(name, dtype) from error
    if array("d", whole) != array("d", values) or max(map(abs, whole), default=0) > _LARGEST_WHOLE:
        raise _not_whole(name, dtype)
    return whole.tobytes(), dtype


def _not_whole(name: str, dtype: str) -> UnusableInput:
    return UnusableInput(f"the tensor {name!r} takes whole numbers ({dtype})")


def _row_shape(shape: tuple[int, ...], wanted: Sequence[int | None], name: str) -> tuple[int, ...]:
    """Return the shape with its batch axis of 1."""
    row = shape[1:] if len(shape) == len(wanted) and shape[:1] == (1,) else shape
    if len(row) != len(wanted) - 1:
        raise UnusableInput(
            f"the tensor {name!r} has {len(row)} axes; the model takes {_text(wanted[1:])}"
        )
    for axis, (size, expected) in enumerate(zip(row, wanted[1:], strict=True)):
        if size < 1 or expected not in (None, size):
            raise UnusableInput(
                f"axis {axis} of the tensor {name!r} is {size}; "
                f"the model takes {_text(wanted[1:])}",
                axis=axis,
            )
    return (1, *row)


def tensors_of_bytes(body: bytes, inputs: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Cut a raw body into a model's tensors.

    Raises
    ------
    UnusableInput
        If the model leaves an axis open, or the body has another length.
    """
    parts = []
    start = 0
    view = memoryview(body)
    for item in inputs:
        axes = item["shape"][1:]
        if None in axes:
            raise UnusableInput(
                f"the tensor {item['tensor']!r} is {_text(axes)}, with open axes: send JSON, which "
                "says its shape"
            )
        dtype = str(item["dtype"])
        end = start + math.prod(axes) * ITEM_BYTES[dtype]
        parts.append(Part(str(item["tensor"]), view[start:end], dtype, (1, *axes)))
        start = end
    if start != len(body):
        listed = ", ".join(f"{item['tensor']} {_text(item['shape'][1:])}" for item in inputs)
        raise UnusableInput(f"the body has {len(body)} bytes; {listed} take {start}")
    return parts


def _text(axes: Sequence[int | None]) -> str:
    return "[" + ", ".join("any" if axis is None else str(axis) for axis in axes) + "]"
