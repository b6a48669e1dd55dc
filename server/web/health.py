"""Whether the server lives and is ready, for balancers and container engines."""

from collections.abc import Callable
from typing import Any

from quart import Blueprint, Response

from server.web.problems import json_response


def health_routes(state: Callable[[], dict[str, Any]]) -> Blueprint:
    """Build `GET /livez` and `GET /readyz`.

    Parameters
    ----------
    state : callable
        Says how the parts are; its member ``ready`` decides the status.
    """
    bp = Blueprint("health", __name__)

    @bp.get("/livez")
    async def live() -> Response:
        return json_response({"live": True})

    @bp.get("/readyz")
    async def ready() -> Response:
        now = state()
        return json_response(now, 200 if now["ready"] else 503)

    return bp
