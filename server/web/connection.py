"""How Quart meets a connection here: bodies are pulled, and an early answer is received.

Stock Quart 0.22 collects a body in memory while the handler works, and an answer that comes before
the end of the body closes the connection under the client, who then sees a broken pipe instead of
the answer. Here the answer goes out at once, the rest of the body is read and dropped within
bounds, and only then the exchange ends. A body that its client holds back until it is told to send
it is not asked for in the end: the connection is closed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope
from quart import Quart, Request
from quart.asgi import ASGIHTTPConnection
from quart.utils import cancel_tasks, raise_task_exceptions

from server.web.body import Pace, RequestBody
from server.web.doors import caller_of
from server.web.http1 import PROCEED

Send = Callable[[Any], Awaitable[None]]


class StreamedRequest(Request):
    """A request whose body is a `RequestBody`."""

    body_class = RequestBody  # type: ignore[assignment]  # same protocol, no common base

    @property
    def stream_body(self) -> RequestBody:
        """The body, by its type."""
        return cast(RequestBody, self.body)

    @property
    def caller(self) -> str:
        """Whose request it is, as quotas count: the address, or the network of one customer."""
        return caller_of(self.remote_addr or "")


class StreamedConnection(ASGIHTTPConnection):
    """Answers one request.

    Parameters
    ----------
    app : Quart
        The application.
    scope : HTTPScope
        The request as ASGI describes it.
    pace : Pace
        How slow a body may be.
    """

    def __init__(self, app: Quart, scope: HTTPScope, *, pace: Pace) -> None:
        super().__init__(app, scope)
        self._pace = pace

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Run the handler until it has answered or the client is gone."""
        request = cast(StreamedRequest, self._create_request_from_scope(send))
        body = request.stream_body
        waits = request.headers.get("Expect", "").lower() == "100-continue"
        state: Any = self.scope.get("state") or {}
        body.caller = request.caller
        body.attach(receive, self._pace, state.get(PROCEED) if waits else None)
        answer = cast(ASGISendCallable, _draining(body, send))
        handler = asyncio.ensure_future(self.handle_request(request, answer))
        gone = asyncio.ensure_future(body.gone())
        done, pending = await asyncio.wait({handler, gone}, return_when=asyncio.FIRST_COMPLETED)
        await cancel_tasks(pending)
        raise_task_exceptions(done)


def _draining(body: RequestBody, send: Send) -> Send:
    """Wrap `send`: before the last event of an answer, read what the client still sends."""

    async def send_and_drain(message: Any) -> None:
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and not body.is_complete and not body.is_held_back:
            await send({**message, "more_body": True})
            await body.drain()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        try:
            await send(message)
        except OSError:
            # TLS says so when a client went on sending after its connection was closed
            return

    return send_and_drain
