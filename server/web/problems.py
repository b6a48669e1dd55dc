"""The only place that turns errors into answers: RFC 9457 problems, and the original `msg`.

The original paths get the same problem with one member more, `msg`, the text that the server of
2020 gave. With `LEGACY_STATUS=1` they also get its status: always 200. Below `/v2` the member is
`error`, as the Open Inference Protocol has it, and the type is plain JSON.
"""

import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from quart import Quart, Response, request
from werkzeug.exceptions import HTTPException

from server.errors import (
    BadModel,
    BadSignature,
    MalformedForm,
    MalformedRequest,
    MethodNotAllowed,
    ModelNotFound,
    ModelState,
    NotFound,
    Overload,
    ServerError,
    UnusableInput,
    WorkerFailed,
)
from server.sound_errors import UnreadableSound
from server.telemetry import REQUEST_ID

_log = logging.getLogger(__name__)
_UPLOADS = {"/uploadmodel", "/nodemodeluploads"}
_ORIGINAL = {"/registermodelhash", "/prediction", "/hashmodels", "/test"} | _UPLOADS
_MEDIA_TYPE = "application/problem+json"
_BUSY = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
FIXED_HEADERS = {
    "Strict-Transport-Security": "max-age=63072000",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

# What the original said, by what went wrong; the first class that fits counts.
_MESSAGES: list[tuple[type[ServerError], str]] = [
    (BadSignature, "payload did not have valid signature"),
    (ModelNotFound, "model not found"),
    (ModelState, "model not found"),
    (BadModel, "attempt to load and run model failed"),
    (WorkerFailed, "attempt to load and run model failed"),
    (UnreadableSound, "model prediction caused an exception"),
    (UnusableInput, "model prediction caused an exception"),
    (ServerError, "something went wrong"),
]
_UPLOAD_MESSAGES: list[tuple[type[ServerError], str]] = [
    (BadSignature, "no valid signature on data"),
    (MalformedRequest, "incorrectly formatted form"),
    (ServerError, "saving model failed"),
]


def json_response(
    value: Mapping[str, Any] | Sequence[Any],
    status: int = 200,
    *,
    media_type: str = "application/json",
) -> Response:
    """Build an answer of compact JSON, without the newline that Quart adds."""
    return Response(json.dumps(value, separators=(",", ":")), status, content_type=media_type)


def install_problems(app: Quart, *, legacy_status: bool) -> None:
    """Answer every error of an application as a problem, routing errors and our own faults too."""

    def answer(error: ServerError) -> Response:
        return problem(error, path=request.path, legacy_status=legacy_status)

    @app.errorhandler(ServerError)
    async def expected(error: ServerError) -> Response:
        _tell(error)
        return answer(error)

    @app.errorhandler(HTTPException)
    async def routing(error: HTTPException) -> Response:
        if error.code == HTTPStatus.METHOD_NOT_ALLOWED:
            methods = sorted(getattr(error, "valid_methods", None) or ())
            refused = answer(MethodNotAllowed(f"{request.path} takes {', '.join(methods)}"))
            refused.headers["Allow"] = ", ".join(methods)
            return refused
        if error.code == HTTPStatus.NOT_FOUND:
            return answer(NotFound())
        return answer(MalformedRequest(error.description or ""))

    @app.errorhandler(Exception)
    async def unexpected(error: Exception) -> Response:
        return answer(_fault(error))


def refused(error: Exception, *, path: str, legacy_status: bool) -> Response:
    """Answer what a handler raised, as an application with `install_problems` would."""
    if isinstance(error, ServerError):
        _tell(error)
        return problem(error, path=path, legacy_status=legacy_status)
    return problem(_fault(error), path=path, legacy_status=legacy_status)


def _tell(error: ServerError) -> None:
    # who is refused by the hundred must not fill the log as well: the request's line is enough
    busy = isinstance(error, Overload) and error.status in _BUSY
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not busy:
        _log.warning(error.title, extra={"reason": error.detail})
    if isinstance(error, BadSignature) and error.reason:
        _log.info("signature refused", extra={"reason": error.reason})


def _fault(error: Exception) -> ServerError:
    _log.error("unexpected error", exc_info=error)
    return ServerError()


def problem(error: ServerError, *, path: str, legacy_status: bool = False) -> Response:
    """Render one error."""
    body, status, headers = rendered(error, path=path, legacy_status=legacy_status)
    response = json_response(body, status)
    response.headers.update(headers)
    return response


def rendered(
    error: ServerError, *, path: str, legacy_status: bool
) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Return the JSON of one error, its status, and the headers that belong to it."""
    body, status = describe(error), error.status
    original = path in _ORIGINAL
    media_type = _MEDIA_TYPE
    if path == "/v2" or path.startswith("/v2/"):
        body, media_type = {"error": error.detail} | body, "application/json"
    if original:
        body["msg"] = _original_message(error, path)
        if isinstance(error, MalformedForm) and path == "/nodemodeluploads":
            body["message"] = "please upload a file."
    if original and legacy_status:
        body, status = {"msg": body["msg"], "ex": error.detail} | body, HTTPStatus.OK
        media_type = "application/json"
    headers = {"Content-Type": media_type}
    if isinstance(error, Overload):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, BadSignature):
        headers["WWW-Authenticate"] = "Signature"
    return body, status, headers


def describe(error: ServerError) -> dict[str, Any]:
    """Return the members of a problem of the request at hand."""
    return _told(error, REQUEST_ID.get())


def bare_problem(error: ServerError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Render an error below Quart: status, headers and body of an answer to no route."""
    request_id = secrets.token_hex(8)
    body = json.dumps(_told(error, request_id), separators=(",", ":")).encode()
    fields = FIXED_HEADERS | {
        "X-Request-Id": request_id,
        "Content-Type": _MEDIA_TYPE,
        "Content-Length": str(len(body)),
    }
    if isinstance(error, Overload):
        fields["Retry-After"] = str(error.retry_after_s)
    headers = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    level = logging.WARNING if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
    fields_told = {"status": error.status, "reason": error.detail, "request": request_id}
    _log.log(level, "request refused", extra=fields_told)
    return error.status, headers, body


def _told(error: ServerError, request_id: str) -> dict[str, Any]:
    return {
        "type": f"/problems/{error.slug}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": f"urn:request:{request_id}",
        **error.members,
    }


def _original_message(error: ServerError, path: str) -> str:
    table = _UPLOAD_MESSAGES if path in _UPLOADS else _MESSAGES
    return next(text for kind, text in table if isinstance(error, kind))
