"""The loaded models and the memory that they share: who stays, and who goes for another.

What a worker takes is measured when it has loaded and again while it works; until then it is
estimated. The least recently used model goes first; one that is in use or pinned never does.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from server.digest import Digest
from server.errors import MemoryShort, Overload
from server.inference.batcher import Batcher
from server.inference.pool import ChildPool

_log = logging.getLogger(__name__)
_WAIT_FOR_ROOM_S = 10.0
_MEASURE_S = 5.0  # a worker in use is measured no more often
_KNOWN = 4096  # models whose memory is remembered when they are not loaded


@dataclass(frozen=True, slots=True)
class Budget:
    """What loaded models may take.

    Attributes
    ----------
    memory_bytes : int
        All workers together.
    models : int
        How many models.
    pinned : frozenset of Digest
        Models that are never evicted.
    """

    memory_bytes: int
    models: int
    pinned: frozenset[Digest] = frozenset()


@dataclass(slots=True)
class Resident:
    """A model that is loaded or loading.

    Attributes
    ----------
    pool : ChildPool
        Its one worker.
    batcher : Batcher
        Runs its rows.
    memory_bytes : int
        What its worker takes, as last measured, or as estimated.
    users : int
        Calls that need it now.
    measured_at : float
        When it was last measured, on the monotonic clock.
    """

    pool: ChildPool
    batcher: Batcher
    memory_bytes: int
    users: int = 0
    measured_at: float = field(default=float("-inf"))


class Residents:
    """The loaded models, the least recently used first.

    Parameters
    ----------
    budget : Budget
        What they may take.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._residents: dict[Digest, Resident] = {}
        self._known: dict[Digest, int] = {}  # what workers took when they had been loaded
        self._room = asyncio.Condition()

    def __len__(self) -> int:
        return len(self._residents)

    def __iter__(self) -> Iterator[Digest]:
        return iter(list(self._residents))

    def get(self, digest: Digest) -> Resident | None:
        """Return a model that is loaded or loading."""
        return self._residents.get(digest)

    def put(self, digest: Digest, resident: Resident) -> None:
        """Take a model into the room that was made for it."""
        self._residents[digest] = resident

    @property
    def running(self) -> int:
        """How many of them run rows now: their workers have been given some."""
        return sum(resident.pool.busy > 0 for resident in self._residents.values())

    @property
    def workers(self) -> int:
        """How many workers have loaded their model."""
        return sum(resident.pool.alive for resident in self._residents.values())

    @property
    def lost(self) -> int:
        """How many workers have died and are not replaced yet."""
        return sum(resident.pool.is_lost for resident in self._residents.values())

    @property
    def memory_bytes(self) -> int:
        """What all take together."""
        return sum(resident.memory_bytes for resident in self._residents.values())

    def memory_of_each(self) -> dict[Digest, int]:
        """Return what each takes."""
        return {digest: each.memory_bytes for digest, each in self._residents.items()}

    def fits(self, more_bytes: int) -> bool:
        """Tell whether one more model fits; the first always does until it has been measured."""
        if not self._residents:
            return True
        fits = self.memory_bytes + more_bytes <= self._budget.memory_bytes
        return fits and len(self._residents) < self._budget.models

    def known_bytes(self, digest: Digest) -> int | None:
        """Return what a model took when it had been loaded the last time.

        Raises
        ------
        MemoryShort
            If that alone is over the budget.
        """
        known = self._known.get(digest)
        if known is not None:
            self._check_alone(known)
        return known

    def _check_alone(self, taken: int) -> None:
        if taken > self._budget.memory_bytes:
            raise MemoryShort(
                f"the model takes {taken >> 20} MiB of memory; all models may "
                f"take {self._budget.memory_bytes >> 20} MiB",
                retry_after_s=60,
            )

    async def make_room(self, more_bytes: int) -> None:
        """Unload idle models, or wait until models become idle, until one more fits.

        Raises
        ------
        Overload
            If too many stay busy for too long.
        MemoryShort
            If the pinned ones alone leave no room.
        """
        try:
            async with asyncio.timeout(_WAIT_FOR_ROOM_S), self._room:
                while not self.fits(more_bytes):
                    if (idle := self._first_idle()) is None:
                        await self._room.wait()
                    else:
                        await self._send_away(idle)
        except TimeoutError:
            if self._budget.pinned.issuperset(self._residents):
                detail = "the pinned models leave no room for this one"
                raise MemoryShort(detail, retry_after_s=60) from None
            raise Overload("every loaded model is busy", retry_after_s=5) from None

    @asynccontextmanager
    async def using(self, digest: Digest, resident: Resident) -> AsyncIterator[None]:
        """Keep a model from being evicted while the block runs."""
        resident.users += 1
        self._residents[digest] = self._residents.pop(digest)  # the one used last
        try:
            yield
        finally:
            resident.users -= 1
            if not resident.users:
                # models that were in use when they were found too large are idle only now
                await self._keep_within_budget()
                await self._tell_those_who_wait()

    async def measure(self, digest: Digest, resident: Resident) -> None:
        """Take a worker's memory now and then, and make room when all together take too much.

        Raises
        ------
        MemoryShort
            If this worker alone is over the budget: it is unloaded when nobody uses it any more.
        """
        now = time.monotonic()
        if now - resident.measured_at < _MEASURE_S:
            return
        is_fresh = resident.measured_at < 0
        resident.measured_at = now
        # a worker that is being replaced has no memory to measure
        if taken := await resident.pool.memory_bytes():
            resident.memory_bytes = taken
            if is_fresh:  # later it holds what large inputs took
                self._remember(digest, taken)
        self._check_alone(resident.memory_bytes)
        await self._keep_within_budget()
        await self._tell_those_who_wait()

    def _remember(self, digest: Digest, taken: int) -> None:
        self._known[digest] = taken
        if len(self._known) > _KNOWN:
            del self._known[next(iter(self._known))]

    async def evict(self, digest: Digest, *, only: Resident | None = None) -> None:
        """Unload a model at once; with `only`, unless another took its place."""
        resident = self._residents.get(digest)
        if resident is not None and only in (None, resident):
            del self._residents[digest]
            await resident.pool.close()

    async def retire(self, digest: Digest) -> None:
        """Unload a model that nobody asks for any more, once the last call has ended."""
        resident = self._residents.get(digest)
        if resident is None:
            return
        async with self._room:
            while resident.users:
                await self._room.wait()
        await self.evict(digest, only=resident)

    async def _keep_within_budget(self) -> None:
        while self.memory_bytes > self._budget.memory_bytes:
            if (idle := self._first_idle()) is None:
                return
            await self._send_away(idle)

    async def _send_away(self, digest: Digest) -> None:
        _log.info("model unloaded", extra={"digest": digest.short})
        await self.evict(digest)

    async def _tell_those_who_wait(self) -> None:
        async with self._room:
            self._room.notify_all()

    def _first_idle(self) -> Digest | None:
        idle = (
            digest
            for digest, resident in self._residents.items()
            if not resident.users and digest not in self._budget.pinned
        )
        return next(idle, None)
