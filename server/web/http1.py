"""HTTP/1.1 as uploads need it: strict heads, late permission to send, bodies that pass h11 by.

h11 (0.16) appends what arrives to a buffer, copies it out again and makes an event of it, whatever
it is. Inside a body whose length the header named there is nothing to parse, only to count. What
frames a message stays with h11: the head, chunked bodies, the end of every body, and what follows;
`strict` says which of that is taken.

The head of an answer is sent with the first of its body: a write of its own costs a record of TLS
and a system call.

A client that asks with `Expect: 100-continue` is told to go on when somebody begins to read the
body, so one that is refused before that never sends it.

A connection that ends before its request is closed when its client has fallen silent: to close on
one that sends resets the connection, and the answer may be lost with it.

While all places are taken, who finds none is answered at the first look, without h11, which would
take more time than the rest of a refusal together; the connection skips the body.
"""

import dataclasses
import time
from functools import lru_cache, partial
from typing import Any

import h11
import hypercorn.protocol
from h11._readers import ContentLengthReader
from hypercorn.asyncio.worker_context import EventWrapper
from hypercorn.config import Config
from hypercorn.events import Event, RawData
from hypercorn.protocol.events import Body, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol

from server.web.body import DRAIN_BYTES, PROCEED
from server.web.early import EarlyRefusals
from server.web.leaving import end_at_once
from server.web.problems import bare_problem
from server.web.strict import StrictConnection, plain_post
from server.web.wire import Wire

REFUSING = "refusing"  # in the state of a connection: an `EarlyRefusals`
WIRE = "wire"  # and the `Wire`


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
        self._holds_back = False  # whether the client asked to be told to send, and was not
        self.can_read = turn = _Turn()
        self._wire: Wire = self.connection_state.pop(WIRE)
        self._wire.when_lost(turn.end)
        refusing: EarlyRefusals | None = self.connection_state.pop(REFUSING, None)
        if refusing is not None:
            self._wire.look_first(partial(self._turned_away, refusing))

    async def handle(self, event: Event) -> None:
        """Take what arrived."""
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

    def _turned_away(self, early: EarlyRefusals, data: bytes) -> tuple[bytes, int] | None:
        """Refuse a request that finds no room, by what has arrived of it.

        Returns
        -------
        answer : bytes
            As h11 would send it.
        length : int
            Of the request.
        """
        if not early.is_busy or not self._is_between_requests():
            return None
        post = plain_post(data)
        if post is None or post.body_bytes > DRAIN_BYTES:
            return None
        address = self.client[0] if self.client else ""
        refusal = early.find("POST", post.path, address, post.fields)
        if refusal is None:
            return None
        lines = [b"%b: %b\r\n" % header for header in (*refusal.headers, *self._dated())]
        answer = b"HTTP/1.1 %d \r\n%b\r\n%b" % (refusal.status, b"".join(lines), refusal.body)
        return answer, post.head_bytes + post.body_bytes

    def _dated(self) -> list[tuple[bytes, bytes]]:
        return _headers_of_second(self.config, int(time.time()))

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
        self._holds_back = self.connection.client_is_waiting_for_100_continue
        await super()._create_stream(request)
        end_at_once(self.stream)

    async def stream_send(self, event: StreamEvent) -> None:
        """Send a part of an answer."""
        is_cut = self._holds_back and self.connection.their_state is h11.SEND_BODY
        if isinstance(event, Response) and is_cut:
            # how much of its body comes is the client's choice: only a new connection is clear
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
        self._holds_back = False
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
        await self._wire.hear_out()

    async def _maybe_recycle(self) -> None:
        if self.connection.their_state is h11.SEND_BODY:
            await self._wire.hear_out()
        await super()._maybe_recycle()


@lru_cache(maxsize=1)
def _headers_of_second(config: Config, _second: int) -> list[tuple[bytes, bytes]]:
    """Return the headers of every answer, the date among them."""
    return config.response_headers("h11")


def install() -> None:
    """Have Hypercorn speak HTTP/1.1 so; it knows no other way to choose the class."""
    setattr(hypercorn.protocol, "H11Protocol", StreamingH11)  # noqa: B010  # mypy knows no export
