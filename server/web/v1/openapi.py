"""The description of the API: OpenAPI 3.1 for programs, a page without scripts for people.

::

    GET /openapi.json
    GET /docs
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any

import msgspec
from quart import Blueprint, Response

from server.errors import BadSignature, MalformedRequest, Overload, ScopeMissing, ServerError
from server.inference.contracts import Contracts
from server.web.v1.docs_page import page
from server.web.v1.openapi_tasks import with_tasks
from server.web.v1.operation import Answer, Operation, Parameter
from server.web.v1.operations import OPERATIONS
from server.web.v1.operations_answers import HEADERS, LINKS
from server.web.v1.schemas import REF

_PROBLEM = {"$ref": REF.format(name="Problem")}
_LINES = "application/x-ndjson"
_JSON, _PROBLEM_JSON = "application/json", "application/problem+json"
_SIGNED: list[dict[str, list[str]]] = [
    {"messageSignature": []},
    {"bearer": []},
    {"signedRequest": []},
]
_ALWAYS: tuple[type[ServerError], ...] = (MalformedRequest, BadSignature, ScopeMissing, Overload)
_SCHEMES = {
    "messageSignature": {
        "type": "apiKey",
        "in": "header",
        "name": "Signature-Input",
        "description": "HTTP message signatures (RFC 9421), with Signature and Content-Digest.",
    },
    "signedRequest": {
        "type": "apiKey",
        "in": "header",
        "name": "Signed-Request",
        "description": "itsdangerous: the digest of the body, the path and the time, and a nonce "
        "where something changes. JSON bodies carry their signature behind them instead.",
    },
    "bearer": {"type": "http", "scheme": "bearer", "description": "Minted by POST /v1/tokens."},
}
_PROBLEM_SCHEMA = {
    "type": "object",
    "description": "What went wrong (RFC 9457); `type` names its page in the documentation.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail", "instance"],
}


class Described:
    """The description as it is sent: made when it is first asked for, once the tasks are known.

    Parameters
    ----------
    contracts : callable
        Returns the tasks.
    """

    def __init__(self, contracts: Callable[[], Awaitable[Contracts]]) -> None:
        self._contracts = contracts
        self._operations = document(OPERATIONS)
        self._made: tuple[str, str] | None = None

    async def texts(self) -> tuple[str, str]:
        """Return the document for programs and the page for people."""
        if self._made is None:
            whole = with_tasks(self._operations, await self._contracts())
            self._made = json.dumps(whole, separators=(",", ":")), page(whole)
        return self._made


def openapi_routes(contracts: Callable[[], Awaitable[Contracts]]) -> Blueprint:
    """Build the routes."""
    bp = Blueprint("openapi", __name__)
    described = Described(contracts)

    @bp.get("/openapi.json")
    async def openapi() -> Response:
        text, _ = await described.texts()
        return Response(text, content_type=_JSON)

    @bp.get("/docs")
    async def docs() -> Response:
        _, shown = await described.texts()
        response = Response(shown, content_type="text/html; charset=utf-8")
        policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
        response.headers["Content-Security-Policy"] = policy
        return response

    return bp


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Describe operations in OpenAPI 3.1."""
    operations = tuple(operations)
    kinds: list[Any] = [one.body for one in operations if one.body is not None]
    kinds += [kind for one in operations for told in one.answers.values() for kind in _types(told)]
    kinds += [kind for one in operations for kind in one.lines]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REF)
    of_kind = {str(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, of_kind)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "spectrogrampredictor",
            "version": "0.1.0",
            "description": "Hosts audio models by their SHA-256 and answers only signed requests.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in sorted(set(map(_tag, operations)))],
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM_SCHEMA},
            "securitySchemes": _SCHEMES,
        },
    }


def _plain(media: str) -> dict[str, str]:
    return {"type": "object" if media.endswith("json") else "string"}


def _types(told: Answer) -> tuple[type, ...]:
    if told is None or isinstance(told, str):
        return ()
    return told if isinstance(told, tuple) else (told,)


def _operation(one: Operation, of_kind: dict[str, Any]) -> dict[str, Any]:
    signed = one.scope is not None or one.body is not None
    told: dict[str, Any] = {
        "operationId": _id(one),
        "summary": one.text,
        "description": _needs(one, signed=signed),
        "tags": [_tag(one)],
        "parameters": [*(_in_path(name, kind) for name, kind in one.in_path.items())]
        + [_parameter(each) for each in one.parameters],
        "responses": _answers(one, of_kind, signed=signed),
        "security": _SIGNED if signed else [],
    }
    content: dict[str, Any] = {}
    if one.body is not None:
        content[_JSON] = {"schema": of_kind[str(one.body)]}
    content |= {media: {} for media in one.media}
    if one.form is not None:
        content["multipart/form-data"] = {"schema": one.form}
    if content:
        told["requestBody"] = {"required": one.needs_body, "content": content}
    return told


def _needs(one: Operation, *, signed: bool) -> str:
    if one.scope is not None:
        return f"Scope `{one.scope}`."
    return "Needs a signature." if signed else "For anybody."


def _tag(one: Operation) -> str:
    return one.path.split("/")[2] if one.path.startswith("/v1/") else "server"


def _id(one: Operation) -> str:
    words = re.findall(r"\w+", one.path.removeprefix("/v1"))
    return "_".join([one.method.lower(), *words])


def _in_path(name: str, kind: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": kind}


def _parameter(each: Parameter) -> dict[str, Any]:
    told = {
        "name": each.name,
        "in": each.place,
        "description": each.text,
        "schema": each.kind,
    }
    return told | {"required": True} if each.is_required else told


def _answers(one: Operation, of_kind: dict[str, Any], *, signed: bool) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for status, kind in one.answers.items():
        told[str(status)] = {"description": HTTPStatus(status).phrase}
        if isinstance(kind, str):
            told[str(status)]["content"] = {kind: {"schema": _plain(kind)}}
        elif kind is not None:
            told[str(status)]["content"] = {_JSON: {"schema": _any_of(_types(kind), of_kind)}}
    for kind in one.forms:
        told["200"]["content"][kind] = {"schema": _plain(kind)}
    if one.lines:
        told["200"]["content"][_LINES] = {"schema": _any_of(one.lines, of_kind)}
    for status in one.answers:
        for header, text in HEADERS.get(_id(one), {}).items():
            said = {"description": text, "required": True, "schema": {"type": "string"}}
            told[str(status)].setdefault("headers", {})[header] = said
    for target, parameters in LINKS.get(_id(one), {}).items():
        link = {"operationId": target, "parameters": parameters}
        for status in (status for status, kind in one.answers.items() if kind is not None):
            told[str(status)].setdefault("links", {})[target] = link
    by_status: dict[int, list[str]] = {}
    for problem in (*(_ALWAYS if signed else ()), *one.problems):
        by_status.setdefault(problem.status, []).append(f"`{problem.slug}`: {problem.title}")
    for status, texts in sorted(by_status.items()):
        told[str(status)] = {
            "description": "; ".join(texts),
            "content": {_PROBLEM_JSON: {"schema": _PROBLEM}},
        }
    return told


def _any_of(kinds: tuple[type, ...], of_kind: dict[str, Any]) -> dict[str, Any]:
    schemas = [of_kind[str(each)] for each in kinds]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
