"""Join the parts of the repository and of inference; `app` joins the results with the web.

::

    registry, staging, store -> sweeper
    decoders, workers -> intake -> predictor
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from server import database
from server.digest import Digest
from server.errors import ServerError
from server.inference.contracts import Contracts
from server.inference.intake import Intake
from server.inference.pool import ChildKind, ChildPool
from server.inference.predictor import Predictor
from server.inference.workers import ModelWorkers
from server.repository.layout import Layout
from server.repository.registry import Registry, State
from server.repository.staging import Staging
from server.repository.store import ModelStore
from server.repository.sweep import Sweeper
from server.settings import Settings

_log = logging.getLogger(__name__)
_DECODER_START_S = 60.0


class Repository:
    """The parts of the model repository, joined."""

    def __init__(
        self, settings: Settings, layout: Layout, *, on_promoted: Callable[[], None]
    ) -> None:
        database.migrate(settings.database)
        self.engine = database.open_engine(settings.database)
        self.registry = Registry(self.engine)
        self.store = ModelStore(layout)
        self.staging = Staging(
            layout,
            max_file_bytes=settings.max_model_bytes,
            max_bytes=settings.max_staging_bytes,
            max_uploads=settings.max_uploads,
        )
        self.sweeper = Sweeper(
            layout=layout,
            registry=self.registry,
            staging=self.staging,
            store=self.store,
            on_promoted=on_promoted,
        )


class Inference:
    """The child processes and what asks them, joined."""

    def __init__(
        self,
        settings: Settings,
        repository: Repository,
        group: asyncio.TaskGroup,
        *,
        promoted: asyncio.Event,
    ) -> None:
        def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            return group.create_task(logged(work))

        def worker_of(digest: Digest) -> ChildKind:
            return ChildKind(
                "server.inference.model_child",
                {"path": str(repository.store.path(digest).resolve())},
                start_timeout_s=settings.intake_timeout_s,
                call_timeout_s=settings.predict_timeout_s,
                max_calls=1 << 30,
            )

        async def on_crash(digest: Digest) -> None:
            if await repository.registry.count_crash(digest):
                _log.error("model disabled", extra={"digest": digest.short})
                await self.workers.evict(digest)

        self.decoders = ChildPool(
            ChildKind(
                "server.inference.decoder_child",
                {},
                start_timeout_s=_DECODER_START_S,
                call_timeout_s=settings.decode_timeout_s,
                keeps_trying=True,
            ),
            size=settings.decoders,
            max_queue=2 * settings.max_predictions,
            spawn=spawn,
        )
        self.workers = ModelWorkers(
            worker_of, capacity=settings.resident_models, spawn=spawn, on_crash=on_crash
        )
        self.intake = Intake(
            repository.registry,
            repository.store,
            self.workers,
            timeout_s=settings.intake_timeout_s,
            rejected_keep_s=settings.rejected_keep_s,
            promoted=promoted,
            spawn=spawn,
        )
        self.predictor = Predictor(
            repository.registry,
            self.intake,
            self.decoders,
            self.workers,
            max_in_flight=settings.max_predictions,
            ready_wait_s=settings.ready_wait_s,
        )
        self._running = [
            spawn(self.intake.run()),
            spawn(self._preload(repository.registry, settings.resident_models)),
        ]

    async def contracts(self) -> Contracts:
        """Return what can be predicted, once a decoder has said so."""
        return Contracts.of(await self.decoders.ready())

    def state(self) -> dict[str, Any]:
        """Return how the parts are, for `/readyz`."""
        return {
            "ready": self.decoders.alive > 0,
            "decoders": self.decoders.alive,
            "models_loaded": self.workers.loaded,
            "sandbox": "none",
        }

    async def close(self) -> None:
        """End every child process."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(self.workers.close(), self.decoders.close())

    async def _preload(self, registry: Registry, limit: int) -> None:
        """Load the latest models again after a restart, so that nobody waits for them."""
        for model in reversed(await registry.in_state(State.READY, limit=limit)):
            await self.workers.warm(model.digest)


async def logged(work: Coroutine[Any, Any, None]) -> None:
    """Run background work to its end; what it did not foresee is logged and ends it alone."""
    try:
        await work
    except ServerError as error:
        _log.warning("background work refused", extra={"reason": error.detail})
    except Exception:
        _log.exception("background work failed")
