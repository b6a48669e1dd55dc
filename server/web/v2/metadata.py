"""What a model takes and answers, in the words of the Open Inference Protocol.

::

    GET /v2/models/{name}[/versions/1]           names, types and shapes of its tensors
    GET /v2/models/{name}[/versions/1]/config    the same as Triton's model configuration

A model that takes a sound has the inputs `audio` and `csv` beside its own tensors: a call brings
either a sound, and a feature row perhaps, or every tensor.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from quart import Blueprint, Response, request

from server.inference.predictor import ReadyModel
from server.web.connection import StreamedRequest
from server.web.problems import json_response
from server.web.v2.datatypes import AUDIO, BYTES, CSV, DATATYPES, MAX_ROWS
from server.web.v2.models import VERSION, Parts

_ONNX = "onnxruntime"


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output.

    Attributes
    ----------
    name : str
        As calls name it.
    datatype : str
        As the protocol names it.
    shape : tuple of int
        The batch axis first; -1 where any length is taken.
    is_optional : bool
        Whether a call may leave it out.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    is_optional: bool = False

    def described(self) -> dict[str, Any]:
        """Return it as metadata has it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    def configured(self) -> dict[str, Any]:
        """Return it as a model configuration has it: without the batch axis."""
        kind = "STRING" if self.datatype == BYTES else self.datatype
        told = {"name": self.name, "data_type": f"TYPE_{kind}", "dims": list(self.shape[1:])}
        return told | ({"optional": True} if self.is_optional else {})


def metadata_routes(parts: Parts) -> Blueprint:
    """Build the routes."""
    bp = Blueprint("v2_metadata", __name__)

    async def opened(name: str, version: str | None) -> ReadyModel:
        model = await parts.readable(cast(StreamedRequest, request), name, version)
        return await parts.predictor.ready(model.digest)

    @bp.get("/v2/models/<name>")
    @bp.get("/v2/models/<name>/versions/<version>")
    async def metadata(name: str, version: str | None = None) -> Response:
        return json_response(described(name, await opened(name, version)))

    @bp.get("/v2/models/<name>/config")
    @bp.get("/v2/models/<name>/versions/<version>/config")
    async def config(name: str, version: str | None = None) -> Response:
        return json_response(configured(name, await opened(name, version)))

    return bp


def inputs_of(model: ReadyModel) -> list[Tensor]:
    """Return every input that a call may bring."""
    binding = model.binding
    is_sound = not model.takes_tensors
    own = [
        Tensor(
            item["tensor"],
            DATATYPES[item.get("dtype", "float32")],
            _open(item["shape"]),
            is_optional=is_sound,
        )
        for item in binding["inputs"]
    ]
    texts = [Tensor(name, BYTES, (-1, 1), is_optional=True) for name in (AUDIO, CSV)]
    return [*texts, *own] if is_sound else own


def outputs_of(model: ReadyModel) -> list[Tensor]:
    """Return every output."""
    binding = model.binding
    if not model.takes_tensors:
        return [Tensor(binding["output"], "FP32", (-1, len(binding["labels"])))]
    return [Tensor(item["tensor"], "FP32", _open(item["shape"])) for item in binding["outputs"]]


def _open(shape: Sequence[int | None]) -> tuple[int, ...]:
    """Return a shape whose batch axis, and others without a length, are -1."""
    return (-1, *(-1 if axis is None else axis for axis in shape[1:]))


def described(name: str, model: ReadyModel) -> dict[str, Any]:
    """Return a model's metadata."""
    return {
        "name": name,
        "versions": [VERSION],
        "platform": _platform(model),
        "inputs": [tensor.described() for tensor in inputs_of(model)],
        "outputs": [tensor.described() for tensor in outputs_of(model)],
    }


def configured(name: str, model: ReadyModel) -> dict[str, Any]:
    """Return a model's configuration."""
    texts: Mapping[str, str] = {
        "digest": model.digest.hex,
        "task": model.binding["task"],
        "labels": json.dumps(model.binding.get("labels", [])),
        "engine": model.describe()["engine"],
    }
    return {
        "name": name,
        "platform": _platform(model),
        "backend": model.record["engine"]["name"],
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": MAX_ROWS,
        "input": [tensor.configured() for tensor in inputs_of(model)],
        "output": [tensor.configured() for tensor in outputs_of(model)],
        "instance_group": [{"name": name, "kind": "KIND_CPU", "count": 1}],
        "dynamic_batching": {},
        "parameters": {key: {"string_value": text} for key, text in texts.items()},
    }


def _platform(model: ReadyModel) -> str:
    engine = str(model.record["engine"]["name"])
    return "onnxruntime_onnx" if engine == _ONNX else engine
