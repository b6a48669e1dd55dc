"""Predictions by the model's digest, for new clients.

::

    POST /v1/models/{digest}/predictions

    audio/*, application/octet-stream   a song; or a row of raw tensors, for a model of that task
    application/json                    {"inputs": {...}}
    multipart/form-data                 several songs, see `server.web.v1.many`

In dialect 1 a raw body is signed by its digest in the header `Signed-Request`, which may also hold
`ext`, `csv` (plain text) and `windows`, and a JSON body carries its signature behind it and holds
`_path` and `_ts`. In dialect 2 the head signs the body as it is, and these stand in the query.
Options stand in the query in every dialect, see `server.web.v1.options`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import msgspec
from quart import Response

from server.digest import Digest
from server.errors import MalformedRequest, UnusableInput
from server.inference.admission import Asker
from server.inference.contracts import Contracts
from server.inference.prediction import Prediction
from server.inference.predictor import Predictor, ReadyModel
from server.inference.preparation import Sound
from server.inference.row_beside import ROW
from server.repository.aliases import Aliases
from server.signing.payload import take_fields
from server.signing.principal import Principal, Scope
from server.web.callers import asker_of
from server.web.connection import StreamedRequest
from server.web.direct import DirectRoutes
from server.web.naming import model_named
from server.web.pieces import Pieces
from server.web.receipts import Receipts
from server.web.signed import RawBody, SignedBodies
from server.web.v1.forms import FORM, read_sounds
from server.web.v1.many import NDJSON, ManySounds
from server.web.v1.options import NAMES, WINDOWS, Options, options_of
from server.web.v1.outputs import outputs_text, told
from server.web.v1.tensor_bodies import parse_call, tensors_of_bytes, tensors_of_call

_JSON = "application/json"
_THREAD_VALUES = 1 << 17  # more of them are checked in a thread
_MAX_JSON_BYTES = 16 << 20  # reading JSON stops everything else, and takes 14 times its memory


@dataclass(frozen=True, slots=True)
class _Answer:
    """A prediction as it is sent, and what a receipt says of how it was made.

    Attributes
    ----------
    text : bytes
        JSON.
    model : ReadyModel
        Has answered.
    given : Digest or None
        Of the body, where it is known.
    csv : bytes
        The feature row that came with the request.
    prediction : Prediction or None
        What was made of a sound.
    """

    text: bytes
    model: ReadyModel
    given: Digest | None
    csv: bytes = b""
    prediction: Prediction | None = None


class Predictions:
    """Answers requests for predictions.

    Parameters
    ----------
    predictor : Predictor
        Predicts.
    aliases : Aliases
        Say which models names stand for.
    bodies : SignedBodies
        Reads the requests.
    contracts : callable
        Returns what can be predicted.
    max_bytes : int
        Of a body.
    """

    def __init__(
        self,
        predictor: Predictor,
        aliases: Aliases,
        bodies: SignedBodies,
        contracts: Callable[[], Awaitable[Contracts]],
        *,
        max_bytes: int,
    ) -> None:
        self._predictor = predictor
        self._aliases = aliases
        self._bodies = bodies
        self._contracts = contracts
        self._max_bytes = max_bytes

    def check_room(self, address: str, digest: str) -> None:
        """Refuse a request before its body is read, when it would be refused afterwards."""
        self._predictor.check_room(address, self._aliases.model_of(digest))

    async def of_call(self, asked: StreamedRequest, name: str, options: Options) -> _Answer:
        """Predict from tensors in JSON."""
        options.check_tensors()
        most = min(self._max_bytes, _MAX_JSON_BYTES)
        async with self._bodies.open(
            asked, most, Scope.PREDICT, parse=parse_call, bound=True, hashed=options.receipt
        ) as call:
            model = await self._ready(call.principal, name)
            take_fields(call.fields, required={"inputs": dict})
            if not model.takes_tensors:
                raise UnusableInput("the model takes a sound: send the sound file as the body")
            given, wanted = call.fields["inputs"], model.binding["inputs"]
            if sum(value.size for value in given.values()) <= _THREAD_VALUES:
                tensors = tensors_of_call(given, wanted)
            else:
                tensors = await asyncio.to_thread(tensors_of_call, given, wanted)
            asker = asker_of(asked, call.principal)
            outputs = await self._predictor.predict_tensors(model, tensors, asker=asker)
            return _Answer(await outputs_text(model, outputs), model, call.digest)

    async def of_bytes(self, asked: StreamedRequest, name: str, options: Options) -> _Answer:
        """Predict from a song, or from raw tensors."""
        async with self._bodies.open_raw(
            asked, self._max_bytes, Scope.PREDICT, options=NAMES
        ) as raw:
            model = await self._ready(raw.principal, name)
            asker = asker_of(asked, raw.principal)
            if not model.takes_tensors:
                return await self._of_song(model, raw, asker, options)
            options.check_tensors()
            take_fields(raw.fields, required={})
            tensors = tensors_of_bytes(raw.data, model.binding["inputs"])
            outputs = await self._predictor.predict_tensors(model, tensors, asker=asker)
            return _Answer(await outputs_text(model, outputs), model, raw.digest)

    async def _of_song(
        self, model: ReadyModel, raw: RawBody, asker: Asker, options: Options
    ) -> _Answer:
        fields = take_fields(
            raw.fields, required={}, optional={"ext": str, "csv": str, WINDOWS: str}
        )
        is_mean = options.is_mean(fields)
        csv = _encoded(fields.get("csv", ""))
        sound = Sound(raw.data, fields.get("ext"), csv, raw.digest)
        prediction = await self._predictor.predict_sound(
            model, sound, asker=asker, row_of=await self._row_of(options), all_windows=is_mean
        )
        text = msgspec.json.encode(told(model, prediction, options))
        return _Answer(text, model, raw.digest, csv, prediction)

    async def of_form(self, asked: StreamedRequest, name: str, options: Options) -> Response:
        """Predict from the sounds of a form."""
        if options.receipt:
            raise MalformedRequest("`receipt` is for one sound, sent as the body")
        async with AsyncExitStack() as stack:
            raw = await stack.enter_async_context(
                self._bodies.open_raw(asked, self._max_bytes, Scope.PREDICT, options=NAMES)
            )
            model = await self._ready(raw.principal, name)
            fields = take_fields(raw.fields, required={}, optional={WINDOWS: str})
            if model.takes_tensors:
                raise UnusableInput("the model takes tensors, not sounds: send them as the body")
            is_mean = options.is_mean(fields)
            sounds = await read_sounds(raw.data, asked.headers.get("Content-Type", ""))
            many = ManySounds(
                self._predictor,
                model,
                options,
                asker_of(asked, raw.principal),
                await self._row_of(options),
                all_windows=is_mean,
            )
            if asked.accept_mimetypes.best_match([_JSON, NDJSON]) != NDJSON:
                return Response(await many.all(sounds), content_type=_JSON)
            response = Response(Pieces(many.lines(sounds), stack.pop_all()), content_type=NDJSON)
            response.timeout = None
            return response

    async def _ready(self, principal: Principal, text: str) -> ReadyModel:
        digest = model_named(self._aliases, text, principal, Scope.PREDICT)
        return await self._predictor.ready(digest)

    async def _row_of(self, options: Options) -> Sequence[str] | None:
        """Return the names of every feature, where the row is wanted."""
        if not options.features:
            return None
        names: Sequence[str] = (await self._contracts()).frontends[ROW]["names"]
        return names


def v1_prediction_routes(predictions: Predictions, receipts: Receipts) -> DirectRoutes:
    """Build the predictions of `/v1`."""
    routes = DirectRoutes("v1_predictions", predictions.check_room)

    @routes.post("/v1/models/<digest>/predictions")
    async def predict(asked: StreamedRequest, digest: str) -> Response:
        predictions.check_room(asked.caller, digest)
        options = options_of(asked)
        if asked.mimetype == FORM:
            return await predictions.of_form(asked, digest, options)
        of_body = predictions.of_call if asked.mimetype == _JSON else predictions.of_bytes
        answer = await of_body(asked, digest, options)
        response = Response(answer.text, content_type=_JSON)
        if not options.receipt or answer.given is None:
            return response
        return await receipts.add(
            response,
            answer.model,
            given=answer.given,
            csv=answer.csv,
            prediction=answer.prediction,
        )

    return routes


def _encoded(csv: str) -> bytes:
    try:
        return csv.encode()
    except UnicodeEncodeError as error:
        raise MalformedRequest("the field 'csv' must be Unicode without lone surrogates") from error
