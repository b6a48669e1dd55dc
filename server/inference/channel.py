"""What the web process says to one child and hears from it: frames, one or two calls at a time."""

import asyncio

from server.errors import WorkerFailed
from server.inference import frames
from server.inference.frames import BadFrame, BatchMessage, Frame, Message
from server.inference.mailbox import Mailbox

BUFFER_BYTES = 256 << 10
_MAX_ANSWER_BYTES = 256 << 20


class Channel:
    """The parent's end.

    Parameters
    ----------
    reader, writer : asyncio.StreamReader, asyncio.StreamWriter
        Of the socket.
    inbox, outbox : Mailbox or None
        For large payloads, to the child and from it.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        inbox: Mailbox | None,
        outbox: Mailbox | None,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._inbox, self._outbox = inbox, outbox
        self._sending, self._receiving = asyncio.Lock(), asyncio.Lock()

    async def ask(self, message: Message | BatchMessage, *, timeout_s: float) -> Message:
        """Send a message and return the answer; a second may be asked meanwhile.

        Raises
        ------
        WorkerFailed
            If the child ended, answered nonsense or took too long; it can be asked no more.
        """
        try:
            async with self._sending, asyncio.timeout(timeout_s):
                await self._send(message.buffers())
            # locks are fair: answers are read in the order in which was asked
            async with self._receiving, asyncio.timeout(timeout_s):
                return await self._receive()
        except TimeoutError as error:
            raise WorkerFailed(f"no answer within {timeout_s:g} s") from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise WorkerFailed("the process ended before it answered") from error
        except BadFrame as error:
            raise WorkerFailed("the process answered nonsense") from error

    @property
    def has_hung_up(self) -> bool:
        """Whether the child has closed its end."""
        return self._reader.at_eof() or self._reader.exception() is not None

    async def _send(self, frame: Frame) -> None:
        half = self._inbox.put(frame[2:]) if self._inbox is not None else None
        if half is not None:
            frame = frames.without_payload(frame, half)
        for buffer in frames.joined(frame):
            view = memoryview(buffer)
            # in pieces, so that other requests get their turn beside a large sound
            for start in range(0, len(view), BUFFER_BYTES):
                self._writer.write(view[start : start + BUFFER_BYTES])
                await self._writer.drain()

    async def _receive(self) -> Message:
        marked = await self._reader.readexactly(frames.PREFIX_BYTES)
        prefix, half = frames.split_prefix(marked)
        head_size, payload_size = frames.read_prefix(prefix, max_payload=_MAX_ANSWER_BYTES)
        head = await self._reader.readexactly(head_size)
        if half is None:
            payload = await self._reader.readexactly(payload_size)
        elif self._outbox is None:
            raise BadFrame("a payload in an outbox that was never given")
        else:
            payload = bytes(self._outbox.get(half, payload_size))
        return frames.decode(head, payload)

    def close(self) -> None:
        """Close the parent's end; once."""
        self._writer.close()
        for box in (self._inbox, self._outbox):
            if box is not None:
                box.close()
        self._inbox = self._outbox = None
