"""Models that are kept loaded: one worker process each, the least recently used one goes first.

One load serves every caller that asks meanwhile; a model that answers is never evicted; two cold
models load side by side.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from server.digest import Digest
from server.errors import Overload, ServerError, WorkerFailed
from server.inference.frames import Message, Part
from server.inference.pool import ChildKind, ChildPool

_log = logging.getLogger(__name__)
_MAX_QUEUE = 64
_WAIT_FOR_ROOM_S = 10.0


@dataclass(slots=True)
class _Resident:
    pool: ChildPool
    users: int = 0


class ModelWorkers:
    """The loaded models.

    Parameters
    ----------
    kind_of : callable
        Tells how the worker of a digest is started.
    capacity : int
        Models loaded at once.
    spawn : callable
        Starts a task in the task group of the application.
    on_crash : callable
        Called after a model took its worker down.
    on_recovery : callable
        Called after it answered again.
    """

    def __init__(
        self,
        kind_of: Callable[[Digest], ChildKind],
        *,
        capacity: int,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        on_crash: Callable[[Digest], Awaitable[None]],
        on_recovery: Callable[[Digest], Awaitable[None]],
    ) -> None:
        self._kind_of = kind_of
        self._capacity = capacity
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

    async def warm(self, digest: Digest) -> None:
        """Load a model and run it once.

        Raises
        ------
        ServerError
            If it does not load.
        """
        async with self._use(digest):
            pass

    async def predict(self, digest: Digest, tensors: list[Part]) -> list[Part]:
        """Run a model on named tensors, loading it first where needed.

        Raises
        ------
        Overload
            If every place holds a busy model, or too many calls wait for this one.
        WorkerFailed
            If the model took its process down.
        """
        async with self._use(digest) as pool:
            try:
                answer = await pool.call(Message({"op": "predict"}, tensors))
            except WorkerFailed:
                self._crashed.add(digest)
                await self._on_crash(digest)
                raise
        if digest in self._crashed:
            self._crashed.discard(digest)
            await self._on_recovery(digest)
        return list(answer.parts)

    async def evict(self, digest: Digest) -> None:
        """Unload a model at once."""
        if (resident := self._residents.pop(digest, None)) is not None:
            await resident.pool.close()

    async def close(self) -> None:
        """Unload every model."""
        for digest in list(self._residents):
            await self.evict(digest)

    @asynccontextmanager
    async def _use(self, digest: Digest) -> AsyncIterator[ChildPool]:
        """Hold a model loaded while the block runs."""
        resident = await self._admit(digest)
        resident.users += 1
        try:
            try:
                await resident.pool.ready()
            except ServerError:
                if self._residents.get(digest) is resident:
                    await self.evict(digest)
                raise
            yield resident.pool
        finally:
            resident.users -= 1
            async with self._room:
                self._room.notify_all()

    async def _admit(self, digest: Digest) -> _Resident:
        """Return the model's place, as the one used last; make one where it has none."""
        try:
            async with asyncio.timeout(_WAIT_FOR_ROOM_S), self._room:
                while digest not in self._residents and len(self._residents) >= self._capacity:
                    await self._evict_idle()
        except TimeoutError:
            raise Overload("every loaded model is busy", retry_after_s=5) from None
        resident = self._residents.pop(digest, None)
        if resident is None:
            kind = self._kind_of(digest)
            pool = ChildPool(kind, size=1, max_queue=_MAX_QUEUE, spawn=self._spawn)
            resident = _Resident(pool)
        self._residents[digest] = resident
        return resident

    async def _evict_idle(self) -> None:
        """Unload the least recently used idle model, or wait until one becomes idle."""
        idle = (digest for digest, resident in self._residents.items() if not resident.users)
        if (digest := next(idle, None)) is None:
            await self._room.wait()
        else:
            _log.info("model unloaded", extra={"digest": digest.short})
            await self.evict(digest)
