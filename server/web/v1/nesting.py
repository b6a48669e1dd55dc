"""Whether lists in lists are a tensor: whether all lists of one axis are equally long.

A parser in C reads numbers without an object for each, and takes lists of any nesting for a row of
numbers. So what is left of the text without its numbers is compared with what a tensor leaves::

    {"inputs": {"x": [[1.5, 2], [3, 4]]}}   ->   {""{""[[,],[,]]}}

Only where that differs, for a name may hold a bracket as well, the lists are gone through.
"""

from collections.abc import Mapping
from typing import Any

import simdjson

from server.errors import UnusableInput

_KEPT = b'[]{},"'
_DROPPED = bytes(set(range(256)) - set(_KEPT))
MAX_RANK = 8


def shape_of(nested: simdjson.Array) -> tuple[int, ...]:
    """Return the lengths of lists in lists, outermost first, as the first of each says."""
    return _first(nested)[0]


def check_nesting(text: bytes, document: Any, tensors: Mapping[str, simdjson.Array]) -> None:
    """Refuse lists that are no tensors.

    Parameters
    ----------
    text : bytes
        What was read.
    document : simdjson object
        What it was read as.
    tensors : mapping
        Those of its lists that must be tensors, by their names.

    Raises
    ------
    UnusableInput
        Naming the tensor.
    """
    if text.translate(None, _DROPPED) == _outline(document, len(text)):
        return
    for name, nested in tensors.items():
        if not _is_tensor(nested, shape_of(nested)):
            raise UnusableInput(f"the lists of the tensor {name!r} are not equally long and deep")


def _first(nested: simdjson.Array) -> tuple[tuple[int, ...], object]:
    """Return the shape of lists in lists, and the first of what is in them."""
    shape: list[int] = []
    inner: object = nested
    while isinstance(inner, simdjson.Array) and len(shape) <= MAX_RANK:
        shape.append(len(inner))
        inner = inner[0] if len(inner) else None
    return tuple(shape), inner


def _outline(value: object, room: int) -> bytes:
    """Return what is left of a text in which every list is a tensor; at most `room` bytes of it."""
    if isinstance(value, simdjson.Object):
        # `values()` would make Python lists of them; a name with a NUL finds nothing, and differs
        items = [value.get(name) for name in value.keys()]  # noqa: SIM118  # no dict
        return b"{" + b",".join(b'""' + _outline(item, room) for item in items) + b"}"
    if not isinstance(value, simdjson.Array):
        return b'""' if isinstance(value, str) else b""
    shape, leaf = _first(value)
    if isinstance(leaf, simdjson.Object):
        return b"[" + b",".join(_outline(item, room) for item in value) + b"]"
    found = _outline(leaf, room) if not isinstance(leaf, simdjson.Array) else b"["
    for length in reversed(shape):
        # a short text can begin as a tensor does that fills the memory
        if length * (len(found) + 1) > room:
            return b""
        found = b"[" + b",".join([found] * length) + b"]"
    return found


def _is_tensor(value: object, shape: tuple[int, ...]) -> bool:
    if not shape:
        return not isinstance(value, simdjson.Array | simdjson.Object)
    if not isinstance(value, simdjson.Array) or len(value) != shape[0]:
        return False
    return all(_is_tensor(item, shape[1:]) for item in value)
