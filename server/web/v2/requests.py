"""A call of the Open Inference Protocol, read from its bytes; not yet held against a model.

::

    JSON                                          no `Inference-Header-Content-Length`
    JSON, then tensors one after the other        that header: how long the JSON is; each tensor
                                                  says its `binary_data_size`, in their order
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import simdjson

from server.errors import MalformedRequest, TooLarge
from server.web.base64_field import decode_base64
from server.web.v1.nesting import check_nesting
from server.web.v1.tensor_bodies import KEPT_BYTES, Numbers, members, parsed
from server.web.v2.datatypes import BYTES, packed

HEADER = "Inference-Header-Content-Length"
_MAX_JSON_BYTES = 16 << 20  # reading JSON takes 14 times its memory
_MAX_VALUES = 1 << 24
_MAX_RANK = 8
_MAX_TENSORS = 64
_MAX_NAME = 256
_LARGEST_AXIS = 1 << 31
_KNOWN_TYPES = frozenset(
    {"BOOL", "BYTES", "FP16", "FP32", "FP64", "BF16"}
    | {f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
)
Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Given:
    """An input as it came.

    Attributes
    ----------
    name, datatype : str
        As sent.
    shape : tuple of int
        As sent.
    data : memoryview or Numbers
        Raw bytes; or numbers that came as JSON.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: memoryview | Numbers


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that a call names.

    Attributes
    ----------
    name : str
        As sent.
    is_binary : bool
        Whether it is wanted as bytes behind the JSON.
    classes : int
        So many of the highest values, as text with their labels; 0: the tensor.
    """

    name: str
    is_binary: bool
    classes: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked.

    Attributes
    ----------
    id : str
        As sent; empty when there was none.
    inputs : sequence of Given
        In their order.
    outputs : sequence of Wanted or None
        In their order; None: all of them.
    is_binary : bool
        How outputs are wanted that are not named.
    """

    id: str
    inputs: Sequence[Given]
    outputs: Sequence[Wanted] | None
    is_binary: bool


async def read_call(body: bytes, header: str | None) -> Call:
    """Read the body of a call.

    Parameters
    ----------
    body : bytes
        All of it.
    header : str or None
        Says how long its JSON is.

    Raises
    ------
    MalformedRequest, BadBase64
        If it does not follow the protocol.
    TooLarge
        If there is more JSON than the server reads.
    UnusableInput
        If lists in lists are no tensor.
    """
    size = _json_size(header, len(body))
    if size > _MAX_JSON_BYTES:
        raise TooLarge(f"the JSON has at most {_MAX_JSON_BYTES} bytes", limit=_MAX_JSON_BYTES)
    text = body if size == len(body) else body[:size]
    binary = memoryview(body)[size:]
    if size <= KEPT_BYTES:
        return _read(text, binary)
    return await asyncio.to_thread(_read, text, binary)


def _json_size(header: str | None, whole: int) -> int:
    if header is None:
        return whole
    size = int(header) if header.isascii() and header.isdigit() and len(header) < 16 else -1
    if not 0 < size <= whole:
        raise MalformedRequest(f"`{HEADER}` says how many bytes of the body are JSON")
    return size


def _read(text: bytes, binary: memoryview) -> Call:
    if text.count(b",") >= _MAX_VALUES:
        raise TooLarge(f"a call holds at most {_MAX_VALUES} values", limit=_MAX_VALUES)
    try:
        document = parsed(text)
    except (ValueError, RuntimeError) as error:
        raise MalformedRequest("the request is not JSON in UTF-8") from error
    fields = _object(document, "the request")
    parameters = _parameters(fields.get("parameters"), "parameters")
    is_binary = _flag(parameters, "binary_data_output") or False
    asked_id = fields.get("id", "")
    if not isinstance(asked_id, str) or len(asked_id) > _MAX_NAME:
        raise MalformedRequest(f"`id` is a text of at most {_MAX_NAME} characters")
    inputs = []
    nested = {}
    for item in _list(fields.get("inputs"), "inputs"):
        read = _object(item, "an input")
        given, binary = _input(read, binary)
        inputs.append(given)
        if isinstance(given.data, Numbers):
            nested[given.name[:40]] = read["data"]
    check_nesting(text, document, nested)
    if not inputs or len({given.name for given in inputs}) != len(inputs):
        raise MalformedRequest("`inputs` lists the tensors of the call, each of them once")
    if binary:
        raise MalformedRequest(f"{len(binary)} bytes stand behind the last tensor")
    outputs = None
    if fields.get("outputs") is not None:
        listed = _list(fields["outputs"], "outputs")
        outputs = [_output(_object(item, "an output"), is_binary=is_binary) for item in listed]
        if len({wanted.name for wanted in outputs}) != len(outputs):
            raise MalformedRequest("`outputs` names a tensor twice")
    return Call(asked_id, inputs, outputs or None, is_binary)


