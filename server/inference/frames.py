"""What travels between the web process and its children: length-prefixed frames, never pickle.

::

    u32 head bytes | u64 payload bytes | head: JSON in UTF-8 | payload: the parts, one after the
    other; not there when the two highest bits of its size say in which half of a mailbox it lies

The head carries the fields of the message and, under ``parts``, each part's name and size; a tensor
also has its dtype and shape, and its bytes are little-endian in C order. Whatever a child sends is
taken as hostile: sizes are bounded before anything is read, and a part must be exactly as long as
it says.
"""

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

PREDICT, SPARING = "predict", "predict_on_one_core"  # what a model worker is asked
SOCKET_FD = 3  # where a child finds its end of the socket
MAX_HEAD_BYTES = 4 << 20
MAX_PARTS = 64
_PREFIX = struct.Struct("<IQ")
PREFIX_BYTES = _PREFIX.size
_IN_MAILBOX, _SECOND_HALF = 1 << 63, 1 << 62
_JOINED_BYTES = 64 << 10
Frame = list[bytes | memoryview]  # prefix, head, and the buffers of the payload
ITEM_BYTES = {"float32": 4, "float64": 8, "int32": 4, "int64": 8, "uint8": 1}


class BadFrame(Exception):
    """Bytes that are no frame, or one over the limits."""


@dataclass(frozen=True, slots=True)
class Part:
    """Named bytes; a tensor when dtype and shape are given."""

    name: str
    data: bytes | memoryview
    dtype: str | None = None
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """A tensor whose rows lie in memory of their own; the receiver gets one `Part`."""

    name: str
    rows: Sequence[bytes | memoryview]
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """Fields, and the parts that belong to them."""

    fields: dict[str, Any]
    parts: Sequence[Part] = field(default=())

    def part(self, name: str) -> Part | None:
        """Return the part of that name."""
        return next((part for part in self.parts if part.name == name), None)

    def buffers(self) -> Frame:
        """Return the buffers of a frame, in order; the parts are not copied."""
        return _frame(self.fields, [(part, [part.data]) for part in self.parts])


@dataclass(frozen=True, slots=True)
class BatchMessage:
    """Fields, and tensors whose rows lie apart; who receives it sees a `Message`."""

    fields: dict[str, Any]
    batches: Sequence[Batch]

    def buffers(self) -> Frame:
        """Return the buffers of a frame, in order; the rows are not copied."""
        return _frame(self.fields, [(batch, batch.rows) for batch in self.batches])


def _frame(
    fields: dict[str, Any], parts: Sequence[tuple[Part | Batch, Sequence[bytes | memoryview]]]
) -> Frame:
    sizes = [sum(map(len, buffers)) for _, buffers in parts]
    listed = [
        {"name": part.name, "size": size, "dtype": part.dtype, "shape": part.shape}
        for (part, _), size in zip(parts, sizes, strict=True)
    ]
    head = json.dumps({**fields, "parts": listed}).encode()
    prefix = _PREFIX.pack(len(head), sum(sizes))
    return [prefix, head, *(buffer for _, buffers in parts for buffer in buffers)]


def without_payload(frame: Frame, half: int) -> Frame:
    """Return a frame whose payload the receiver finds in that half of a mailbox."""
    head, payload = _PREFIX.unpack(frame[0])
    mark = _IN_MAILBOX | (_SECOND_HALF if half else 0)
    return [_PREFIX.pack(head, payload | mark), frame[1]]


def joined(frame: Frame) -> Frame:
    """Join what is small: each buffer that is sent by itself may wake the receiver up."""
    if sum(map(len, frame)) <= _JOINED_BYTES:
        return [b"".join(frame)]
    return [b"".join(frame[:2]), *frame[2:]]


def split_prefix(prefix: bytes) -> tuple[bytes, int | None]:
    """Return the prefix without its marks, and the half of the mailbox that has the payload."""
    head, payload = _PREFIX.unpack(prefix)
    half = int(bool(payload & _SECOND_HALF)) if payload & _IN_MAILBOX else None
    return _PREFIX.pack(head, payload & ~(_IN_MAILBOX | _SECOND_HALF)), half


def read_prefix(prefix: bytes, *, max_payload: int) -> tuple[int, int]:
    """Return the sizes of head and payload.

    Raises
    ------
    BadFrame
        If either is over its limit.
    """
    head, payload = _PREFIX.unpack(prefix)
    if head > MAX_HEAD_BYTES or payload > max_payload:
        raise BadFrame(f"a frame of {head} + {payload} bytes is over the limit")
    return head, payload


def decode(head: bytes, payload: bytes | memoryview) -> Message:
    """Take a frame apart.

    Raises
    ------
    BadFrame
        If the head does not describe the payload.
    """
    try:
        fields = json.loads(head)
        listed = fields.pop("parts")
        if not isinstance(listed, list) or len(listed) > MAX_PARTS:
            raise BadFrame("a frame with too many parts")
        return Message(fields, _cut(listed, memoryview(payload)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadFrame("a frame whose head does not describe it") from error


def _cut(listed: list[Any], payload: memoryview) -> list[Part]:
    parts = []
    start = 0
    for item in listed:
        size, dtype, shape = item["size"], item["dtype"], tuple(item["shape"])
        if type(size) is not int or not 0 <= size <= len(payload) - start:
            raise BadFrame("a part that is longer than its frame")
        if dtype is not None and not _fits(size, dtype, shape):
            raise BadFrame("a tensor whose bytes do not fit its shape")
        parts.append(Part(str(item["name"]), payload[start : start + size], dtype, shape))
        start += size
    if start != len(payload):
        raise BadFrame("a frame that is longer than its parts")
    return parts


def _fits(size: int, dtype: object, shape: tuple[Any, ...]) -> bool:
    whole = all(type(axis) is int and axis >= 0 for axis in shape)
    return whole and isinstance(dtype, str) and size == math.prod(shape) * ITEM_BYTES[dtype]
