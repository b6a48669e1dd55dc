"""The inputs of a call held against a model, and cut into rows.

::

    audio [n] or [n, 1], csv perhaps    n sounds
    every tensor of the model [n, ...]  n rows of tensors
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from server.errors import MalformedRequest, UnusableInput
from server.inference.frames import ITEM_BYTES, Part
from server.inference.predictor import ReadyModel
from server.inference.preparation import Sound
from server.web.v1.tensor_bodies import Numbers, as_asked
from server.web.v2.datatypes import AUDIO, BYTES, CSV, DATATYPES, MAX_ROWS, unpacked
from server.web.v2.requests import Given


def are_sounds(model: ReadyModel, inputs: Sequence[Given]) -> bool:
    """Tell whether a call brings sounds rather than tensors."""
    return not model.takes_tensors and any(given.name in (AUDIO, CSV) for given in inputs)


def sounds_of(inputs: Sequence[Given]) -> list[Sound]:
    """Return the sounds of a call.

    Raises
    ------
    UnusableInput
        If it brings other inputs, or not one row for each sound.
    MalformedRequest
        If one of them holds other than its shape says.
    """
    given = {item.name: item for item in inputs}
    if AUDIO not in given or not given.keys() <= {AUDIO, CSV}:
        raise UnusableInput(
            f"a call brings `{AUDIO}`, and `{CSV}` perhaps, or else every tensor of the model; "
            f"sent were {_names(inputs)}"
        )
    songs = _texts(given[AUDIO])
    rows = _texts(given[CSV]) if CSV in given else [memoryview(b"")] * len(songs)
    if len(rows) != len(songs):
        raise UnusableInput(f"`{CSV}` has {len(rows)} rows for {len(songs)} sounds")
    return [Sound(bytes(song), None, bytes(row)) for song, row in zip(songs, rows, strict=True)]


def _texts(given: Given) -> list[memoryview]:
    count = math.prod(given.shape)
    if given.datatype != BYTES or len(given.shape) > 2 or not isinstance(given.data, memoryview):
        raise UnusableInput(f"the input {given.name!r} is BYTES of the shape [n, 1]")
    if given.shape[1:] not in ((), (1,)) or not 0 < count <= MAX_ROWS:
        raise UnusableInput(f"the input {given.name!r} has the shape [n, 1], n up to {MAX_ROWS}")
    return unpacked(given.data, count, given.name)


def rows_of(inputs: Sequence[Given], wanted: Sequence[Mapping[str, Any]]) -> list[list[Part]]:
    """Return the rows of a call of tensors, each with the model's tensors in its order.

    Parameters
    ----------
    inputs : sequence of Given
        Of the call.
    wanted : sequence of mapping
        The inputs of the model's binding.

    Raises
    ------
    UnusableInput
        Naming the tensor that does not fit, and where.
    MalformedRequest
        If one holds other than its shape says.
    """
    given = {item.name: item for item in inputs}
    known = [str(item["tensor"]) for item in wanted]
    if given.keys() != set(known):
        raise UnusableInput(f"the model takes the tensors {known}; sent were {_names(inputs)}")
    counts = {item.shape[0] for item in inputs}
    if len(counts) != 1 or not 0 < max(counts) <= MAX_ROWS:
        raise UnusableInput(f"the first axis of every tensor is the batch, from 1 to {MAX_ROWS}")
    columns = [_cut(given[item["tensor"]], item) for item in wanted]
    return [list(row) for row in zip(*columns, strict=True)]


def _cut(given: Given, item: Mapping[str, Any]) -> list[Part]:
    """Cut a tensor into rows."""
    dtype = str(item.get("dtype", "float32"))
    if given.datatype != DATATYPES[dtype]:
        raise UnusableInput(
            f"the tensor {given.name!r} is {DATATYPES[dtype]}; sent was {given.datatype}"
        )
    _check_axes(given, item["shape"])
    data: bytes | memoryview
    if isinstance(given.data, Numbers):
        _check_size(given, len(given.data.data), ITEM_BYTES["float64"])
        if given.data.shape not in (given.shape, (math.prod(given.shape),)):
            raise MalformedRequest(
                f"the tensor {given.name!r} is sent as lists of {list(given.data.shape)}; its "
                f"shape is {list(given.shape)}"
            )
        data, dtype = as_asked(given.data.data, dtype, given.name)
    else:
        data = given.data
        _check_size(given, len(data), ITEM_BYTES[dtype])
    count, axes = given.shape[0], given.shape[1:]
    size = math.prod(axes) * ITEM_BYTES[dtype]
    view = memoryview(data)
    return [
        Part(given.name, view[k * size : (k + 1) * size], dtype, (1, *axes)) for k in range(count)
    ]


def _check_axes(given: Given, wanted: Sequence[int | None]) -> None:
    axes = ["n", *("any" if axis is None else axis for axis in wanted[1:])]
    fits = len(given.shape) == len(wanted) and all(
        size > 0 and expected in (None, size)
        for size, expected in zip(given.shape[1:], wanted[1:], strict=True)
    )
    if not fits:
        told = ", ".join(map(str, axes))
        raise UnusableInput(
            f"the tensor {given.name!r} is {list(given.shape)}; the model takes [{told}]"
        )


def _check_size(given: Given, size: int, item_bytes: int) -> None:
    if size != math.prod(given.shape) * item_bytes:
        raise MalformedRequest(
            f"the tensor {given.name!r} has {size / item_bytes:.10g} values; "
            f"its shape {list(given.shape)} takes {math.prod(given.shape)}"
        )


def _names(inputs: Sequence[Given]) -> list[str]:
    return sorted(item.name[:40] for item in inputs)[:16]
