"""HTTP/1.1 as uploads need it: the inside of a body of known length passes h11 by.

h11 (0.16) appends what arrives to a buffer, copies it out again and makes an event of it, whatever
it is. Inside a body whose length the header named there is nothing to parse, only to count. What
frames a message stays with h11: the head, chunked bodies, the end of every body, and what follows.
"""

import h11
import hypercorn.protocol
from h11._readers import ContentLengthReader
from hypercorn.events import Event, RawData
from hypercorn.protocol.events import Body
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol


class StreamingH11(H11Protocol):
    """Hypercorn's protocol (0.18) with the shortcut that the module describes."""

    @property
    def expected(self) -> int:
        """How many bytes are sure to come: what is left of a body of known length, at least 1."""
        reader = self._counting_reader()
        return 1 if reader is None else max(1, reader._remaining)

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
            await self.stream.handle(Body(stream_id=STREAM_ID, data=piece))
        if rest or not event.data:
            await super().handle(RawData(rest))
        elif reader._remaining == 0:
            await self._handle_events()

    def _counting_reader(self) -> ContentLengthReader | None:
        """Return what h11 counts the body with, when it would only copy what arrives."""
        connection = self.connection
        if not isinstance(connection, h11.Connection) or connection.trailing_data[0]:
            return None
        reader = connection._reader
        return reader if isinstance(reader, ContentLengthReader) else None


def install() -> None:
    """Have Hypercorn speak HTTP/1.1 so; it knows no other way to choose the class."""
    setattr(hypercorn.protocol, "H11Protocol", StreamingH11)  # noqa: B010  # mypy knows no export
