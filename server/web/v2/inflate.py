"""Bodies that were made smaller for the way: inflated by the piece, and never past a limit."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.errors import BadEncoding, TooLarge, UnknownEncoding
from server.web.body import BodyMemory
from server.web.connection import StreamedRequest

_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # zlib's names of the two formats
_READ, _WRITTEN = 256 << 10, 1 << 20  # bytes of one turn, in and out: 3 ms


@asynccontextmanager
async def plain(
    asked: StreamedRequest, data: bytes, memory: BodyMemory, max_bytes: int
) -> AsyncIterator[bytes]:
    """Hold a body as it was before it was encoded; its room counts as taken meanwhile.

    Raises
    ------
    BadEncoding
        If it is not what `Content-Encoding` says, or that is not known.
    TooLarge
        If it is larger than the path takes, before more than that was inflated.
    Overload, TooManyRequests
        If there is no room for it.
    """
    encoding = asked.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        yield data
        return
    window = _WINDOWS.get(encoding)
    if window is None:
        raise UnknownEncoding("the body may be encoded as gzip or deflate")
    with await memory.read(inflated(data, window, max_bytes), asked.caller) as held:
        yield held.take()


async def inflated(data: bytes, window: int, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield what a body inflates to.

    Raises
    ------
    BadEncoding, TooLarge
        As `plain`.
    """
    inflater = zlib.decompressobj(window)
    size = 0
    for start in range(0, len(data), _READ):
        rest = data[start : start + _READ]
        while not inflater.eof:
            try:
                piece = inflater.decompress(rest, _WRITTEN)
            except zlib.error as error:
                raise BadEncoding("the body cannot be inflated") from error
            rest = inflater.unconsumed_tail
            size += len(piece)
            if size > max_bytes:
                raise TooLarge(f"this path takes at most {max_bytes} bytes", limit=max_bytes)
            if piece:
                yield piece
            if not rest and len(piece) < _WRITTEN:
                break  # it wants the next piece
            await asyncio.sleep(0)  # others get their turn
        if rest or inflater.unused_data:
            raise BadEncoding("something stands behind the end of the encoded body")
    if not inflater.eof:
        raise BadEncoding("the encoded body is cut short")
