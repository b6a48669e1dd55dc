"""The bytes of one connection: read in large pieces, through two buffers for all connections.

asyncio's own streams (3.11 to 3.13) take TLS records of 16 KiB one by one, each from an allocation
of 256 KiB, join them, copy them into a buffer and out of it again, and give 64 KiB at a time. Here
the records are decrypted side by side into one buffer, and what came is copied out once. Before it
is decrypted it lies in another: asyncio has 256 KiB for each connection, of which a client that is
silent needs nothing, and which have left the processor's caches whenever a client speaks.

Who waits for a request is woken by one pass of the event loop, and answers in another. A protocol
that can tell an answer by the first bytes of a request may look at them as they arrive; the rest of
that request is forgotten as it is decrypted.
"""

import asyncio
from asyncio import Transport
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, cast

from server.web.unwanted import Unwanted

BUFFER_BYTES = 256 << 10  # as much as asyncio reads from a socket at once
_UNREAD_BYTES = 256 << 10  # from here on nothing is received until it is read
_FIRST_BYTES = 16 << 10  # that a first look sees
_SILENCE_S = 0.2  # after which nothing more is on its way
_SILENCES = 10  # that are waited for at most
_AT_ONCE = 4  # requests that are answered so before others get their turn
FirstLook = Callable[[bytes], tuple[bytes, int] | None]


class Buffers:
    """Where bytes arrive, of every connection of an event loop: each is emptied at once.

    Attributes
    ----------
    plain : memoryview
        For what was decrypted.
    """

    def __init__(self) -> None:
        self.plain = memoryview(bytearray(BUFFER_BYTES))
        self._sealed = bytearray(BUFFER_BYTES)

    def take_over(self, transport: asyncio.BaseTransport) -> None:
        """Have TLS receive into the shared buffer (3.11 to 3.13), from which it copies at once."""
        tls: Any = getattr(transport, "_ssl_protocol", None)
        if len(getattr(tls, "_ssl_buffer", b"")) == BUFFER_BYTES:
            tls._ssl_buffer = self._sealed
            tls._ssl_buffer_view = memoryview(self._sealed)


class Wire(asyncio.BufferedProtocol):
    """One connection; reads and writes like a pair of asyncio's streams.

    Parameters
    ----------
    serve : coroutine function
        Serves the connection; runs in a task of its own.
    buffers : Buffers
        Where bytes arrive.

    Attributes
    ----------
    unwanted : Unwanted
        What still arrives of a request that was answered at the first look.
    """

    def __init__(
        self, serve: Callable[["Wire"], Coroutine[Any, Any, None]], buffers: Buffers
    ) -> None:
        self._serve = serve
        self._buffers = buffers
        self._buffer = buffers.plain
        self._transport: Transport | None = None
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._paused = False
        self._ended = False
        self._arrived = asyncio.Event()
        self._is_awaited = False
        self._first_look: FirstLook | None = None
        self.unwanted = Unwanted()
        self._unheard: int | None = None  # bytes that were forgotten, once all are
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()
        self._broken = False
        self._on_loss: Callable[[], None] | None = None

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve."""
        self._transport = cast(Transport, transport)
        self._buffers.take_over(transport)
        asyncio.get_running_loop().create_task(self._serve(self))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Keep what arrived until it is read; stop receiving when that is much."""
        if self._unheard is not None:
            self._unheard += nbytes
            return
        done = self.unwanted.take(nbytes)
        for _ in range(_AT_ONCE):
            if done == nbytes or not self._is_answered_at_once(self._buffer[done:nbytes]):
                break
            done += self.unwanted.take(nbytes - done)
        if done < nbytes:
            self._keep(bytes(self._buffer[done:nbytes]))

    def _is_answered_at_once(self, data: memoryview) -> bool:
        """Whether the request that begins here was answered, and is to be skipped."""
        if self._first_look is None or not self._is_awaited or self._arrived.is_set():
            return False
        found = self._first_look(bytes(data[:_FIRST_BYTES])) if self._writable.is_set() else None
        if found is None:
            return False
        answer, length = found
        self.unwanted.begin(length)
        self._connected.write(answer)
        return True

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
        self.unwanted.end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits, and let go of TLS's buffers, which wait for no garbage collection."""
        self._transport = None
        # the error itself would keep, by its traceback, the pieces that were under way
        self._broken = exc is not None
        self._ended = True
        self._arrived.set()
        self.unwanted.end()
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
        self._is_awaited = True
        try:
            await self._arrived.wait()
        finally:
            self._is_awaited = False
        if self._broken:
            raise ConnectionResetError("the connection broke")
        return self._take()

    def look_first(self, look: FirstLook) -> None:
        """Have the first bytes looked at that arrive while `read` waits.

        Parameters
        ----------
        look : callable
            Takes them; returns an answer, and how long the request is that it is for. None leaves
            it to who reads.
        """
        self._first_look = look

    def when_lost(self, call: Callable[[], None]) -> None:
        """Have something called as soon as the connection is gone."""
        self._on_loss = call

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

    async def hear_out(self) -> None:
        """Forget what arrives from now on, and return when the client has left or falls silent.

        To close on a client that sends resets the connection, which can lose it its answer. It is
        waited for two seconds at most.
        """
        self._unheard = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        for _ in range(_SILENCES):
            before = self._unheard
            with suppress(TimeoutError):
                async with asyncio.timeout(_SILENCE_S):
                    await self._lost.wait()
            if self._lost.is_set() or self._unheard == before:
                return

    def get_extra_info(self, name: str) -> Any:
        """Return what the transport knows of the connection.

        Raises
        ------
        ConnectionResetError
            If the connection is gone.
        """
        return self._connected.get_extra_info(name)
