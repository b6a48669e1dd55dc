"""The bytes of one connection: read in large pieces, through one buffer for all connections.

asyncio's own streams (3.11 to 3.13) take TLS records of 16 KiB one by one, each from an allocation
of 256 KiB, join them, copy them into a buffer and out of it again, and give 64 KiB at a time. Here
the records are decrypted side by side into one buffer, and what came is copied out once.

A client on the same machine, or on a good line, sends a record while the one before it is read: a
body would come in twenty pieces, each of which takes its way through the whole server. Whoever
knows how much is still to come says so, and is woken when it is there, or after 10 ms.
"""

import asyncio
from asyncio import Transport
from collections.abc import Callable, Coroutine
from typing import Any, cast

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, RawData

from server.web.http1 import StreamingH11

BUFFER_BYTES = 256 << 10  # as much as asyncio reads from a socket at once
_UNREAD_BYTES = 256 << 10  # from here on nothing is received until it is read
PIECE_BYTES = 256 << 10  # nobody waits for more at once
_OWN_BYTES = 2 * PIECE_BYTES  # a connection with a large body has memory of its own meanwhile
_LEAST_OWN = 32 << 10
_PATIENCE_S = 0.01


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
        self._unread: list[bytes | memoryview] = []
        self._unread_bytes = 0
        self._own: memoryview | None = None
        self._filled = 0  # of its own memory
        self._wanted = 1
        self._patience: asyncio.TimerHandle | None = None
        self._paused = False
        self._closed = False
        self._ended = False
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()
        self._broken = False

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve."""
        self._transport = cast(Transport, transport)
        asyncio.get_running_loop().create_task(self._serve(self))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where the next bytes go."""
        return self._buffer if self._own is None else self._own[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Keep what arrived until it is read; stop receiving when that is much."""
        if self._closed:
            return  # nobody reads any more
        if self._own is None:
            self._unread.append(bytes(self._buffer[:nbytes]))
        else:
            self._filled += nbytes
        self._unread_bytes += nbytes
        if self._unread_bytes >= self._wanted:
            self._arrived.set()
        elif self._patience is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(_PATIENCE_S, self._arrived.set)
        most = _UNREAD_BYTES if self._own is None else len(self._own)
        if self._unread_bytes >= most and not self._paused:
            self._paused = True
            self._connected.pause_reading()

    def eof_received(self) -> None:
        """Note that the client sends no more; TLS closes the connection then."""
        self._ended = True
        self._arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits, and let go of TLS's buffers, which wait for no garbage collection."""
        self._transport = None
        # the error itself would keep, by its traceback, the pieces that were under way
        self._broken = exc is not None
        if self._broken or not self._filled:
            self._own = None
        self._ended = True
        self._arrived.set()
        self._writable.set()
        self._lost.set()

    def pause_writing(self) -> None:
        """Have `drain` wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let `drain` go on."""
        self._writable.set()

    # what the server calls

    async def read(self, at_least: int = 1) -> bytes:
        """Return all that arrived, as soon as there is enough; nothing means the end.

        Parameters
        ----------
        at_least : int
            Bytes that are sure to come; less is returned where they take long.

        Raises
        ------
        ConnectionResetError
            If the connection broke.
        """
        self._wanted = min(at_least, PIECE_BYTES)
        self._choose_memory()
        await self._arrived.wait()
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._broken:
            raise ConnectionResetError("the connection broke")
        if self._own is not None and self._filled:
            self._unread.append(self._own[: self._filled])
        # its own memory is written again: what lay there is copied, and once
        whole = bytes(self._unread[0]) if len(self._unread) == 1 else b"".join(self._unread)
        self._unread.clear()
        self._unread_bytes = self._filled = 0
        if self._ended:
            self._own = None
        else:
            self._arrived.clear()
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return whole

    def _choose_memory(self) -> None:
        """Take memory of its own for a large body, and give it back once it is empty."""
        if self._own is None:
            if self._wanted >= _LEAST_OWN and not self._ended:
                self._own = memoryview(bytearray(_OWN_BYTES))
        elif self._wanted < _LEAST_OWN and not self._filled:
            self._own = None

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
        """Close when everything is sent; what is still received is dropped."""
        self._closed = True
        self._own = None
        self._unread.clear()
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
    """

    def __init__(
        self,
        app: ASGIWrapper,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        context: WorkerContext,
        wire: Wire,
    ) -> None:
        super().__init__(app, loop, config, context, {}, cast(Any, wire), cast(Any, wire))
        self._wire = wire

    def _expected(self) -> int:
        """Say how many bytes are sure to come."""
        spoken = getattr(self.protocol, "protocol", None)  # behind a wrapper that may exchange it
        return spoken.expected if isinstance(spoken, StreamingH11) else 1

    async def _read_data(self) -> None:
        try:
            while piece := await self._wire.read(self._expected()):
                await self.protocol.handle(RawData(piece))
            await self.protocol.handle(RawData(b""))  # the end, which h11 wants to hear of
        except OSError:
            pass
        await self.protocol.handle(Closed())
