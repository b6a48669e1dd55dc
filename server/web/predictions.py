"""Predictions by the model's digest, for new clients.

::

    POST /v1/models/{digest}/predictions

    audio/*, application/octet-stream   a song; or a row of raw tensors, for a model of that task
    application/json                    {"inputs": {...}}

In dialect 1 a raw body is signed by its digest in the header `Signed-Request`, which may also hold
`ext` and `csv` (plain text), and a JSON body carries its signature behind it and holds `_path` and
`_ts`. In dialect 2 the head signs the body as it is, and `ext` and `csv` stand in the query.
With `receipt=1` in the query the answer carries a receipt.
"""

import asyncio
import json
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from quart import Blueprint, Response, request

from server.digest import Digest
from server.errors import BadModel, MalformedRequest, UnusableInput
from server.inference.frames import Part
from server.inference.predictor import Prediction, Predictor, ReadyModel
from server.inference.preparation import Sound
from server.signing.payload import take_fields
from server.signing.principal import Principal, Scope
from server.web.connection import StreamedRequest
from server.web.receipts import Receipts, is_wanted
from server.web.signed import RawBody, SignedBodies
from server.web.tensor_bodies import parse_call, tensors_of_bytes, tensors_of_call

_JSON = "application/json"
_THREAD_VALUES = 1 << 17  # more of them are checked in a thread
_PIECE_VALUES = 1 << 13  # as many numbers are written as text in one turn: 5 ms
_MAX_JSON_BYTES = 16 << 20  # reading JSON stops everything else, and takes 14 times its memory


@dataclass(frozen=True, slots=True)
class _Answer:
    """A prediction as it is sent, and what a receipt says of how it was made."""

    text: str
    csv: bytes = b""
    prediction: Prediction | None = None


def v1_prediction_routes(
    predictor: Predictor, bodies: SignedBodies, receipts: Receipts, *, max_bytes: int
) -> Blueprint:
    """Build the predictions of `/v1`."""
    bp = Blueprint("v1_predictions", __name__)

    @bp.post("/v1/models/<digest>/predictions")
    async def predict(digest: str) -> Response:
        asked = cast(StreamedRequest, request)
        predictor.check_room(asked.caller)
        wanted = is_wanted(asked)
        if asked.mimetype == _JSON:
            most = min(max_bytes, _MAX_JSON_BYTES)
            async with bodies.open(
                asked, most, Scope.PREDICT, parse=parse_call, bound=True, hashed=wanted
            ) as call:
                model = await ready(call.principal, digest)
                answer, given = await _call(call.fields, model), call.digest
        else:
            async with bodies.open_raw(asked, max_bytes, Scope.PREDICT) as raw:
                model = await ready(raw.principal, digest)
                answer = await (_tensors if model.takes_tensors else _song)(raw, model)
                given = raw.digest
        response = Response(answer.text, content_type=_JSON)
        if not wanted or given is None:
            return response
        return await receipts.add(
            response, model, given=given, csv=answer.csv, prediction=answer.prediction
        )

    async def ready(principal: Principal, text: str) -> ReadyModel:
        digest = Digest.parse(text)
        principal.require(Scope.PREDICT, digest)
        return await predictor.ready(digest)

    async def _call(fields: dict[str, Any], model: ReadyModel) -> _Answer:
        take_fields(fields, required={"inputs": dict})
        if not model.takes_tensors:
            raise UnusableInput("the model takes a sound: send the sound file as the body")
        given, wanted = fields["inputs"], model.binding["inputs"]
        if sum(value.size for value in given.values()) <= _THREAD_VALUES:
            return await _run(model, tensors_of_call(given, wanted))
        return await _run(model, await asyncio.to_thread(tensors_of_call, given, wanted))

    async def _tensors(raw: RawBody, model: ReadyModel) -> _Answer:
        take_fields(raw.fields, required={})
        return await _run(model, tensors_of_bytes(raw.data, model.binding["inputs"]))

    async def _run(model: ReadyModel, tensors: Sequence[Part]) -> _Answer:
        outputs = await predictor.predict_tensors(model, tensors, caller=_caller())
        return _Answer(await _outputs(model, outputs))

    async def _song(raw: RawBody, model: ReadyModel) -> _Answer:
        fields = take_fields(raw.fields, required={}, optional={"ext": str, "csv": str})
        csv = _encoded(fields.get("csv", ""))
        sound = Sound(raw.data, fields.get("ext"), csv, raw.digest)
        prediction = await predictor.predict_sound(model, sound, caller=_caller())
        return _Answer(_told(model, prediction), csv, prediction)

    return bp


def _caller() -> str:
    return cast(StreamedRequest, request).caller


def _encoded(csv: str) -> bytes:
    try:
        return csv.encode()
    except UnicodeEncodeError as error:
        raise MalformedRequest("the field 'csv' must be Unicode without lone surrogates") from error


async def _outputs(model: ReadyModel, outputs: Sequence[Part]) -> str:
    told = [
        f'{json.dumps(part.name)}: {{"shape": {json.dumps(part.shape)}, "data": [{numbers}]}}'
        for part, numbers in [(part, await _numbers(part)) for part in outputs]
    ]
    text = f'{{"model": {json.dumps(model.describe())}, "outputs": {{{", ".join(told)}}}'
    labels = model.binding.get("labels")
    return text + (f', "labels": {json.dumps(labels)}}}' if labels else "}")


async def _numbers(part: Part) -> str:
    """Write an output's numbers, piece by piece: others get their turn beside many."""
    numbers = array("f", bytes(part.data))
    pieces = []
    for start in range(0, len(numbers), _PIECE_VALUES):
        if start:
            await asyncio.sleep(0)
        piece = numbers[start : start + _PIECE_VALUES].tolist()
        if not all(map(math.isfinite, piece)):
            raise BadModel(f"the model answered numbers in {part.name!r} that are not finite")
        pieces.append(json.dumps(piece)[1:-1])
    return ", ".join(pieces)


def _told(model: ReadyModel, prediction: Prediction) -> str:
    told = {
        "model": model.describe(),
        "labels": prediction.labels,
        "probabilities": prediction.array[0],
        "frontends": prediction.frontends,
        "window": prediction.window,
        "features": prediction.features,
        "saturated": prediction.saturated,
    }
    return json.dumps(told, allow_nan=False)