def _input(fields: Mapping[str, Any], binary: memoryview) -> tuple[Given, memoryview]:
    """Read an input; return it, and what is left of the binary tensors."""
    name, datatype = _name(fields), fields.get("datatype")
    if datatype not in _KNOWN_TYPES:
        raise MalformedRequest(f"the tensor {name!r} has no datatype of the protocol")
    shape = _shape(fields.get("shape"), name)
    parameters = _parameters(fields.get("parameters"), name)
    size = parameters.get("binary_data_size")
    if size is None:
        data = _of_json(fields.get("data"), name, str(datatype), parameters)
        return Given(name, str(datatype), shape, data), binary
    if fields.get("data") is not None:
        raise MalformedRequest(f"the tensor {name!r} is sent twice: as JSON and as bytes")
    if type(size) is not int or not 0 <= size <= len(binary):
        raise MalformedRequest(f"the tensor {name!r} has not the bytes that it says")
    return Given(name, str(datatype), shape, binary[:size]), binary[size:]


def _of_json(
    data: object, name: str, datatype: str, parameters: Mapping[str, Scalar]
) -> memoryview | Numbers:
    if not isinstance(data, simdjson.Array):
        raise MalformedRequest(f"the tensor {name!r} needs `data`, or a `binary_data_size`")
    if datatype != BYTES:
        return Numbers(data, name)
    texts = _flat(data.as_list())
    if not all(isinstance(text, str) for text in texts):
        raise MalformedRequest(f"the tensor {name!r} of BYTES must be a list of texts")
    if parameters.get("content_type") == "base64":
        elements = [decode_base64(text, name) for text in texts]
    else:
        elements = [text.encode() for text in texts]
    return memoryview(packed(elements))


def _flat(nested: list[Any]) -> list[Any]:
    flat = nested
    for _ in range(_MAX_RANK):
        if not any(isinstance(item, list) for item in flat):
            break
        flat = [x for item in flat for x in (item if isinstance(item, list) else [item])]
    return flat


def _output(fields: Mapping[str, Any], *, is_binary: bool) -> Wanted:
    name = _name(fields)
    parameters = _parameters(fields.get("parameters"), name)
    own, classes = _flag(parameters, "binary_data"), parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise MalformedRequest(f"`classification` of {name!r} is a number of classes")
    return Wanted(name, is_binary if own is None else own, classes)


def _name(fields: Mapping[str, Any]) -> str:
    name = fields.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
        raise MalformedRequest(f"a tensor has a name of at most {_MAX_NAME} characters")
    return name


def _shape(value: object, name: str) -> tuple[int, ...]:
    listed = (
        value.as_list() if isinstance(value, simdjson.Array) and len(value) <= _MAX_RANK else []
    )
    axes = tuple(axis for axis in listed if type(axis) is int and 0 <= axis < _LARGEST_AXIS)
    if not axes or len(axes) != len(listed):
        raise MalformedRequest(f"the shape of {name!r} is a list of 1 to {_MAX_RANK} axis lengths")
    return axes


def _parameters(value: object, where: str) -> dict[str, Scalar]:
    if value is None:
        return {}
    found = _object(value, f"the parameters of {where}")
    if any(isinstance(item, simdjson.Object | simdjson.Array) for item in found.values()):
        raise MalformedRequest(f"the parameters of {where} are texts, numbers and truth values")
    return found


def _flag(
    parameters: Mapping[str, Scalar], name: Literal["binary_data", "binary_data_output"]
) -> bool | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, bool):
        raise MalformedRequest(f"`{name}` is true or false")
    return value


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, simdjson.Object):
        raise MalformedRequest(f"{where} must be a JSON object")
    return members(value, where)


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, simdjson.Array) or len(value) > _MAX_TENSORS:
        raise MalformedRequest(f"`{name}` is a list of at most {_MAX_TENSORS} tensors")
    return [value[k] for k in range(len(value))]
