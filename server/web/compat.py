"""The six paths of the original server, with its bodies byte for byte.

::

    API port       GET  /test                whether the port is up
                   POST /registermodelhash   signed {"hash", "manifest"?}
                   POST /uploadmodel         multipart, one signed file: registers and stores it
                   POST /nodemodeluploads    the same under its other name, 1 to 12 files
                   GET  /hashmodels          sweeps, and says what that very sweep promoted
                   POST /prediction          signed {"model_hash", "ext"?, "data", "csv"?}; with
                                             ?receipt=1 a receipt goes with the answer
    upload port    GET  /test
                   POST /nodemodeluploads    multipart, 1 to 12 files, unsigned: a sweep judges them
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import cast

from quart import Blueprint, Response, request

from server.digest import Digest
from server.inference.contracts import Contracts
from server.inference.intake import Intake
from server.inference.prediction import Prediction
from server.inference.predictor import Predictor
from server.inference.preparation import Sound
from server.repository.manifest import check_manifest
from server.repository.recovery import Recovery
from server.repository.registry import Registry
from server.repository.staging import Room, StagedUpload, Staging
from server.repository.sweep import Sweeper
from server.signing.keyring import TRAILER_BYTES
from server.signing.payload import parse_fields, take_fields
from server.signing.principal import Principal, Scope
from server.web.base64_field import decode_base64
from server.web.body import check_declared
from server.web.callers import Callers, asker_of, refuse_signed
from server.web.connection import StreamedRequest
from server.web.direct import DirectRoutes
from server.web.multipart import MAX_FILES
from server.web.problems import json_response
from server.web.receipts import Receipts, is_wanted
from server.web.signed import SignedBodies
from server.web.uploads import plain_files, signed_files

_MAX_REGISTER_BYTES = 64 << 10
_FORM_BYTES = 64 << 10  # boundaries and part headers around the files of a form
_BASE64_FIELDS = frozenset({"data", "csv"})


def test_routes() -> Blueprint:
    """Build `GET /test` of the API port."""
    bp = Blueprint("test", __name__)

    @bp.get("/test")
    async def test() -> Response:
        return json_response({"msg": "hey there!"})

    return bp


def upload_test_routes() -> Blueprint:
    """Build `GET /test` of the upload port, whose answer was never JSON."""
    bp = Blueprint("upload_test", __name__)

    @bp.get("/test")
    async def test() -> Response:
        return Response("the upload port is up", content_type="text/plain; charset=utf-8")

    return bp


def model_routes(
    *,
    bodies: SignedBodies,
    registry: Registry,
    sweeper: Sweeper,
    recovery: Recovery,
    intake: Intake,
    contracts: Callable[[], Awaitable[Contracts]],
) -> Blueprint:
    """Build registration and sweep."""
    bp = Blueprint("models", __name__)

    @bp.post("/registermodelhash")
    async def register() -> Response:
        async with bodies.open(_asked(), _MAX_REGISTER_BYTES, Scope.REGISTER) as opened:
            fields = take_fields(opened.fields, required={"hash": str}, optional={"manifest": dict})
        digest = Digest.parse(fields["hash"])
        opened.principal.require(Scope.REGISTER, digest)
        manifest = fields.get("manifest")
        if manifest is not None:
            (await contracts()).check(check_manifest(manifest))
        if await registry.register(digest, manifest):
            intake.wake()
        await recovery.adopt_stored(digest)  # after a lost registry its file may be here already
        return json_response({"msg": "model hash stored"})

    @bp.get("/hashmodels")
    async def sweep() -> Response:
        report = await sweeper.sweep()
        return json_response({"hashes": [digest.hex for digest in report.promoted]})

    return bp


def upload_routes(staging: Staging, *, callers: Callers | None, sweeper: Sweeper) -> Blueprint:
    """Build the uploads: signed and settled at once, or, without callers, left for the sweep."""
    bp = Blueprint("uploads", __name__)

    async def receive(max_files: int) -> list[Digest]:
        asked = _asked()
        limit = max_files * (staging.max_file_bytes + TRAILER_BYTES) + _FORM_BYTES
        check_declared(asked.stream_body, limit)  # before it takes anybody's place
        admitted = staging.admit(asked.stream_body.declared, asked.caller)
        async with admitted as room, AsyncExitStack() as stack:
            if callers is None:
                return await receive_plain(asked, limit, max_files, stack, room)
            uploads = [
                (await stack.enter_async_context(staging.receive(file.chunks, room)), file)
                async for file in signed_files(asked, callers, limit, max_files)
            ]
            return [
                await settle(upload, await file.sender(upload.size)) for upload, file in uploads
            ]

    async def receive_plain(
        asked: StreamedRequest, limit: int, max_files: int, stack: AsyncExitStack, room: Room
    ) -> list[Digest]:
        refuse_signed(asked)
        uploads = [
            await stack.enter_async_context(staging.receive(chunks, room))
            async for chunks in plain_files(asked, limit, max_files)
        ]
        for upload in uploads:
            await staging.publish(upload)
        return [upload.digest for upload in uploads]

    async def settle(upload: StagedUpload, sender: Principal) -> Digest:
        for scope in (Scope.UPLOAD, Scope.REGISTER):
            sender.require(scope, upload.digest)
        await sweeper.settle(upload)
        return upload.digest

    @bp.post("/nodemodeluploads")
    async def uploads() -> Response:
        await receive(MAX_FILES)
        return json_response({"message": "file uploaded!", "uploaded": True})

    if callers is not None:

        @bp.post("/uploadmodel")
        async def upload() -> Response:
            (digest,) = await receive(1)
            return json_response({"msg": "model saved", "hash": digest.hex})

    return bp


def prediction_routes(
    predictor: Predictor, bodies: SignedBodies, receipts: Receipts, *, max_bytes: int
) -> DirectRoutes:
    """Build the prediction."""
    routes = DirectRoutes("prediction", predictor.check_room)

    @routes.post("/prediction")
    async def predict(asked: StreamedRequest) -> Response:
        predictor.check_room(asked.caller)
        parse, is_receipt = partial(parse_fields, raw=_BASE64_FIELDS), is_wanted(asked)
        async with bodies.open(
            asked, max_bytes, Scope.PREDICT, parse=parse, hashed=is_receipt
        ) as opened:
            fields = take_fields(
                opened.fields,
                required={"model_hash": str, "data": str},
                optional={"ext": str, "csv": str},
            )
            sound = Sound(
                decode_base64(fields.pop("data"), "data"),
                ext=fields.get("ext"),
                csv=decode_base64(fields.get("csv", ""), "csv"),
            )
            digest = Digest.parse(fields["model_hash"])
            opened.principal.require(Scope.PREDICT, digest)
            model = await predictor.ready(digest)
            asker = asker_of(asked, opened.principal)
            prediction = await predictor.predict_sound(model, sound, asker=asker)
        response = _told(json_response({"array": prediction.array}), model.digest, prediction)
        if not is_receipt or opened.digest is None:
            return response
        return await receipts.add(
            response, model, given=opened.digest, csv=sound.csv, prediction=prediction
        )

    return routes


def _asked() -> StreamedRequest:
    return cast(StreamedRequest, request)


def _told(response: Response, digest: Digest, prediction: Prediction) -> Response:
    """Say in headers what the original body has no room for."""
    response.headers["Prediction-Model"] = digest.hex
    response.headers["Prediction-Frontends"] = ", ".join(prediction.frontends)
    response.headers["Prediction-Window"] = prediction.window
    if prediction.features is not None:
        response.headers["Prediction-Features"] = prediction.features
    if prediction.saturated:
        response.headers["Prediction-Warning"] = "saturated"
    return response
