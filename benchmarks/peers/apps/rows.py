"""How the peers read a row's tensors from a body, and how they batch."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_ROWS = 8
WAIT_S = 0.001  # where a batch cannot form without waiting
PICTURE_SHAPE = (235, 335, 1)
_PICTURE_VALUES = 235 * 335
RAW_BYTES = 4 * (_PICTURE_VALUES + 58)

Row = tuple[NDArray[np.float32], NDArray[np.float32]]


def from_raw(body: bytes) -> Row:
    """Read a body that holds both tensors back to back."""
    values = np.frombuffer(body, "<f4")
    return values[:_PICTURE_VALUES].reshape(PICTURE_SHAPE), values[_PICTURE_VALUES:]


def from_fields(fields: Mapping[str, Any]) -> Row:
    """Read parsed JSON: nested lists, or base64 with a shape."""
    picture, features = fields["spectrogram"], fields["features"]
    if isinstance(picture, dict):
        return _from_base64(picture), _from_base64(features)
    return np.asarray(picture, np.float32), np.asarray(features, np.float32)


def from_body(body: bytes) -> Row:
    """Read either; for servers that hand over nothing but the bytes."""
    return from_raw(body) if len(body) == RAW_BYTES else from_fields(json.loads(body))


def _from_base64(tensor: Mapping[str, Any]) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(tensor["base64"]), "<f4").reshape(tensor["shape"])
