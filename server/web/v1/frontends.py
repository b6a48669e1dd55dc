"""What models are fed with, for people who train them: the numbers that are served.

::

    GET  /v1/frontends
    POST /v1/frontends/{id}?height=235&width=335    a sound

    Accept: application/json     {"frontend", "window", "shape", "names"?, "data": [...]}
            application/x-npy    an array of NumPy, float32
            text/csv             a feature row below its names
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import msgspec
from quart import Blueprint, Response, request

from server.errors import NotAcceptable, WorkerFailed
from server.inference.contracts import Contracts
from server.inference.frames import Part
from server.inference.frontend_inputs import frontend_binding
from server.inference.predictor import Predictor
from server.inference.preparation import Sound
from server.signing.payload import take_fields
from server.signing.principal import Scope
from server.web.callers import asker_of
from server.web.connection import StreamedRequest
from server.web.signed import SignedBodies, query_fields
from server.web.v1.numbers import numbers_of
from server.web.v1.schemas import FrontendInfo, FrontendList, answer, number

_JSON, NPY, CSV = "application/json", "application/x-npy", "text/csv"
MAX_SIDE = 1024
_NPY_MAGIC = b"\x93NUMPY\x01\x00"  # version 1.0 of the format
_NPY_ALIGNED = 64


def frontend_routes(
    predictor: Predictor,
    contracts: Callable[[], Awaitable[Contracts]],
    bodies: SignedBodies,
    *,
    max_bytes: int,
) -> Blueprint:
    """Build the routes."""
    bp = Blueprint("v1_frontends", __name__)

    @bp.get("/v1/frontends")
    async def all_frontends() -> Response:
        async with bodies.open_raw(_asked(), 0, Scope.READ) as raw:
            take_fields(raw.fields, required={})
        known = (await contracts()).frontends.values()
        return answer(FrontendList(frontends=[_info(entry) for entry in known]))

    @bp.post("/v1/frontends/<name>")
    async def compute(name: str) -> Response:
        asked = _asked()
        predictor.check_room(asked.caller)
        async with bodies.open_raw(asked, max_bytes, Scope.PREDICT) as raw:
            fields = take_fields(
                raw.fields | query_fields(asked),
                required={},
                optional={"ext": str, "height": str, "width": str},
            )
            sides = {axis: number(fields, axis, MAX_SIDE) for axis in ("height", "width")}
            binding = frontend_binding(await contracts(), name, **sides)
            (item,) = binding["inputs"]
            kind = _kind(asked, item)
            sound = Sound(raw.data, fields.get("ext"), b"", raw.digest)
            prepared = await predictor.prepare(sound, binding, asker=asker_of(asked, raw.principal))
        (part,) = prepared.tensors
        response = Response(await _written(kind, part, item, prepared.window), content_type=kind)
        response.headers["Prediction-Window"] = prepared.window
        return response

    return bp


def _asked() -> StreamedRequest:
    return cast(StreamedRequest, request)


def _info(entry: Mapping[str, Any]) -> FrontendInfo:
    sizes = {key: entry[key] for key in ("names", "heights", "widths", "values") if key in entry}
    return FrontendInfo(
        id=entry["id"],
        kind=entry["kind"],
        description=entry["text"],
        shape=entry["shape"],
        **sizes,
    )


def _kind(asked: StreamedRequest, item: Mapping[str, Any]) -> str:
    """Choose the form of an answer.

    Raises
    ------
    NotAcceptable
        If the client takes none that there is.
    """
    kinds = [_JSON, NPY, CSV] if item["kind"] == "row" else [_JSON, NPY]
    if "Accept" not in asked.headers:
        return _JSON
    chosen = asked.accept_mimetypes.best_match(kinds)
    if chosen is None:
        raise NotAcceptable(f"{item['frontend']} is answered as {', '.join(kinds)}")
    return chosen


async def _written(kind: str, part: Part, item: Mapping[str, Any], window: str) -> bytes:
    shape, names = item["shape"][1:], item.get("columns")
    refusal = WorkerFailed("the process answered nonsense")
    if kind == NPY:
        return npy(shape, bytes(part.data))
    if kind == CSV:
        numbers = await numbers_of(part, otherwise=refusal)
        return b"%s\n%s\n" % (",".join(names or ()).encode(), numbers)
    told: dict[str, Any] = {"frontend": item["frontend"], "window": window, "shape": shape}
    head = msgspec.json.encode(told | ({"names": names} if names else {}))
    return b'%s,"data":[%s]}' % (head[:-1], await numbers_of(part, otherwise=refusal))


def npy(shape: Sequence[int], data: bytes) -> bytes:
    """Return an array of float32 in C order as a file of NumPy.

    Notes
    -----
    Source: NEP 1, version 1.0 of the format.
    """
    axes = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({axes}), }}"
    taken = len(_NPY_MAGIC) + 2 + len(head) + 1
    head += " " * (-taken % _NPY_ALIGNED) + "\n"
    return _NPY_MAGIC + len(head).to_bytes(2, "little") + head.encode() + data
