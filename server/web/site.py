"""The two applications: what both have around their routes."""

import logging
import secrets
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from quart import Blueprint, Quart, Response, g, request

from server.errors import BadHttp
from server.telemetry import REQUEST_ID
from server.web.body import Pace
from server.web.connection import StreamedConnection, StreamedRequest
from server.web.problems import FIXED_HEADERS, bare_problem, install_problems

_log = logging.getLogger(__name__)
_QUIET = {"/livez", "/readyz", "/test"}


def build_site(
    name: str, blueprints: Sequence[Blueprint], *, pace: Pace, legacy_status: bool
) -> "Site":
    """Join routes to one application."""
    app = Quart(name, static_folder=None)
    app.request_class = StreamedRequest
    app.asgi_http_class = partial(StreamedConnection, pace=pace)  # type: ignore[assignment]
    app.config["MAX_CONTENT_LENGTH"] = None  # every route counts for itself
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    install_problems(app, legacy_status=legacy_status)

    @app.before_request
    async def begin() -> None:
        g.started = time.monotonic()
        REQUEST_ID.set(secrets.token_hex(8))

    @app.after_request
    async def finish(response: Response) -> Response:
        response.headers.update(FIXED_HEADERS)
        response.headers["X-Request-Id"] = REQUEST_ID.get()
        level = logging.DEBUG if request.path in _QUIET else logging.INFO
        fields = {
            "method": request.method,
            "path": request.path[:120],
            "status": response.status_code,
            "ms": round((time.monotonic() - g.started) * 1e3, 1),
        }
        _log.log(level, "request", extra=fields)
        return response

    return Site(app)


class Site:
    """An application behind a door that turns away what Quart would stumble over."""

    def __init__(self, app: Quart) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http" and scope["path"].startswith(("https://", "http://")):
            # the absolute form, which every server must take (RFC 9112 section 3.2.2)
            scope = {**scope, "path": "/" + "".join(scope["path"].split("/", 3)[3:])}
        if scope["type"] == "http" and not scope["path"].startswith("/"):
            await _refuse(send)
        else:
            await self._app(scope, receive, send)


async def _refuse(send: Any) -> None:
    status, headers, body = bare_problem(BadHttp("the request target must be a path"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
