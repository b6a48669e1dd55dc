"""The bytes of one connection: read in large pieces, through one buffer for all connections.

asyncio's own streams (3.11 to 3.13) take TLS records of 16 KiB one by one, each from an allocation
of 256 KiB, join them, copy them into a buffer and out of it again, and give 64 KiB at a time. Here
the records are decrypted side by side into one buffer, and what came is copied out once.
"""

import asyncio
from asyncio import Transport
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, cast

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.typing import LifespanState

BUFFER_BYTES = 256 << 10  # as much as asyncio reads from a socket at once
_UNREAD_BYTES = 256 << 10  # from here on nothing is received until it is read


class Wire(asyncio.BufferedProtocol):
    """One connection; reads and writes like a pair of asyncio's streams.

    Parameters
    ----------
    serve : coroutine function
        Serves the connection; runs in a task of its own.
    buffer : memoryview
        Where bytes arrive; every connection of an event loop may share it.
    """

    def __init__(
        self, serve: Callable[["Wire"], Coroutine[Any, Any, None]], buffer: memoryview
    ) -> None:
        self._serve = serve
        self._buffer = buffer
        self._transport: Transport | None = None
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._paused = False
        self._ended = False
        self._arrived = asyncio.Event()
        self._skipping = 0  # bytes to come that nobody wants
        self._skipped = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()
        self._broken = False
        self._on_loss: Callable[[], None] | None = None

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve."""
        self._transport = cast(Transport, transport)
        asyncio.get_running_loop().create_task(self._serve(self))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Keep what arrived until it is read; stop receiving when that is much."""
        unwanted = min(self._skipping, nbytes)
        if unwanted:
            self._skipping -= unwanted
            if not self._skipping:
                self._skipped.set()
            if unwanted == nbytes:
                return
        self._keep(bytes(self._buffer[unwanted:nbytes]))

    def _keep(self, piece: bytes) -> None:
        self._unread.append(piece)
        self._unread_bytes += len(piece)
        self._arrived.set()
        if self._unread_bytes >= _UNREAD_BYTES and not self._paused:
            self._paused = True
            self._connected.pause_reading()

    def eof_received(self) -> None:
        """Note that the client sends no more; TLS closes the connection then."""
        self._ended = True
        self._arrived.set()
        self._skipped.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits, and let go of TLS's buffers, which wait for no garbage collection."""
        self._transport = None
        # the error itself would keep, by its traceback, the pieces that were under way
        self._broken = exc is not None
        self._ended = True
        self._arrived.set()
        self._skipped.set()
        self._writable.set()
        self._lost.set()
        if self._on_loss is not None:
            self._on_loss()

    def pause_writing(self) -> None:
        """Have `drain` wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let `drain` go on."""
        self._writable.set()

    # what the server calls

    async def read(self) -> bytes:
        """Return all that arrived, as soon as there is something; nothing means the end.

        Raises
        ------
        ConnectionResetError
            If the connection broke.
        """
        await self._arrived.wait()
        if self._broken:
            raise ConnectionResetError("the connection broke")
        return self._take()

    def when_lost(self, call: Callable[[], None]) -> None:
        """Have something called as soon as the connection is gone."""
        self._on_loss = call

    async def skip(self, count: int) -> None:
        """Forget the next bytes as they arrive: they wake nobody, and are not copied.

        Raises
        ------
        ConnectionResetError
            If the client sends no more before that.
        """
        waiting = self._take()
        if len(waiting) > count:
            self._keep(waiting[count:])
        self._skipping = max(0, count - len(waiting))
        if self._skipping:
            self._skipped.clear()
            if not self._ended:
                await self._skipped.wait()
            if self._skipping:
                raise ConnectionResetError("the client sends no more")

    def _take(self) -> bytes:
        whole = self._unread[0] if len(self._unread) == 1 else b"".join(self._unread)
        self._unread.clear()
        self._unread_bytes = 0
        if not self._ended:
            self._arrived.clear()
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return whole

    @property
    def _connected(self) -> Transport:
        if self._transport is None:
            raise ConnectionResetError("the connection is gone")
        return self._transport

    def write(self, data: bytes) -> None:
        """Send, or keep to be sent.

        Raises
        ------
        ConnectionResetError
            If the connection is gone; asyncio's TLS (3.11) fails on it otherwise.
        """
        self._connected.write(data)

    async def drain(self) -> None:
        """Wait until there is room to send.

        Raises
        ------
        ConnectionResetError
            If the connection is gone.
        """
        if self._connected.is_closing():
            await asyncio.sleep(0)
        await self._writable.wait()
        if self._lost.is_set():
            raise ConnectionResetError("the connection is gone")

    def write_eof(self) -> None:
        """Say that nothing more is sent, where the transport can."""
        self._connected.write_eof()

    def close(self) -> None:
        """Close when everything is sent."""
        if self._transport is not None:
            self._transport.close()

    async def wait_closed(self) -> None:
        """Return when the connection is closed."""
        await self._lost.wait()

    def get_extra_info(self, name: str) -> Any:
        """Return what the transport knows of the connection.

        Raises
        ------
        ConnectionResetError
            If the connection is gone.
        """
        return self._connected.get_extra_info(name)


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
            left_s = patience_s
            if self._idle_since is not None:
                left_s += self._idle_since - self.loop.time()
            if left_s <= 0:
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self.context.terminated.wait()
        if self._idle_since is not None:  # else its protocol closes it after the answer
            self._closes = True
            await asyncio.shield(self._initiate_server_close())

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
