"""Whether the server, or one model, answers: the health of the Open Inference Protocol.

::

    GET /v2                                      what the server is, for everybody
    GET /v2/health/live, /v2/health/ready        for everybody
    GET /v2/models/{name}[/versions/1]/ready     200, or 503 with a reason
"""

from collections.abc import Callable
from typing import Any, cast

from quart import Blueprint, Response, request

from server.repository.registry import Model, State
from server.web.connection import StreamedRequest
from server.web.problems import json_response
from server.web.v2.models import Parts

NAME, SERVER_VERSION = "spectrogrampredictor", "0.1.0"
EXTENSIONS = [
    *("binary_tensor_data", "classification", "model_configuration"),
    *("model_repository", "statistics"),
]


def health_routes_v2(parts: Parts, state: Callable[[], dict[str, Any]]) -> Blueprint:
    """Build the routes.

    Parameters
    ----------
    parts : Parts
        Know the models.
    state : callable
        Says how the server is, as `/readyz` tells it.
    """
    bp = Blueprint("v2_health", __name__)

    @bp.get("/v2")
    async def server() -> Response:
        return json_response({"name": NAME, "version": SERVER_VERSION, "extensions": EXTENSIONS})

    @bp.get("/v2/health/live")
    async def live() -> Response:
        return json_response({"live": True})

    @bp.get("/v2/health/ready")
    async def ready() -> Response:
        if state()["ready"]:
            return json_response({"ready": True})
        return json_response({"ready": False, "error": "no process runs that would answer"}, 503)

    @bp.get("/v2/models/<name>/ready")
    @bp.get("/v2/models/<name>/versions/<version>/ready")
    async def model_ready(name: str, version: str | None = None) -> Response:
        model = await parts.readable(cast(StreamedRequest, request), name, version)
        why = unavailable(parts, model)
        if why is None:
            return json_response({"name": name, "ready": True})
        return json_response({"name": name, "ready": False, "error": why}, 503)

    return bp


def unavailable(parts: Parts, model: Model) -> str | None:
    """Say why a model would not answer now; None where it would, loading it first perhaps."""
    if model.state is not State.READY:
        return f"{model.state}: {model.reason}" if model.reason else str(model.state)
    if not parts.workers.is_available(model.digest):
        return "unloaded, or its worker has just died"
    return None
