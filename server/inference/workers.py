"""Models that are kept loaded within a memory budget: one worker process each.

::

    asked --loaded?--> used            one load serves everybody who asks meanwhile;
        `--no--> room? --> load        two cold models load side by side
                   `--no--> the least recently used idle model goes, its memory is free

What a worker takes is measured when it has loaded and again while it works; until then it is
estimated. A model that is in use or pinned is never evicted.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from server.digest import Digest
from server.errors import MemoryShort, Overload, ServerError, WorkerFailed
from server.inference.batcher import Batcher
from server.inference.frames import Part
from server.inference.pool import ChildKind, ChildPool, Spawn

_log = logging.getLogger(__name__)
_MAX_WAITING = 64
_WAIT_FOR_ROOM_S = 10.0
_MEASURE_S = 5.0  # a worker in use is measured no more often

Record = Mapping[str, Any]  # what intake found of a model


@dataclass(frozen=True, slots=True)
class Engine:
    """How a model is run.

    Attributes
    ----------
    kind : ChildKind
        How its worker is started.
    max_batch : int
        Most rows at a time.
    expected_bytes : int
        What its worker is thought to take until it has been measured.
    """

    kind: ChildKind
    max_batch: int
    expected_bytes: int


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
class _Resident:
    pool: ChildPool
    batcher: Batcher
    memory_bytes: int
    users: int = 0
    measured_at: float = field(default=float("-inf"))


class ModelWorkers:
    """The loaded models.

    Parameters
    ----------
    engine_of : callable
        Tells from a digest and its record how the model is run.
    budget : Budget
        What they may take.
    spawn : callable
        Starts a task in the task group of the application.
    on_crash : callable
        Called after a model took its worker down.
    on_recovery : callable
        Called after it answered again.
    """

    def __init__(
        self,
        engine_of: Callable[[Digest, Record], Awaitable[Engine]],
        budget: Budget,
        *,
        spawn: Spawn,
        on_crash: Callable[[Digest], Awaitable[None]],
        on_recovery: Callable[[Digest], Awaitable[None]],
    ) -> None:
        self._engine_of = engine_of
        self._budget = budget
        self._spawn = spawn
        self._on_crash = on_crash
        self._on_recovery = on_recovery
        self._crashed: set[Digest] = set()
        self._residents: dict[Digest, _Resident] = {}  # least recently used first
        self._room = asyncio.Condition()

    @property
    def loaded(self) -> int:
        """How many models are loaded or loading."""
        return len(self._residents)

    @property
    def memory_bytes(self) -> int:
        """What the loaded models take, as last measured."""
        return sum(resident.memory_bytes for resident in self._residents.values())

    @property
    def has_room(self) -> bool:
        """Whether another small model could be loaded without unloading one."""
        return self._fits(0)

    async def warm(self, digest: Digest, record: Record) -> None:
        """Load a model and run it once.

        Raises
        ------
        ServerError
            If it does not load.
        """
        async with self._use(digest, record):
            pass

    async def predict(self, digest: Digest, record: Record, tensors: Sequence[Part]) -> list[Part]:
        """Run a model on one row of named tensors, loading it first where needed.

        Raises
        ------
        Overload
            If every place holds a busy model, or too many rows wait for this one.
        MemoryShort
            If the model alone is over the budget.
        WorkerFailed
            If the model took its process down.
        """
        async with self._use(digest, record) as resident:
            try:
                outputs = await resident.batcher.run(tensors)
            except WorkerFailed:
                self._crashed.add(digest)
                await self._on_crash(digest)
                raise
        if digest in self._crashed:
            self._crashed.discard(digest)
            await self._on_recovery(digest)
        return outputs

    async def evict(self, digest: Digest) -> None:
        """Unload a model at once."""
        if (resident := self._residents.pop(digest, None)) is not None:
            await resident.pool.close()

    async def close(self) -> None:
        """Unload every model."""
        for digest in list(self._residents):
            await self.evict(digest)

    @asynccontextmanager
    async def _use(self, digest: Digest, record: Record) -> AsyncIterator[_Resident]:
        """Hold a model loaded while the block runs."""
        resident = self._residents.get(digest)
        if resident is None:
            resident = await self._admit(digest, record)
        resident.users += 1
        self._residents[digest] = self._residents.pop(digest)  # the one used last
        try:
            try:
                await resident.pool.ready()
                await self._measure(digest, resident)
            except ServerError:
                if self._residents.get(digest) is resident:
                    await self.evict(digest)
                raise
            yield resident
        finally:
            resident.users -= 1
            if not resident.users:
                async with self._room:
                    self._room.notify_all()

    async def _admit(self, digest: Digest, record: Record) -> _Resident:
        """Make a place for a model, or return the one that somebody made meanwhile."""
        engine = await self._engine_of(digest, record)
        try:
            async with asyncio.timeout(_WAIT_FOR_ROOM_S), self._room:
                while digest not in self._residents and not self._fits(engine.expected_bytes):
                    await self._evict_idle()
        except TimeoutError:
            raise Overload("every loaded model is busy", retry_after_s=5) from None
        resident = self._residents.get(digest)
        if resident is None:
            pool = ChildPool(engine.kind, size=1, max_queue=_MAX_WAITING, spawn=self._spawn)
            batcher = Batcher(
                pool, max_batch=engine.max_batch, max_waiting=_MAX_WAITING, spawn=self._spawn
            )
            resident = _Resident(pool, batcher, engine.expected_bytes)
            self._residents[digest] = resident
        return resident

    def _fits(self, more_bytes: int) -> bool:
        """Tell whether one more model fits; the first always does until it has been measured."""
        if not self._residents:
            return True
        fits = self.memory_bytes + more_bytes <= self._budget.memory_bytes
        return fits and len(self._residents) < self._budget.models

    async def _evict_idle(self) -> None:
        """Unload the least recently used idle model, or wait until one becomes idle."""
        if (digest := self._first_idle()) is None:
            await self._room.wait()
        else:
            _log.info("model unloaded", extra={"digest": digest.short})
            await self.evict(digest)

    def _first_idle(self) -> Digest | None:
        idle = (
            digest
            for digest, resident in self._residents.items()
            if not resident.users and digest not in self._budget.pinned
        )
        return next(idle, None)

    async def _measure(self, digest: Digest, resident: _Resident) -> None:
        """Take a worker's memory now and then, and make room when all together take too much.

        Raises
        ------
        MemoryShort
            If this worker alone is over the budget.
        """
        now = time.monotonic()
        if now - resident.measured_at < _MEASURE_S:
            return
        resident.measured_at = now
        resident.memory_bytes = await resident.pool.memory_bytes()
        if resident.memory_bytes > self._budget.memory_bytes:
            raise MemoryShort(
                f"the model takes {resident.memory_bytes >> 20} MiB of memory; all models may "
                f"take {self._budget.memory_bytes >> 20} MiB",
                retry_after_s=60,
            )
        while self.memory_bytes > self._budget.memory_bytes:
            if (idle := self._first_idle()) is None:
                return  # whoever becomes idle is looked at again when it is next used
            _log.info("model unloaded", extra={"digest": idle.short, "for": digest.short})
            await self.evict(idle)
