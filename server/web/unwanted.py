"""What still arrives of a request that nobody reads: counted, and forgotten as it is decrypted."""

import asyncio


class Unwanted:
    """The bytes to come of a request that was answered by its first ones.

    Attributes
    ----------
    since_s : float
        When the last such request began, or had arrived whole, in the time of the event loop.
    left : int
        Bytes to come.
    """

    def __init__(self) -> None:
        self.since_s = 0.0
        self.left = 0
        self._arrived = asyncio.Event()
        self._arrived.set()

    @property
    def is_arriving(self) -> bool:
        """Whether more of one is awaited."""
        return not self._arrived.is_set()

    async def arrived(self) -> None:
        """Return when nothing of one is awaited any more."""
        await self._arrived.wait()

    def begin(self, length: int) -> None:
        """Note a request of so many bytes."""
        self.left = length
        self.since_s = asyncio.get_running_loop().time()
        self._arrived.clear()

    def take(self, nbytes: int) -> int:
        """Return how many of so many bytes are unwanted."""
        done = min(self.left, nbytes)
        self.left -= done
        if done and not self.left:
            self.since_s = asyncio.get_running_loop().time()
            self._arrived.set()
        return done

    def end(self) -> None:
        """Await no more: the client sends nothing."""
        self._arrived.set()
