"""Hypercorn's connection over a `Wire`: what it reads, and how long it stays open unused."""

import asyncio
from contextlib import suppress
from typing import Any, cast

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.typing import LifespanState

from server.web.body import DRAIN_S
from server.web.wire import Wire


class WireServer(TCPServer):
    """Hypercorn's connection (0.18), reading from a `Wire`.

    Parameters
    ----------
    app : ASGIWrapper
        Answers the requests.
    loop : asyncio.AbstractEventLoop
        Runs it.
    config : Config
        Hypercorn's settings.
    context : WorkerContext
        Says when the server stops.
    wire : Wire
        The connection.
    state : LifespanState
        What the protocol of the connection is told.
    """

    def __init__(
        self,
        app: ASGIWrapper,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        context: WorkerContext,
        wire: Wire,
        *,
        state: LifespanState,
    ) -> None:
        super().__init__(app, loop, config, context, state, cast(Any, wire), cast(Any, wire))
        self._wire = wire
        self._idle_since: float | None = loop.time()
        self._closes = False  # what still arrives is no request: nobody could be answered

    async def protocol_send(self, event: Event) -> None:
        """Send, close, or note whether a request is being answered."""
        if isinstance(event, Updated):
            self._idle_since = self.loop.time() if event.idle else None
        else:
            self._closes |= isinstance(event, Closed)
            await super().protocol_send(event)

    async def _idle_timeout(self) -> None:
        """Close the connection when it was idle for long, or is when the server stops.

        Hypercorn starts a task for each pause between two requests, and waits for its end before it
        answers the second; this one lives as long as the connection.
        """
        patience_s = self.config.keep_alive_timeout
        while not self.context.terminated.is_set():
            left_s = self._patience_left_s(patience_s)
            if left_s <= 0:
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, patience_s)):
                    await self.context.terminated.wait()
        if self.context.terminated.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_S):
                    await self._wire.unwanted.arrived()
        if self._idle_since is not None:  # else its protocol closes it after the answer
            self._closes = True
            await asyncio.shield(self._initiate_server_close())

    def _patience_left_s(self, patience_s: float) -> float:
        if self._idle_since is None:
            return patience_s
        if self._wire.unwanted.is_arriving:
            patience_s = DRAIN_S
        return patience_s + max(self._idle_since, self._wire.unwanted.since_s) - self.loop.time()

    async def _read_data(self) -> None:
        try:
            while (piece := await self._wire.read()) and not self._closes:
                await self.protocol.handle(RawData(piece))
            if not self._closes:
                await self.protocol.handle(RawData(b""))  # the end, which h11 wants to hear of
        except OSError:
            pass
        await self.protocol.handle(Closed())
        # an application that was cut off says no more, and this would watch the connection for ever
        await self.idle_task.stop()
