"""Calls that wait for a child of a pool, or children that wait for a call: never both."""

import asyncio
from collections import deque

from server.errors import Overload, ServerError
from server.inference.frames import BatchMessage, Message

Answer = asyncio.Future[Message]
Asked = tuple[Message | BatchMessage, Answer]


class Calls:
    """Hands each call to whoever waits for one, without a task between the two.

    Parameters
    ----------
    most : int
        Calls that may wait; more are refused.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[Asked] = deque()
        self._free: deque[asyncio.Future[Asked | None]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, asked: Asked, *, first: bool = False) -> None:
        """Hand over a call, or let it wait: behind the others, or `first`.

        Raises
        ------
        Overload
            If too many wait.
        """
        while self._free:
            taker = self._free.popleft()
            if not taker.done():
                taker.set_result(asked)
                return
        if len(self._waiting) >= self._most:
            raise Overload(f"{self._most} calls wait already")
        if first:
            self._waiting.appendleft(asked)
        else:
            self._waiting.append(asked)

    async def next(self, over: asyncio.Future[None]) -> Asked | None:
        """Return the next call whose caller is still there; None as soon as `over` is done."""
        while not over.done():
            asked = self._waiting.popleft() if self._waiting else await self._wait(over)
            if asked is not None and not asked[1].done():
                return asked
        return None

    async def _wait(self, over: asyncio.Future[None]) -> Asked | None:
        taker: asyncio.Future[Asked | None] = asyncio.get_running_loop().create_future()

        def end(_: asyncio.Future[None]) -> None:
            if not taker.done():
                taker.set_result(None)

        over.add_done_callback(end)
        self._free.append(taker)
        try:
            return await taker
        except asyncio.CancelledError:
            if taker.done() and not taker.cancelled() and (asked := taker.result()):
                settle(asked[1], Overload("the process was stopped"))  # it came this very moment
            raise
        finally:
            over.remove_done_callback(end)
            # not by the error of `remove`, whose message writes out the whole call
            if taker in self._free:
                self._free.remove(taker)

    def forget(self, answer: Answer) -> None:
        """Take out the call whose caller is gone, if it still waits."""
        for k, asked in enumerate(self._waiting):
            if asked[1] is answer:
                del self._waiting[k]
                return

    def refuse(self, error: ServerError) -> None:
        """Refuse all that wait."""
        while self._waiting:
            settle(self._waiting.popleft()[1], error)


def settle(answer: Answer, error: ServerError) -> None:
    """Fail a call, where somebody still waits for it."""
    if not answer.done():
        answer.set_exception(error)
