"""The calls that wait for a child of a pool."""

import asyncio
from collections import deque

from server.inference.frames import BatchMessage, Message

Asked = tuple[Message | BatchMessage, asyncio.Future[Message]]


class Calls(asyncio.Queue[Asked]):
    """Calls that wait for a child."""

    def _init(self, _maxsize: int) -> None:
        self._waiting: deque[Asked] = deque()
        self._queue = self._waiting  # what the other methods of `asyncio.Queue` look at

    def bring_forward(self) -> None:
        """Let the call that came last be the next."""
        self._waiting.rotate(1)

    def forget(self, answer: asyncio.Future[Message]) -> None:
        """Take out the call whose caller is gone, if it still waits."""
        for k, job in enumerate(self._waiting):
            if job[1] is answer:
                del self._waiting[k]
                return
