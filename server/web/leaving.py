"""The end of a request whose application does not read it.

Hypercorn (0.18) tells an application that its client is gone by the queue that the pieces of the
body wait in. Where that is full and nobody reads it any more, what tells it waits for ever: the
connection stays open, or what was served on it stays in memory.
"""

import asyncio
from typing import Any

from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import WSStream


def end_at_once(stream: HTTPStream | WSStream | None) -> None:
    """Have the end of a stream take the place of what its application has not read."""
    put: Any = None if stream is None else stream.app_put
    if stream is None or put is None:
        return  # it has no application: it was refused
    waiting: asyncio.Queue[Any] = put.__self__

    async def deliver(message: Any) -> None:
        if message["type"] == "http.disconnect" and waiting.full():
            while not waiting.empty():  # all of it: a body with a hole would pass for a whole one
                waiting.get_nowait()
        await put(message)

    stream.app_put = deliver
