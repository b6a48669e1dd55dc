"""Types of tensors as the Open Inference Protocol names them, and their bytes.

::

    FP32, INT32, INT64    little-endian, in C order
    BYTES                 for each element its length (4 bytes, little-endian), then its bytes
"""

import struct
from collections.abc import Iterable

from server.errors import MalformedRequest

AUDIO, CSV = "audio", "csv"  # what a model that takes a sound is sent
BYTES = "BYTES"
DATATYPES = {"float32": "FP32", "int32": "INT32", "int64": "INT64"}
MAX_ROWS = 32  # of one call: half of those that may wait for a model
_LENGTH = struct.Struct("<I")


def unpacked(data: memoryview, count: int, name: str) -> list[memoryview]:
    """Return the elements of a BYTES tensor.

    Raises
    ------
    MalformedRequest
        If there are not so many, or they are cut short.
    """
    elements: list[memoryview] = []
    start = 0
    while start + _LENGTH.size <= len(data) and len(elements) < count:
        (size,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        if size > len(data) - start:
            break
        elements.append(data[start : start + size])
        start += size
    if len(elements) != count or start != len(data):
        raise MalformedRequest(f"the tensor {name!r} does not hold {count} elements of BYTES")
    return elements


def packed(elements: Iterable[bytes]) -> bytes:
    """Return the bytes of a BYTES tensor."""
    return b"".join(_LENGTH.pack(len(element)) + element for element in elements)
