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
    with socket.socket(fileno=SOCKET_FD) as connection:
        first = _receive(connection)
        if first is None:
            return
        handlers: Mapping[str, Handler] = {}

        def begin(message: Message) -> Message:
            nonlocal handlers
            with confined(message.fields.pop("sandbox", None)):
                ready, handlers = start(message.fields)
            return Message(ready)

        try:
            _answer(connection, begin, first)
            while (message := _receive(connection)) is not None:
                _answer(connection, handlers[message.fields["op"]], message)
        except (
            Exception
        ):  # a boundary: said before the socket closes, or the parent's kill is first
            traceback.print_exc()
            raise SystemExit(1) from None


def to_part(name: str, array: NDArray[Any]) -> Part:
    """Wrap an array as a part, little-endian in C order."""
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return Part(name, plain.reshape(-1).view(np.uint8).data, str(plain.dtype), plain.shape)


def to_array(part: Part) -> NDArray[Any]:
    """View a part as the array that it carries."""
    return np.frombuffer(part.data, dtype=part.dtype).reshape(part.shape)


def _answer(connection: socket.socket, handler: Handler, message: Message) -> None:
    try:
        answer = handler(message)
    except ServerError as error:
        members = json.loads(json.dumps(error.members))
        problem = {"slug": error.slug, "detail": error.detail, "members": members}
        answer = Message({"problem": problem})
    for buffer in answer.buffers():
        connection.sendall(buffer)


def _receive(connection: socket.socket) -> Message | None:
    prefix = _read(connection, frames.PREFIX_BYTES)
    if prefix is None:
        return None
    head_size, payload_size = frames.read_prefix(bytes(prefix), max_payload=_MAX_PAYLOAD)
    head, payload = _read(connection, head_size), _read(connection, payload_size)
    if head is None or payload is None:
        return None
    return frames.decode(bytes(head), payload)


def _read(connection: socket.socket, size: int) -> memoryview | None:
    buffer = memoryview(bytearray(size))
    filled = 0
    while filled < size:
        count = connection.recv_into(buffer[filled:])
        if count == 0:
            return None
        filled += count
    return buffer
