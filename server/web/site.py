"""The two applications: what both have around their routes."""

import logging
import secrets
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from hypercorn.typing import HTTPScope
from quart import Blueprint, Quart, Request, Response, g, request

from server.errors import BadHttp
from server.metrics import REQUEST_SECONDS, REQUESTS
from server.telemetry import REQUEST_ID, TRACE_ID
from server.web.body import Pace
from server.web.connection import Direct, Reply, StreamedConnection, StreamedRequest
from server.web.direct import Answer, DirectRoutes, find_direct
from server.web.early import EarlyRefusals
from server.web.problems import FIXED_HEADERS, bare_problem, install_problems, refused
from server.web.traces import Trace, trace_of, traced

_log = logging.getLogger(__name__)
_QUIET = {"/livez", "/readyz", "/test", "/metrics"}
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def build_site(
    name: str,
    routes: Sequence[Blueprint | DirectRoutes],
    *,
    pace: Pace,
    legacy_status: bool,
) -> "Site":
    """Join routes to one application."""
    app = Quart(name, static_folder=None)
    app.request_class = StreamedRequest
    app.config["MAX_CONTENT_LENGTH"] = None  # every route counts for itself
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    for group in routes:
        app.register_blueprint(group.blueprint if isinstance(group, DirectRoutes) else group)
    direct = [group for group in routes if isinstance(group, DirectRoutes)]
    install_problems(app, legacy_status=legacy_status)

    @app.before_request
    async def begin() -> None:
        g.started, g.trace = _begin(request)

    @app.after_request
    async def finish(response: Response) -> Response:
        _complete(response, g.trace)
        rule = "other" if request.url_rule is None else request.url_rule.rule
        _tell(name, rule, request, response, g.started)
        return response

    def find(scope: HTTPScope) -> Direct | None:
        found = find_direct(direct, scope)
        return None if found is None else partial(answer, *found)

    async def answer(rule: str, handler: Answer, asked: StreamedRequest, reply: Reply) -> None:
        started, trace = _begin(asked)
        try:
            response = await handler(asked)
        except Exception as error:  # the boundary that Quart is for the other routes
            response = refused(error, path=asked.path, legacy_status=legacy_status)
        _complete(response, trace)
        await reply(response)
        _tell(name, rule, asked, response, started)

    app.asgi_http_class = partial(StreamedConnection, pace=pace, direct=find)  # type: ignore[assignment]
    return Site(app, EarlyRefusals(name, direct, pace=pace, legacy_status=legacy_status))


def _begin(asked: Request) -> tuple[float, Trace | None]:
    trace = trace_of(asked)
    REQUEST_ID.set(secrets.token_hex(8))
    TRACE_ID.set("" if trace is None else trace.id)
    return time.monotonic(), trace


def _complete(response: Response, trace: Trace | None) -> None:
    """Put what every answer has into its head."""
    response.headers.update(FIXED_HEADERS)
    response.headers["X-Request-Id"] = REQUEST_ID.get()
    if trace is not None:
        response.headers["Traceresponse"] = traced(trace, REQUEST_ID.get())


def _tell(port: str, rule: str, asked: Request, response: Response, started: float) -> None:
    """Count a request and write its line."""
    seconds = time.monotonic() - started
    method = asked.method if asked.method in _METHODS else "other"
    REQUESTS.labels(port, method, rule, str(response.status_code)).inc()
    REQUEST_SECONDS.labels(port).observe(seconds)
    level = logging.DEBUG if asked.path in _QUIET else logging.INFO
    fields = {
        "method": asked.method,
        "path": asked.path[:120],
        "status": response.status_code,
        "ms": round(seconds * 1e3, 1),
    }
    _log.log(level, "request", extra=fields)


class Site:
    """An application behind a door that turns away what Quart would stumble over.

    Attributes
    ----------
    early : EarlyRefusals
        Who finds no room.
    """

    def __init__(self, app: Quart, early: EarlyRefusals) -> None:
        self._app = app
        self.early = early

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http" and scope["path"].startswith(("https://", "http://")):
            # the absolute form, which every server must take (RFC 9112 section 3.2.2); its host was
            # held against `Host`
            path, raw = scope["path"].split("/", 3)[3:], scope["raw_path"].split(b"/", 3)[3:]
            scope = {**scope, "path": "/" + "".join(path), "raw_path": b"/" + b"".join(raw)}
        if scope["type"] == "http" and not scope["path"].startswith("/"):
            await _refuse(send)
        elif scope["type"] != "http" or not await self.early.refuse(scope, receive, send):
            await self._app(scope, receive, send)


async def _refuse(send: Any) -> None:
    status, headers, body = bare_problem(BadHttp("the request target must be a path"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
