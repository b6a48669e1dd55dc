"""Models that are kept loaded: one worker process each.

::

    asked --loaded?--> used            one load serves everybody who asks meanwhile;
        `--no--> room? --> load        two cold models load side by side
                   `--no--> another goes, or is waited for: see residents
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from server.digest import Digest
from server.errors import Overload, ServerError, WorkerFailed
from server.inference.batcher import Batcher
from server.inference.child_kind import Engine
from server.inference.frames import Part
from server.inference.open_axes import TriedShapes, has_open_axes
from server.inference.pool import ChildPool, Spawn
from server.inference.residents import Budget, Resident, Residents
from server.inference.statistics import Statistics

_log = logging.getLogger(__name__)
_MAX_WAITING = 64

Record = Mapping[str, Any]  # what intake found of a model


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
    are_cores_wanted : callable
        Whether other work would have the cores that a single row does not need.

    Attributes
    ----------
    statistics : Statistics
        What each model has done.
    """

    def __init__(
        self,
        engine_of: Callable[[Digest, Record], Awaitable[Engine]],
        budget: Budget,
        *,
        spawn: Spawn,
        on_crash: Callable[[Digest], Awaitable[None]],
        on_recovery: Callable[[Digest], Awaitable[None]],
        are_cores_wanted: Callable[[], bool],
    ) -> None:
        self._engine_of = engine_of
        self._spawn = spawn
        self._on_crash = on_crash
        self._on_recovery = on_recovery
        self._are_cores_wanted = are_cores_wanted
        self.statistics = Statistics()
        self._crashed: set[Digest] = set()
        self._unloaded: set[Digest] = set()
        self._tried: dict[Digest, TriedShapes] = {}  # of models that leave axes open
        self._residents = Residents(budget)
        self._loads: dict[Digest, asyncio.Future[None]] = {}  # until their place is made
        self._closed = False

    @property
    def loaded(self) -> int:
        """How many models are loaded or loading."""
        return len(self._residents)

    @property
    def running(self) -> int:
        """How many models run rows now."""
        return self._residents.running

    @property
    def alive(self) -> int:
        """How many workers have loaded their model."""
        return self._residents.workers

    @property
    def are_lost(self) -> bool:
        """Whether the last worker has died, and none has been started again yet."""
        return self._residents.lost > 0 and not self.alive

    @property
    def memory_bytes(self) -> int:
        """What the loaded models take, as last measured."""
        return self._residents.memory_bytes

    def memory_of_each(self) -> dict[Digest, int]:
        """Return what each loaded model takes, as last measured."""
        return self._residents.memory_of_each()

    @property
    def has_room(self) -> bool:
        """Whether another small model could be loaded without unloading one."""
        return self._residents.fits(0)

    async def warm(self, digest: Digest, record: Record) -> None:
        """Load a model and run it once.

        Raises
        ------
        ServerError
            If it does not load.
        """
        self._unloaded.discard(digest)
        async with self._use(digest, record):
            pass

    async def predict(self, digest: Digest, record: Record, tensors: Sequence[Part]) -> list[Part]:
        """Run a model on one row of named tensors, loading it first where needed.

        Raises
        ------
        Overload
            If every place holds a busy model, or too many rows wait for this one.
        MemoryShort
            If the model alone, or beside the pinned ones, is over the budget.
        WorkerFailed
            If the model took its process down.
        UnusableInput
            If the model, or its process, cannot take the row.
        """
        async with self._use(digest, record) as resident:
            try:
                async with self._trying(digest, record, tensors):
                    outputs = await resident.batcher.run(tensors)
            except WorkerFailed:
                self._crashed.add(digest)
                await self._on_crash(digest)
                raise
        if digest in self._crashed:
            self._crashed.discard(digest)
            await self._on_recovery(digest)
        return outputs

    def _trying(
        self, digest: Digest, record: Record, tensors: Sequence[Part]
    ) -> AbstractAsyncContextManager[None]:
        if not has_open_axes(record):
            return nullcontext()
        return self._tried.setdefault(digest, TriedShapes()).trying(tensors)

    async def predict_rows(
        self, digest: Digest, record: Record, rows: Sequence[Sequence[Part]]
    ) -> list[list[Part]]:
        """Run a model on several rows, which may go as batches; the first that fails ends all."""
        if len(rows) == 1:
            return [await self.predict(digest, record, rows[0])]
        try:
            async with asyncio.TaskGroup() as group:
                runs = [group.create_task(self.predict(digest, record, row)) for row in rows]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [run.result() for run in runs]

    async def evict(self, digest: Digest) -> None:
        """Unload a model at once."""
        await self._residents.evict(digest)

    def retire(self, digest: Digest) -> None:
        """Have a model unloaded that nobody asks for any more, once the last call has ended."""
        self._spawn(self._residents.retire(digest))

    def unload(self, digest: Digest) -> None:
        """Have a model unloaded, and call it so until it is loaded or asked for again."""
        self._unloaded.add(digest)
        self.retire(digest)

    def is_available(self, digest: Digest) -> bool:
        """Tell whether a model was not unloaded by hand, and its worker has not just died."""
        resident = self._residents.get(digest)
        is_lost = resident is not None and resident.pool.is_lost
        return digest not in self._unloaded and not is_lost

    async def close(self) -> None:
        """Unload every model, and load no more."""
        self._closed = True
        for digest in self._residents:
            await self.evict(digest)

    @asynccontextmanager
    async def _use(self, digest: Digest, record: Record) -> AsyncIterator[Resident]:
        """Hold a model loaded while the block runs."""
        resident = await self._resident(digest, record)
        async with self._residents.using(digest, resident):
            try:
                await resident.pool.ready()
            except ServerError:
                await self._residents.evict(digest, only=resident)
                raise
            await self._residents.measure(digest, resident)
            try:
                yield resident
            finally:
                if resident.pool.has_failed:  # whoever asks next has it loaded anew
                    await self._residents.evict(digest, only=resident)

    async def _resident(self, digest: Digest, record: Record) -> Resident:
        """Return a model that is loaded or loading, after making a place for it where needed."""
        while True:
            resident = self._residents.get(digest)
            if resident is None:
                await self._admit(digest, record)
            elif resident.pool.has_failed:
                await self._residents.evict(digest, only=resident)
            else:
                return resident

    async def _admit(self, digest: Digest, record: Record) -> None:
        """Wait until a model has its place; the first who asks has it made for all."""
        place = self._loads.get(digest)
        if place is None:
            place = self._loads[digest] = asyncio.get_running_loop().create_future()
            self._spawn(self._load(digest, record, place))
        await asyncio.shield(place)

    async def _load(self, digest: Digest, record: Record, place: asyncio.Future[None]) -> None:
        """Make a place for a model, load it, and take the place away where it does not load."""
        try:
            resident = await self._make_place(digest, record)
        except asyncio.CancelledError:
            place.set_exception(Overload("the process was stopped"))
            raise
        except Exception as error:  # a boundary: everybody who waits is told, whatever it was
            place.set_exception(error)
            return
        finally:
            del self._loads[digest]
            if place.done():
                place.exception()  # everybody may be gone
        # nobody takes its place before those who waited have come: it counts as used meanwhile
        async with self._residents.using(digest, resident):
            place.set_result(None)
            try:
                await resident.pool.ready()
            except ServerError:
                await self._residents.evict(digest, only=resident)
            else:
                _log.info("model loaded", extra={"digest": digest.short})

    async def _make_place(self, digest: Digest, record: Record) -> Resident:
        engine = await self._engine_of(digest, record)
        expected_bytes = self._residents.known_bytes(digest) or engine.expected_bytes
        await self._residents.make_room(expected_bytes)
        if self._closed:
            raise Overload("the process was stopped")
        pool = ChildPool(
            engine.kind,
            size=1,
            max_queue=_MAX_WAITING,
            spawn=self._spawn,
            on_waste=lambda: self._spawn(self._send_away(digest)),
        )
        batcher = Batcher(
            pool,
            max_batch=engine.max_batch,
            max_waiting=_MAX_WAITING,
            spawn=self._spawn,
            are_cores_wanted=self._are_cores_wanted,
            statistics=self.statistics.of(digest),
        )
        resident = Resident(pool, batcher, expected_bytes)
        self._residents.put(digest, resident)
        self._unloaded.discard(digest)
        return resident

    async def _send_away(self, digest: Digest) -> None:
        """Count a crash of a model that computed while nobody asked it, and give back its place."""
        await self._on_crash(digest)  # no answer clears it: such a model may answer well
        resident = self._residents.get(digest)
        if resident is not None and resident.pool.has_failed:
            await self._residents.evict(digest, only=resident)
