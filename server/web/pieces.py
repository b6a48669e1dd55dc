"""Answers that are made while they are sent."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from typing import Self

from quart.wrappers.response import ResponseBody


class Pieces(ResponseBody):
    """A body that is written piece by piece; what it is made of is freed at its end.

    Parameters
    ----------
    pieces : asynchronous generator of bytes
        The pieces.
    held : AsyncExitStack
        What to free.
    """

    def __init__(self, pieces: AsyncGenerator[bytes, None], held: AsyncExitStack) -> None:
        self._pieces = pieces
        self._held = held

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._pieces.aclose()
        finally:
            await self._held.aclose()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces
