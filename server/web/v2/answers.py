"""Outputs as the Open Inference Protocol sends them.

::

    {"model_name", "model_version", "id"?, "parameters"?, "outputs": [...]}
    each output: its numbers, row-major; or a `binary_data_size`, and its bytes behind the JSON
"""

import asyncio
import json
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quart import Response

from server.errors import BadModel, UnusableInput
from server.web.v2.datatypes import BYTES, packed
from server.web.v2.models import VERSION
from server.web.v2.requests import HEADER, Call, Wanted

_PIECE_VALUES = 1 << 13  # as many numbers are written as text in one turn: 5 ms


@dataclass(frozen=True, slots=True)
class Output:
    """An output of all rows together.

    Attributes
    ----------
    name : str
        As the model names it.
    shape : tuple of int
        The batch axis first.
    data : bytes
        float32, row-major.
    labels : sequence of str
        What the last axis means, where that is known.
    """

    name: str
    shape: tuple[int, ...]
    data: bytes
    labels: Sequence[str] = ()


def chosen(call: Call, known: Sequence[str]) -> list[Wanted]:
    """Return the outputs that a call wants.

    Raises
    ------
    UnusableInput
        If it names one that the model has not.
    """
    wanted = call.outputs or [Wanted(name, call.is_binary) for name in known]
    for item in wanted:
        if item.name not in known:
            raise UnusableInput(f"the model has the outputs {list(known)}, not {item.name[:40]!r}")
    return list(wanted)


async def answer(
    name: str,
    call: Call,
    outputs: Mapping[str, Output],
    wanted: Sequence[Wanted],
    parameters: Mapping[str, Any],
) -> Response:
    """Build the answer to a call.

    Raises
    ------
    BadModel
        If a number is not finite.
    """
    told, buffers = [], []
    for item in wanted:
        head, tail, data = await _written(outputs[item.name], item)
        told.append(f'{{"name":{json.dumps(item.name)},{head}{tail}}}')
        buffers.append(data)
    fields = {"model_name": name, "model_version": VERSION, "parameters": parameters}
    if call.id:
        fields["id"] = call.id
    start = json.dumps(fields, separators=(",", ":"))[:-1]
    text = f'{start},"outputs":[{",".join(told)}]}}'.encode()
    if not any(item.is_binary for item in wanted):
        return Response(text, content_type="application/json")
    body = b"".join([text, *buffers])
    response = Response(body, content_type="application/octet-stream")
    response.headers[HEADER] = str(len(text))
    return response


async def _written(output: Output, wanted: Wanted) -> tuple[str, str, bytes]:
    """Return what the JSON says of an output before and of its values, and its bytes."""
    numbers = array("f", output.data)
    await _check_finite(numbers, output.name)
    if wanted.classes:
        return _classes(output, numbers, wanted)
    head = f'"datatype":"FP32","shape":{json.dumps(output.shape)}'
    if wanted.is_binary:
        return head, _size(output.data), output.data
    return head, f',"data":[{await _texts(numbers)}]', b""


def _size(data: bytes) -> str:
    return f',"parameters":{{"binary_data_size":{len(data)}}}'


def _classes(output: Output, numbers: "array[float]", wanted: Wanted) -> tuple[str, str, bytes]:
    """Return the highest values of each row as `value:index:label`."""
    width = output.shape[-1] if len(output.shape) > 1 else 1
    count = min(wanted.classes, width)
    texts = []
    for start in range(0, len(numbers), max(width, 1)):
        row = numbers[start : start + width]
        highest = sorted(range(len(row)), key=row.__getitem__, reverse=True)[:count]
        texts += [_class(output, k, row[k]) for k in highest]
    shape = [*output.shape[:-1], count] if len(output.shape) > 1 else [len(texts)]
    head = f'"datatype":"{BYTES}","shape":{json.dumps(shape)}'
    if wanted.is_binary:
        data = packed(text.encode() for text in texts)
        return head, _size(data), data
    return head, f',"data":{json.dumps(texts)}', b""


def _class(output: Output, k: int, value: float) -> str:
    label = f":{output.labels[k]}" if k < len(output.labels) else ""
    return f"{value:f}:{k}{label}"


async def _check_finite(numbers: "array[float]", name: str) -> None:
    for start in range(0, len(numbers), _PIECE_VALUES):
        if start:
            await asyncio.sleep(0)
        if not all(map(math.isfinite, numbers[start : start + _PIECE_VALUES])):
            raise BadModel(f"the model answered numbers in {name!r} that are not finite")


async def _texts(numbers: "array[float]") -> str:
    """Write numbers piece by piece: others get their turn beside many."""
    pieces = []
    for start in range(0, len(numbers), _PIECE_VALUES):
        if start:
            await asyncio.sleep(0)
        pieces.append(json.dumps(numbers[start : start + _PIECE_VALUES].tolist())[1:-1])
    return ", ".join(pieces)
