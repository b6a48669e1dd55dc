"""Join the parts of the repository and of inference; `app` joins the results with the web.

::

    registry, staging, store -> sweeper
    decoders, workers -> intake -> predictor
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
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
_FOR_EVER = 1 << 62  # a model is too slow to load for being replaced


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
    """The child processes and what asks them, joined.

    Parameters
    ----------
    settings : Settings
        Numbers and bounds.
    repository : Repository
        Where models are listed and lie.
    group : asyncio.TaskGroup
        Every background task belongs to it.
    promoted : asyncio.Event
        Set whenever there may be a file to judge.
    """

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

        self._registry = repository.registry
        self.decoders = ChildPool(
            _decoder_kind(settings),
            size=settings.decoders,
            max_queue=2 * settings.max_predictions,
            spawn=spawn,
        )
        self.workers = ModelWorkers(
            lambda digest: _worker_kind(settings, repository.store.path(digest)),
            capacity=settings.resident_models,
            spawn=spawn,
            on_crash=self._count_crash,
            on_recovery=repository.registry.clear_crashes,
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
            spawn(self._preload(settings.resident_models)),
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
            "saturated_answers": self.predictor.saturated_answers,
            "sandbox": "none",
        }

    async def close(self) -> None:
        """End every child process."""
        for task in self._running:
            task.cancel()
        await self.intake.close()
        await asyncio.gather(self.workers.close(), self.decoders.close())

    async def _preload(self, limit: int) -> None:
        """Load the latest models again after a restart, so that nobody waits for them."""
        for model in reversed(await self._registry.in_state(State.READY, limit=limit)):
            await self.workers.warm(model.digest)

    async def _count_crash(self, digest: Digest) -> None:
        if await self._registry.count_crash(digest):
            _log.error("model disabled", extra={"digest": digest.short})
            await self.workers.evict(digest)


def _decoder_kind(settings: Settings) -> ChildKind:
    return ChildKind(
        "server.inference.decoder_child",
        {},
        start_timeout_s=_DECODER_START_S,
        call_timeout_s=settings.decode_timeout_s,
        keeps_trying=True,
    )


def _worker_kind(settings: Settings, path: Path) -> ChildKind:
    return ChildKind(
        "server.inference.model_child",
        {"path": str(path.resolve())},
        start_timeout_s=settings.intake_timeout_s,
        call_timeout_s=settings.predict_timeout_s,
        max_calls=_FOR_EVER,
    )


async def logged(work: Coroutine[Any, Any, None]) -> None:
    """Run background work to its end; what it did not foresee is logged and ends it alone."""
    try:
        await work
    except ServerError as error:
        _log.warning("background work refused", extra={"reason": error.detail})
    except Exception:
        _log.exception("background work failed")
