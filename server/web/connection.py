"""How Quart meets a connection here: bodies are pulled, and an early answer is received.

Stock Quart 0.22 collects a body in memory while the handler works, and an answer that comes before
the end of the body closes the connection under the client, who then sees a broken pipe instead of
the answer. Here the answer goes out at once, the rest of the body is read and dropped within
bounds, and only then the exchange ends. A body that its client holds back until it is told to send
it is not asked for in the end: the connection is closed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope
from quart import Quart, Request, Response
from quart.asgi import ASGIHTTPConnection
from quart.typing import ResponseTypes
from quart.utils import cancel_tasks, encode_headers, raise_task_exceptions

from server.web.body import PROCEED, Pace, RequestBody
from server.web.doors import caller_of

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


Reply = Callable[[Response], Awaitable[None]]
Direct = Callable[[StreamedRequest, Reply], Awaitable[None]]


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
    direct : callable
        Returns what answers the request of a scope without Quart; None when Quart does.
    """

    def __init__(
        self,
        app: Quart,
        scope: HTTPScope,
        *,
        pace: Pace,
        direct: Callable[[HTTPScope], Direct | None],
    ) -> None:
        super().__init__(app, scope)
        self._pace = pace
        self._direct = direct

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Run the handler until it has answered or the client is gone."""
        request = cast(StreamedRequest, self._create_request_from_scope(send))
        body = request.stream_body
        waits = request.headers.get("Expect", "").lower() == "100-continue"
        state: Any = self.scope.get("state") or {}
        body.caller = request.caller
        body.attach(receive, self._pace, state.get(PROCEED) if waits else None)
        answer = cast(ASGISendCallable, draining(body, send))
        handler = asyncio.ensure_future(self.handle_request(request, answer))
        gone = asyncio.ensure_future(body.gone())
        tasks = {handler, gone}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:  # also when the server has no time left
            await cancel_tasks({task for task in tasks if not task.done()})
        raise_task_exceptions(done)

    async def handle_request(self, request: Request, send: ASGISendCallable) -> None:
        """Answer by a direct route, or else by Quart's."""
        answer = self._direct(self.scope)
        if answer is None:
            await super().handle_request(request, send)
        else:
            await answer(cast(StreamedRequest, request), partial(self._reply, send))

    async def _reply(self, send: ASGISendCallable, response: Response) -> None:
        with suppress(TimeoutError):  # nobody reads it
            if response.timeout is None:
                await self._send_response(send, response)
                return
            headers, body = encode_headers(response.headers), await response.get_data(as_text=False)
            status = response.status_code
            async with asyncio.timeout(self.app.config["RESPONSE_TIMEOUT"]):
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _send_response(self, send: ASGISendCallable, response: ResponseTypes) -> None:
        """Send an answer; one without a time limit, piece by piece, each of which has it."""
        if not isinstance(response, Response) or response.timeout is not None:
            await super()._send_response(send, response)
            return
        limit_s = self.app.config["RESPONSE_TIMEOUT"]
        status, headers = response.status_code, encode_headers(response.headers)
        async with response.response as pieces:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            async for piece in pieces:
                async with asyncio.timeout(limit_s):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def draining(body: RequestBody, send: Send) -> Send:
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
