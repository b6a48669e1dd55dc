"""The loop that every child process runs: read a frame, call the handler that it names, answer.

A child speaks on one socket (descriptor 3), logs to standard error and ends when its parent does.
Between its imports and its first call the walls of the sandbox close around it, see `sandbox`. A
`ServerError` becomes a problem in the answer; anything else ends the child, because nobody knows
what state it is in, and the parent starts another.
"""

import json
import socket
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.errors import ServerError
from server.inference import frames
from server.inference.frames import SOCKET_FD, Message, Part
from server.inference.mailbox import Mailbox
from server.inference.sandbox import confined

_MAX_PAYLOAD = 1 << 30

Handler = Callable[[Message], Message]


def serve(start: Callable[[dict[str, Any]], tuple[dict[str, Any], Mapping[str, Handler]]]) -> None:
    """Answer calls until the parent closes the socket.

    Parameters
    ----------
    start : callable
        Takes the configuration that the parent sends first; returns what to say when ready, and the
        handlers by operation.
    """
    with socket.socket(fileno=SOCKET_FD) as sock:
        connection = _Connection(sock)
        first = connection.receive()
        if first is None:
            return
        connection.open_mailboxes(first.fields)
        handlers: Mapping[str, Handler] = {}

        def begin(message: Message) -> Message:
            nonlocal handlers
            with confined(message.fields.pop("sandbox", None)):
                ready, handlers = start(message.fields)
            return Message(ready)

        try:
            connection.send(_answer(begin, first))
            while (message := connection.receive()) is not None:
                connection.send(_answer(handlers[message.fields["op"]], message))
        # a boundary: said before the socket closes, or the parent's kill is first
        except Exception:
            traceback.print_exc()
            raise SystemExit(1) from None


def to_part(name: str, array: NDArray[Any]) -> Part:
    """Wrap an array as a part, little-endian in C order."""
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return Part(name, plain.reshape(-1).view(np.uint8).data, str(plain.dtype), plain.shape)


def to_array(part: Part) -> NDArray[Any]:
    """View a part as the array that it carries."""
    return np.frombuffer(part.data, dtype=part.dtype).reshape(part.shape)


def _answer(handler: Handler, message: Message) -> Message:
    try:
        return handler(message)
    except ServerError as error:
        members = json.loads(json.dumps(error.members))
        return Message(
            {"problem": {"slug": error.slug, "detail": error.detail, "members": members}}
        )


class _Connection:
    """The child's end of the socket and of the mailboxes beside it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._inbox: Mailbox | None = None
        self._outbox: Mailbox | None = None

    def open_mailboxes(self, fields: dict[str, Any]) -> None:
        """Take the mailboxes that the first message names, where there are any."""
        if (fd := fields.pop("inbox_fd", None)) is not None:
            self._inbox = Mailbox.open(fd, writes=False)
        if (fd := fields.pop("outbox_fd", None)) is not None:
            self._outbox = Mailbox.open(fd, writes=True)

    def receive(self) -> Message | None:
        """Return the next message; None when the parent has closed its end."""
        marked = self._read(frames.PREFIX_BYTES)
        if marked is None:
            return None
        prefix, half = frames.split_prefix(bytes(marked))
        head_size, payload_size = frames.read_prefix(prefix, max_payload=_MAX_PAYLOAD)
        head = self._read(head_size)
        if half is None or self._inbox is None:
            payload = self._read(payload_size)
        else:
            payload = self._inbox.get(half, payload_size)
        if head is None or payload is None:
            return None
        return frames.decode(bytes(head), payload)

    def send(self, message: Message) -> None:
        """Send an answer."""
        frame = message.buffers()
        half = self._outbox.put(frame[2:]) if self._outbox is not None else None
        if half is not None:
            frame = frames.without_payload(frame, half)
        for buffer in frames.joined(frame):
            self._socket.sendall(buffer)

    def _read(self, size: int) -> memoryview | None:
        buffer = memoryview(bytearray(size))
        filled = 0
        while filled < size:
            count = self._socket.recv_into(buffer[filled:])
            if count == 0:
                return None
            filled += count
        return buffer
