"""The forms in which peers take the same tensors: whole requests, not signed."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.bodies import JSON, OCTETS, PICTURE, PICTURE_SHAPE, ROW, ROW_SHAPE, Tensors
from benchmarks.loadgen import post

Form = Callable[[Sequence[Tensors]], list[bytes]]
_V2_PATH = "/v2/models/genre/infer"


def raw(inputs: Sequence[Tensors]) -> list[bytes]:
    """Return both tensors back to back."""
    return [post("/raw", each.raw, OCTETS) for each in inputs]


def nested(path: str) -> Form:
    """Return the form of JSON with nested lists, on a path."""
    return lambda inputs: [post(path, _text(each.nested), JSON) for each in inputs]


def in_base64(path: str) -> Form:
    """Return the form of JSON with base64, on a path."""
    return lambda inputs: [post(path, _text(each.base64), JSON) for each in inputs]


def nested_list(inputs: Sequence[Tensors]) -> list[bytes]:
    """Return a list of one row in JSON, as BentoML batches it."""
    return [post("/json", _text({"rows": [each.nested]}), JSON) for each in inputs]


def base64_list(inputs: Sequence[Tensors]) -> list[bytes]:
    """Return a list of one row in JSON with base64."""
    return [post("/json", _text({"rows": [each.base64]}), JSON) for each in inputs]


def v2_json(inputs: Sequence[Tensors]) -> list[bytes]:
    """Return the Open Inference Protocol's JSON, which has flat lists."""
    requests = []
    for each in inputs:
        picture, row = _v2_inputs()
        picture["data"], row["data"] = each.picture.reshape(-1).tolist(), each.row.tolist()
        requests.append(post(_V2_PATH, _text({"inputs": [picture, row]}), JSON))
    return requests


def v2_binary(inputs: Sequence[Tensors]) -> list[bytes]:
    """Return its binary extension: a JSON head, then the tensors."""
    requests = []
    for each in inputs:
        picture, row = _v2_inputs()
        picture["parameters"] = {"binary_data_size": each.picture.nbytes}
        row["parameters"] = {"binary_data_size": each.row.nbytes}
        head = _text({"inputs": [picture, row]})
        length = {"Inference-Header-Content-Length": str(len(head))}
        requests.append(post(_V2_PATH, head + each.raw, OCTETS | length))
    return requests


def _v2_inputs() -> tuple[dict[str, Any], dict[str, Any]]:
    picture = {"name": PICTURE, "datatype": "FP32", "shape": [1, *PICTURE_SHAPE]}
    row = {"name": ROW, "datatype": "FP32", "shape": [1, *ROW_SHAPE]}
    return picture, row


def _text(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()
