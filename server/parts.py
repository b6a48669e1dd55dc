"""Join the parts of inference; `app` joins the result with the web.

::

    registry, store, derived -> engines -> workers -> intake --.
    decoders, feature cache -> preparation --------------------+-> predictor
                                                      workers -+-> task runs
"""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from server.digest import Digest
from server.errors import ServerError
from server.inference import sandbox_level
from server.inference.admission import Admission
from server.inference.child_kind import ChildKind
from server.inference.contracts import Contracts
from server.inference.engines import Engines
from server.inference.feature_cache import FeatureCache
from server.inference.intake import Intake
from server.inference.memory import machine_bytes
from server.inference.pool import ChildPool
from server.inference.predictor import Predictor
from server.inference.preparation import Preparation
from server.inference.residents import Budget
from server.inference.sandbox_level import Sandbox
from server.inference.task_runs import TaskRuns
from server.inference.workers import ModelWorkers
from server.repository.registry import State
from server.repository_parts import Repository
from server.settings import Settings

_log = logging.getLogger(__name__)
_CORES = len(os.sched_getaffinity(0))
_DECODER_START_S = 60.0
_DECODER_BYTES = 2 << 30
_JOB_BYTES = 2 << 30
_STALLED_S = 45.0  # a job of which nothing was heard for so long is tried again; steps take one
_ARTIFACT_BYTES = 4 << 30  # an hour of stereo at 44.1 kHz is 0.6 GiB of 16 bits
_LEAST_INTAKE_BYTES = 2 << 30  # TensorFlow alone takes a quarter of it
_OVER_BUDGET_BYTES = 512 << 20  # who is a little over is measured and told so, not ended
_PRELOADED = 4  # of the latest models, whatever more there is room for


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
    sandbox : Sandbox
        The walls around every child.
    promoted : asyncio.Event
        Set whenever there may be a file to judge.
    """

    def __init__(
        self,
        settings: Settings,
        repository: Repository,
        group: asyncio.TaskGroup,
        *,
        sandbox: Sandbox,
        promoted: asyncio.Event,
    ) -> None:
        sandbox_level.report(sandbox)

        def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            return group.create_task(logged(work))

        self._registry = repository.registry
        self._pinned = [Digest.parse(text) for text in settings.pinned_models]
        self.decoders = ChildPool(
            decoder_kind(settings, sandbox),
            size=settings.decoders,
            max_queue=2 * settings.max_predictions,
            spawn=spawn,
        )
        self.cache = _feature_cache(settings)
        self.engines = _engines(settings, repository, sandbox, promoted.set)
        self._sandbox = sandbox
        self.workers = ModelWorkers(
            self.engines.of,
            _budget(settings),
            spawn=spawn,
            on_crash=self._count_crash,
            on_recovery=repository.registry.clear_crashes,
            are_cores_wanted=self._are_cores_wanted,
        )
        self.intake = Intake(
            repository.registry,
            repository.store,
            repository.derived,
            repository.recovery,
            self.workers,
            sandbox=sandbox,
            memory_bytes=max(machine_bytes() // 2, _LEAST_INTAKE_BYTES),
            timeout_s=settings.intake_timeout_s,
            rejected_keep_s=settings.rejected_keep_s,
            promoted=promoted,
            spawn=spawn,
        )
        self.predictor = Predictor(
            self.intake,
            Preparation(self.decoders, self.cache, spawn=spawn),
            self.decoders,
            self.workers,
            sandbox=sandbox,
            admission=Admission(settings.max_predictions),
            ready_wait_s=settings.ready_wait_s,
            deadline_s=settings.deadline_s,
        )
        self.task_runs = _task_runs(settings, self.workers, sandbox)
        self._running = []
        if sandbox.allows_models:
            self._running += [spawn(self.intake.run()), spawn(self._preload())]

    def _are_cores_wanted(self) -> bool:
        """Tell whether decoders keep half of the cores busy."""
        return 2 * self.decoders.busy >= _CORES

    async def contracts(self) -> Contracts:
        """Return what can be predicted, once a decoder has said so."""
        return Contracts.of(await self.decoders.ready())

    def state(self) -> dict[str, Any]:
        """Return how the parts are, for `/readyz`."""
        return {
            "ready": self.decoders.alive > 0 and not self.workers.are_lost,
            "decoders": self.decoders.alive,
            "decoder_queue": self.decoders.waiting,
            "predictions": self.predictor.in_flight,
            "models_loaded": self.workers.loaded,
            "models_running": self.workers.running,
            "model_workers": self.workers.alive,
            "model_memory_bytes": self.workers.memory_bytes,
            "feature_cache": self._cache_state(),
            "saturated_answers": self.predictor.saturated_answers,
            "sandbox": self._sandbox.level,
        }

    def _cache_state(self) -> dict[str, int] | None:
        if self.cache is None:
            return None
        return {"hits": self.cache.hits, "misses": self.cache.misses, "bytes": self.cache.bytes}

    async def close(self) -> None:
        """End every child process."""
        for task in self._running:
            task.cancel()
        await self.intake.close()
        await asyncio.gather(self.workers.close(), self.decoders.close())

    async def _preload(self) -> None:
        """Load the pinned and the latest models after a restart, so that nobody waits for them."""
        latest = await self._registry.in_state(State.READY, limit=_PRELOADED)
        for digest in [*self._pinned, *(model.digest for model in reversed(latest))]:
            model = await self._registry.get(digest)
            if model is None or model.state is not State.READY or model.record is None:
                continue
            if self.workers.has_room:
                try:
                    await self.workers.warm(model.digest, model.record)
                except ServerError as error:
                    fields = {"digest": model.digest.short, "reason": error.detail}
                    _log.warning("model not preloaded", extra=fields)

    async def _count_crash(self, digest: Digest) -> None:
        if await self._registry.count_crash(digest):
            _log.error("model disabled", extra={"digest": digest.short})
            await self.workers.evict(digest)


def decoder_kind(settings: Settings, sandbox: Sandbox) -> ChildKind:
    """Return what decodes sounds."""
    return ChildKind(
        "server.inference.decoder_child",
        {},
        start_timeout_s=_DECODER_START_S,
        call_timeout_s=settings.decode_timeout_s,
        keeps_trying=True,
        rights=sandbox.rights(memory_bytes=_DECODER_BYTES),
    )


def _task_runs(settings: Settings, workers: ModelWorkers, sandbox: Sandbox) -> TaskRuns:
    rights = sandbox.rights(memory_bytes=_JOB_BYTES, artifact_bytes=_ARTIFACT_BYTES)
    timeout_s = min(settings.decode_timeout_s, _STALLED_S)
    return TaskRuns(workers, rights=rights, step_timeout_s=timeout_s)


def _engines(
    settings: Settings,
    repository: Repository,
    sandbox: Sandbox,
    on_promoted: Callable[[], None],
) -> Engines:
    return Engines(
        repository.registry,
        repository.store,
        repository.derived,
        threads=_CORES,
        start_timeout_s=settings.intake_timeout_s,
        call_timeout_s=settings.predict_timeout_s,
        sandbox=sandbox,
        worker_bytes=_model_memory(settings) + _OVER_BUDGET_BYTES,
        on_promoted=on_promoted,
    )


def _budget(settings: Settings) -> Budget:
    return Budget(
        memory_bytes=_model_memory(settings),
        models=settings.resident_models,
        pinned=frozenset(Digest.parse(text) for text in settings.pinned_models),
    )


def _model_memory(settings: Settings) -> int:
    return settings.model_memory or machine_bytes() // 2


def _feature_cache(settings: Settings) -> FeatureCache | None:
    folder = Path(settings.feature_cache_dir) if settings.feature_cache_dir else None
    if not settings.feature_cache_bytes and folder is None:
        return None
    disk_bytes = settings.feature_cache_disk_bytes
    return FeatureCache(settings.feature_cache_bytes, folder, disk_bytes)


async def find_sandbox(settings: Settings) -> Sandbox:
    """Find out how good the walls around child processes are, unless they are not wanted."""
    if settings.sandbox == "off":
        return sandbox_level.OFF
    secrets = [settings.certs_dir / "server.key", Path(settings.database.split("///", 1)[1])]
    secrets += [Path(settings.keys_file)] if settings.keys_file else []
    needs_landlock = settings.sandbox != "partial"
    return await sandbox_level.find(secrets, needs_landlock=needs_landlock)


async def logged(work: Coroutine[Any, Any, None]) -> None:
    """Run background work to its end; what it did not foresee is logged and ends it alone."""
    try:
        await work
    except ServerError as error:
        _log.warning("background work refused", extra={"reason": error.detail})
    except Exception:
        _log.exception("background work failed")
