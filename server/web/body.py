"""Request bodies, pulled from the connection as they are read: nothing is buffered.

A reader that stops reading stops the sender (TCP and HTTP/2 windows fill up). A body lives as long
as it keeps moving: no pause longer than `idle_s`, and after a while of grace at least `min_rate`
bytes a second on average.
"""

import asyncio
import io
import time
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

from hypercorn.typing import ASGIReceiveCallable

from server.backlog import Backlog
from server.errors import IncompleteBody, Overload, TooLarge, TooManyRequests, TooSlow

_WINDOW_S = 30.0
PROCEED = "proceed"  # in the state of a request's scope: called before the body is read
Proceed = Callable[[], Awaitable[None]]
DRAIN_BYTES = 128 << 20
DRAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How slow a body may be.

    Attributes
    ----------
    idle_s : float
        Longest pause, in seconds.
    min_rate : int
        Bytes a second on average, once the grace is over.
    grace_s : float
        How long it may be slower, in seconds.
    """

    idle_s: float
    min_rate: int
    grace_s: float


class RequestBody:
    """One request's body, read once.

    The two parameters are what Quart's body class takes; limits are counted where a route reads.

    Attributes
    ----------
    declared : int or None
        The size that the header names.
    received : int
        How much of it was read.
    caller : str
        Whose it is, as quotas count.
    """

    def __init__(
        self, expected_content_length: int | None, _max_content_length: int | None
    ) -> None:
        self.declared = expected_content_length
        self.received = 0
        self.caller = ""
        self._complete = asyncio.Event()
        self._gone = False
        self._receive: ASGIReceiveCallable
        self._pace: Pace
        self._proceed: Proceed | None = None
        self._started = self._window_started = time.monotonic()
        self._window_received = 0

    def attach(
        self, receive: ASGIReceiveCallable, pace: Pace, proceed: Proceed | None = None
    ) -> None:
        """Say where the body comes from; before it is read.

        Parameters
        ----------
        receive : callable
            Gives the next piece.
        pace : Pace
            How slow it may be.
        proceed : callable, optional
            Tells a client to send that waits to be told; called before the first piece.
        """
        self._receive = receive
        self._pace = pace
        self._proceed = proceed

    @property
    def is_held_back(self) -> bool:
        """Whether the client waits to be told to send it, and was not."""
        return self._proceed is not None

    @property
    def is_complete(self) -> bool:
        """Whether all of it was received, or the client is gone."""
        return self._complete.is_set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece.

        Raises
        ------
        TooSlow
            If it pauses too long or crawls.
        IncompleteBody
            If the client went away first.
        """
        if self._complete.is_set():
            if self._gone:
                raise IncompleteBody
            raise StopAsyncIteration
        try:
            async with asyncio.timeout(self._pace.idle_s):
                piece = await self._pull()
        except TimeoutError:
            raise TooSlow(f"nothing arrived for {self._pace.idle_s:g} s") from None
        self._check_rate(time.monotonic())
        return piece

    def _check_rate(self, now: float) -> None:
        """Hold every window after the grace to the minimum rate, whatever came before it."""
        grace_s = self._pace.grace_s
        window_s = min(_WINDOW_S, grace_s) or _WINDOW_S
        if now - self._started < grace_s or now - self._window_started < window_s:
            return
        needed = self._pace.min_rate * (now - self._window_started)
        if self._window_started > self._started and self.received - self._window_received < needed:
            raise TooSlow(f"fewer than {self._pace.min_rate} bytes a second arrive")
        self._window_started, self._window_received = now, self.received

    async def drain(self) -> None:
        """Read and forget the rest, within bounds, so that the client gets to read its answer."""
        limit = self.received + DRAIN_BYTES
        try:
            async with asyncio.timeout(DRAIN_S):
                while not self._complete.is_set() and self.received < limit:
                    await self._pull()
        except (TimeoutError, IncompleteBody):
            return

    async def gone(self) -> None:
        """Return when the client has gone away after sending its whole body."""
        await self._complete.wait()
        while not self._gone:
            self._gone = (await self._receive())["type"] == "http.disconnect"

    async def _pull(self) -> bytes:
        if self._proceed is not None:
            proceed, self._proceed = self._proceed, None
            await proceed()
        message: Any = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone = True
            self._complete.set()
            raise IncompleteBody
        piece: bytes = message.get("body", b"")
        self.received += len(piece)
        if not message.get("more_body", False):
            self._complete.set()
        return piece


def limited(body: RequestBody, max_bytes: int) -> AsyncIterator[bytes]:
    """Return a body's pieces up to a limit that is counted here, whatever its header says.

    Raises
    ------
    TooLarge
        At once if the declared size is over the limit; the pieces raise it when they are.
    """
    check_declared(body, max_bytes)
    return _counted(body, max_bytes)


def check_declared(body: RequestBody, max_bytes: int) -> None:
    """Refuse a body that says of itself that it is over the limit.

    Raises
    ------
    TooLarge
        If it does.
    """
    if body.declared is not None and body.declared > max_bytes:
        raise _too_large(max_bytes)


async def _counted(body: RequestBody, max_bytes: int) -> AsyncIterator[bytes]:
    size = 0
    async for piece in body:
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        if piece:
            yield piece


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"this path takes at most {max_bytes} bytes", limit=max_bytes)


class BodyMemory:
    """Room for the bodies that routes hold whole.

    Who has several of them on their way gets a quarter at most until they are complete: nobody
    knows before whether they are signed, and a slow sender keeps what it has for long.

    Parameters
    ----------
    max_bytes : int
        For all of them together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = Backlog()
        self._arriving: Counter[str] = Counter()

    async def read(self, chunks: AsyncIterable[bytes], caller: str = "") -> "HeldBody":
        """Read a body whole.

        Raises
        ------
        Overload
            If there is no room for it now.
        TooManyRequests
            If this caller has more on its way than one may have.
        """
        held = HeldBody(self)
        arrived = 0
        try:
            async for chunk in chunks:
                self._admit(len(chunk), caller, beside=self._arriving[caller] - arrived)
                arrived += len(chunk)
                self._arriving[caller] += len(chunk)
                held.add(chunk)
        except BaseException:
            held.release()
            raise
        finally:
            self._arriving[caller] -= arrived
            if not self._arriving[caller]:
                del self._arriving[caller]
        return held

    def _admit(self, size: int, caller: str, *, beside: int) -> None:
        if self._held.amount + size > self._max_bytes:
            raise Overload("too many large requests at once", retry_after_s=self._held.refuse(size))
        share = self._max_bytes // 4
        if beside and self._arriving[caller] + size > share:
            raise TooManyRequests(
                f"bodies of one address that are on their way take at most {share} bytes",
                retry_after_s=self._held.refuse(size),
            )
        self._held.begin(size)

    def give_back(self, size: int) -> None:
        """Free what a body took."""
        if size:
            self._held.end(size)


class HeldBody:
    """A whole body; its room is taken until the `with` block ends."""

    def __init__(self, memory: BodyMemory) -> None:
        self.size = 0
        self._buffer = io.BytesIO()
        self._memory = memory

    def add(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._buffer.write(piece)
        self.size += len(piece)

    def take(self) -> bytes:
        """Return the bytes, once."""
        whole = self._buffer.getvalue()  # the buffer itself: pieces joined would be held twice
        self._buffer = io.BytesIO()
        return whole

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Free the room; once."""
        self._buffer = io.BytesIO()
        self._memory.give_back(self.size)
        self.size = 0
