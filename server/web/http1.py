"""HTTP/1.1 as uploads need it: strict heads, late permission to send, bodies that pass h11 by.

h11 (0.16) appends what arrives to a buffer, copies it out again and makes an event of it, whatever
it is. Inside a body whose length the header named there is nothing to parse, only to count. What
frames a message stays with h11: the head, chunked bodies, the end of every body, and what follows;
`strict` says which of that is taken.

The head of an answer is sent with the first of its body: a write of its own costs a record of TLS
and a system call.

A client that asks with `Expect: 100-continue` is told to go on when somebody begins to read the
body, so one that is refused before that never sends it.
"""

import dataclasses
from typing import Any

import h11
import hypercorn.protocol
from h11._readers import ContentLengthReader
from hypercorn.events import Event, RawData
from hypercorn.protocol.events import Body, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol

from server.web.problems import bare_problem
from server.web.strict import StrictConnection

PROCEED = "proceed"  # in the state of a request's scope: called before the body is read


class StreamingH11(H11Protocol):
    """Hypercorn's protocol (0.18) with what the module describes."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.connection: StrictConnection = StrictConnection()
        self.connection_state[PROCEED] = self._proceed
        self._unsent = b""  # the head of an answer

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

    def _counting_reader(self) -> ContentLengthReader | None:
        """Return what h11 counts the body with, when it would only copy what arrives."""
        if self.connection.trailing_data[0]:
            return None
        reader = self.connection._reader
        return reader if isinstance(reader, ContentLengthReader) else None

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
        for part in (answer, h11.Data(data=body), h11.EndOfMessage()):
            await self._send_h11_event(part)


def install() -> None:
    """Have Hypercorn speak HTTP/1.1 so; it knows no other way to choose the class."""
    setattr(hypercorn.protocol, "H11Protocol", StreamingH11)  # noqa: B010  # mypy knows no export
