"""Predictions by the Open Inference Protocol.

::

    POST /v2/models/{name}[/versions/1]/infer

A call of several rows takes one place among the predictions; its rows run in batches, with those of
others. Sounds are prepared one after the other: each takes as long as a call of its own. With
`?receipt=1` a receipt goes with the answer.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from quart import Response

from server.errors import WorkerFailed
from server.inference.admission import Asker
from server.inference.frames import Part
from server.inference.prediction import Prediction
from server.inference.predictor import ReadyModel
from server.signing.principal import Scope
from server.web.body import BodyMemory
from server.web.callers import asker_of
from server.web.connection import StreamedRequest
from server.web.direct import DirectRoutes
from server.web.receipts import Receipts, is_wanted
from server.web.v2.answers import Output, answer, chosen
from server.web.v2.inflate import plain
from server.web.v2.metadata import outputs_of
from server.web.v2.models import Parts
from server.web.v2.requests import HEADER, Given, read_call
from server.web.v2.rows import are_sounds, rows_of, sounds_of


@dataclass(frozen=True, slots=True)
class _Answered:
    """What came of a call.

    Attributes
    ----------
    outputs : dict
        By their names.
    told : dict
        What the answer says beside them.
    csv : bytes
        The feature row of a call of one sound.
    prediction : Prediction or None
        What was made of its sounds.
    """

    outputs: dict[str, Output]
    told: dict[str, Any] = field(default_factory=dict)
    csv: bytes = b""
    prediction: Prediction | None = None


def inference_routes(
    parts: Parts, memory: BodyMemory, receipts: Receipts, *, max_bytes: int
) -> DirectRoutes:
    """Build the route.

    Parameters
    ----------
    parts : Parts
        Know the models and run them.
    memory : BodyMemory
        Holds bodies that were inflated.
    receipts : Receipts
        Signs answers.
    max_bytes : int
        Largest body, as sent and inflated.
    """
    predictor = parts.predictor

    def check_room(address: str, name: str, **_more: str) -> None:
        predictor.check_room(address, parts.aliases.model_of(name))

    routes = DirectRoutes("v2_inference", check_room)

    @routes.post("/v2/models/<name>/infer")
    async def infer(asked: StreamedRequest, name: str) -> Response:
        return await _infer(asked, name, None)

    @routes.post("/v2/models/<name>/versions/<version>/infer")
    async def infer_version(asked: StreamedRequest, name: str, version: str) -> Response:
        return await _infer(asked, name, version)

    async def _infer(asked: StreamedRequest, name: str, version: str | None) -> Response:
        check_room(asked.caller, name)
        is_receipt = is_wanted(asked)
        async with (
            parts.bodies.open_raw(asked, max_bytes, Scope.PREDICT) as raw,
            plain(asked, raw.data, memory, max_bytes) as body,
        ):
            digest = parts.digest_of(name, raw.principal, Scope.PREDICT, version)
            call = await read_call(body, asked.headers.get(HEADER))
            model = await predictor.ready(digest)
            wanted = chosen(call, [tensor.name for tensor in outputs_of(model)])
            asker = asker_of(asked, raw.principal)
            run = _of_sounds if are_sounds(model, call.inputs) else _of_tensors
            answered = await run(parts, model, call.inputs, asker)
            told = _described(model) | answered.told
            response = await answer(name, call, answered.outputs, wanted, told)
        if not is_receipt:
            return response
        return await receipts.add(
            response, model, given=raw.digest, csv=answered.csv, prediction=answered.prediction
        )

    return routes


async def _of_sounds(
    parts: Parts, model: ReadyModel, inputs: Sequence[Given], asker: Asker
) -> _Answered:
    sounds = sounds_of(inputs)
    made = [await parts.predictor.predict_sound(model, sound, asker=asker) for sound in sounds]
    name, labels = model.binding["output"], model.binding["labels"]
    numbers = array("f", [value for one in made for value in one.array[0]])
    output = Output(name, (len(made), len(labels)), numbers.tobytes(), labels)
    told: dict[str, Any] = {"frontends": ", ".join(made[0].frontends)}
    told["window"] = "; ".join(one.window for one in made)
    told["saturated"] = any(one.saturated for one in made)
    csv = sounds[0].csv if len(sounds) == 1 else b""
    return _Answered({name: output}, told, csv, replace(made[0], window=told["window"]))


async def _of_tensors(
    parts: Parts, model: ReadyModel, inputs: Sequence[Given], asker: Asker
) -> _Answered:
    rows = rows_of(inputs, model.binding["inputs"])
    answers = await parts.predictor.predict_rows(model, rows, asker=asker)
    named = [{part.name: part for part in outputs} for outputs in answers]
    return _Answered(
        {
            tensor.name: _joined([_found(row, tensor.name) for row in named], model)
            for tensor in outputs_of(model)
        }
    )


def _found(row: dict[str, Part], name: str) -> Part:
    if name not in row:
        raise WorkerFailed("the process answered nonsense")
    return row[name]


def _joined(rows: Sequence[Part], model: ReadyModel) -> Output:
    """Put an output of several rows together."""
    first, binding = rows[0], model.binding
    if any(part.shape != first.shape for part in rows):
        raise WorkerFailed("the process answered nonsense")
    is_labelled = binding.get("output") == first.name
    labels = binding.get("labels") or () if is_labelled else ()
    data = b"".join(part.data for part in rows)
    return Output(first.name, (len(rows), *first.shape[1:]), data, labels)


def _described(model: ReadyModel) -> dict[str, Any]:
    """Return what an answer says of the model that gave it: a name may mean another tomorrow."""
    told = model.describe()
    return {"digest": told["digest"], "engine": told["engine"], "precision": told["precision"]}
