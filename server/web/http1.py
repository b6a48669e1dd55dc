"""HTTP/1.1 as uploads need it: strict heads, late permission to send, bodies that pass h11 by.

h11 (0.16) appends what arrives to a buffer, copies it out again and makes an event of it, whatever
it is. Inside a body whose length the header named there is nothing to parse, only to count. What
frames a message stays with h11: the head, chunked bodies, the end of every body, and what follows;
`strict` says which of that is taken.

The head of an answer is sent with the first of its body: a write of its own costs a record of TLS
and a system call.

A client that asks with `Expect: 100-continue` is told to go on when somebody begins to read the
body, so one that is refused before that never sends it.

While all places are taken, who finds none is answered without h11, which would take more time than
the rest of a refusal together; the connection skips the body.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import h11
import hypercorn.protocol
from h11._readers import ContentLengthReader
from hypercorn.asyncio.worker_context import EventWrapper
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol

from server.web.body import DRAIN_BYTES, DRAIN_S, PROCEED
from server.web.early import EarlyRefusals, Refusal
from server.web.leaving import end_at_once
from server.web.problems import bare_problem
from server.web.strict import StrictConnection, plain_post

REFUSING = "refusing"  # in the state of a connection: a `Refusing`
LOSS = "loss"  # and what takes a callable, to call it when the connection is gone
Skip = Callable[[int], Awaitable[None]]


@dataclasses.dataclass(frozen=True, slots=True)
class Refusing:
    """How requests are refused that find no room.

    Attributes
    ----------
    early : EarlyRefusals
        Says which.
    skip : coroutine function
        Takes so many bytes from the connection, and forgets them.
    """

    early: EarlyRefusals
    skip: Skip


class _Turn(EventWrapper):
    """When the next request may be read; never, once the client is gone.

    Hypercorn waits for it while a request is answered behind which more has arrived, and nothing
    else reads the connection meanwhile.
    """

    def __init__(self) -> None:
        super().__init__()
        self._gone = False

    def end(self) -> None:
        """Wake who waits: the client is gone."""
        self._gone = True
        self._event.set()

    async def wait(self) -> None:
        """Return when it is there.

        Raises
        ------
        ConnectionResetError
            If the client is gone.
        """
        await super().wait()
        if self._gone:
            raise ConnectionResetError("the client has left")

    async def clear(self) -> None:
        """Have it waited for."""
        if not self._gone:
            await super().clear()


class StreamingH11(H11Protocol):
    """Hypercorn's protocol (0.18) with what the module describes."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.connection: StrictConnection = StrictConnection()
        self.connection_state[PROCEED] = self._proceed
        self._unsent = b""  # the head of an answer
        self._refusing: Refusing | None = self.connection_state.pop(REFUSING, None)
        self.can_read = turn = _Turn()
        if (when_lost := self.connection_state.pop(LOSS, None)) is not None:
            when_lost(turn.end)

    async def handle(self, event: Event) -> None:
        """Take what arrived."""
        refusing = self._refusing
        if (
            isinstance(event, RawData)
            and refusing is not None
            and refusing.early.is_busy
            and self._is_between_requests()
        ):
            rest = await self._turn_away(event.data, refusing)
            if event.data and not rest:
                return
            event = RawData(rest)
        reader = self._counting_reader()
        if reader is None or self.stream is None or not isinstance(event, RawData):
            await super().handle(event)
            return
        left = reader._remaining
        piece, rest = event.data[:left], event.data[left:]  # bytes cut at their end are not copied
        reader._remaining -= len(piece)
        if piece:
            self.connection.client_is_waiting_for_100_continue = False
            await self.stream.handle(Body(stream_id=STREAM_ID, data=piece))
        if rest or not event.data:
            await super().handle(RawData(rest))
        elif reader._remaining == 0:
            await self._handle_events()

    async def _turn_away(self, data: bytes, refusing: Refusing) -> bytes:
        """Refuse the requests that find no room at the beginning of what arrived.

        Returns
        -------
        bytes
            What follows them.
        """
        address, at = self.client[0] if self.client else "", 0
        while (post := plain_post(data, at)) is not None and post.body_bytes <= DRAIN_BYTES:
            refusal = refusing.early.find("POST", post.path, address, post.fields)
            if refusal is None:
                break
            await self.send(Updated(idle=False))
            at += post.head_bytes + post.body_bytes
            try:
                async with asyncio.timeout(DRAIN_S):
                    await self.send(RawData(self._written(refusal)))
                    if at > len(data):
                        await refusing.skip(at - len(data))
                is_whole = True
            except OSError:  # its client has left, does not read, or takes too long
                is_whole = False
            if not is_whole or self.context.terminated.is_set():
                await self.send(Closed())
                return b""
            await self.send(Updated(idle=True))
            if at >= len(data):
                return b""
            await asyncio.sleep(0)  # others get their turn between two of one client
        return data[at:] if at else data

    def _written(self, refusal: Refusal) -> bytes:
        """Return an answer as h11 would send it."""
        headers = [*refusal.headers, *self.config.response_headers("h11")]
        lines = [b"%b: %b\r\n" % header for header in headers]
        return b"HTTP/1.1 %d \r\n%b\r\n%b" % (refusal.status, b"".join(lines), refusal.body)

    def _is_between_requests(self) -> bool:
        return (
            self.stream is None
            and self.connection.their_state is h11.IDLE
            and not self.connection.trailing_data[0]
            and not self.context.terminated.is_set()
        )

    def _counting_reader(self) -> ContentLengthReader | None:
        """Return what h11 counts the body with, when it would only copy what arrives."""
        if self.connection.trailing_data[0]:
            return None
        reader = self.connection._reader
        return reader if isinstance(reader, ContentLengthReader) else None

    async def _create_stream(self, request: h11.Request) -> None:
        await super()._create_stream(request)
        end_at_once(self.stream)

    async def stream_send(self, event: StreamEvent) -> None:
        """Send a part of an answer."""
        if isinstance(event, Response) and self.connection.client_is_waiting_for_100_continue:
            # whether its body still comes is the client's choice: only a new connection is clear
            headers = [*event.headers, (b"connection", b"close")]
            event = dataclasses.replace(event, headers=headers)
        await super().stream_send(event)

    async def _send_h11_event(self, event: Any) -> None:
        try:
            data = self.connection.send(event) or b""
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return
        if type(event) is h11.Response:
            self._unsent = data
            return
        data, self._unsent = self._unsent + data, b""
        if data:
            await self.send(RawData(data))

    async def _proceed(self) -> None:
        if self.connection.client_is_waiting_for_100_continue:
            await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=[]))

    async def _send_error_response(self, status_code: int) -> None:
        """Say what was wrong with a request that never became one."""
        status, headers, body = bare_problem(self.connection.fault)
        dated = self.config.response_headers("h11")
        answer = h11.Response(
            status_code=status, headers=[*headers, (b"connection", b"close"), *dated]
        )
        data = [] if self.connection.asks_for_head else [h11.Data(data=body)]
        for part in (answer, *data, h11.EndOfMessage()):
            await self._send_h11_event(part)


def install() -> None:
    """Have Hypercorn speak HTTP/1.1 so; it knows no other way to choose the class."""
    setattr(hypercorn.protocol, "H11Protocol", StreamingH11)  # noqa: B010  # mypy knows no export
