"""How a model is run, from its record; and whether what was made of it is still as it was."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from server.digest import Digest
from server.errors import ModelNotReady, ModelState
from server.inference.child_kind import ChildKind, Engine
from server.inference.judges import judges
from server.inference.record import RECORD_VERSION
from server.inference.sandbox_level import Sandbox
from server.repository.derived import DerivedFiles
from server.repository.registry import Registry, State
from server.repository.store import ModelStore

_ONNX, _KERAS = "server.inference.onnx_child", "server.inference.keras_child"
_FOR_EVER = 1 << 62  # a model is too slow to load for being replaced
_ONNX_BYTES, _KERAS_BYTES = 48 << 20, 600 << 20  # a worker before it has loaded anything
_KERAS_COPY_BYTES = 8 << 30  # of a file whose configuration it repairs
_WEIGHTS_SHARE = 3  # a loaded model and its batches take so many times its file
_AGAIN = "the model is being made ready again"
_log = logging.getLogger(__name__)


class Engines:
    """Says how models are run, and sends back to intake those that cannot be run any more.

    Parameters
    ----------
    registry : Registry
        Lists the models.
    store, derived : ModelStore, DerivedFiles
        Hold their files.
    threads : int
        Of one model's worker.
    start_timeout_s, call_timeout_s : float
        Longest loading and longest run, in seconds.
    sandbox : Sandbox
        The walls around workers.
    worker_bytes : int
        A worker that takes more is ended.
    on_promoted : callable
        Called when there is something to judge again.
    """

    def __init__(
        self,
        registry: Registry,
        store: ModelStore,
        derived: DerivedFiles,
        *,
        threads: int,
        start_timeout_s: float,
        call_timeout_s: float,
        sandbox: Sandbox,
        worker_bytes: int,
        on_promoted: Callable[[], None],
    ) -> None:
        self._registry = registry
        self._store = store
        self._derived = derived
        self._threads = threads
        self._start_timeout_s = start_timeout_s
        self._call_timeout_s = call_timeout_s
        self._sandbox = sandbox
        self._worker_bytes = worker_bytes
        self._on_promoted = on_promoted

    async def of(self, digest: Digest, record: Mapping[str, Any]) -> Engine:
        """Return how a model is run; its file is hashed before every start of its worker.

        Raises
        ------
        ModelNotReady
            If others judged it than are here now: it is being made ready again.
        """
        if (why := _outdated(record)) is not None:
            await self._judge_again(digest, why)
            raise ModelNotReady(_AGAIN, retry_after_s=5)
        module, path, base, check = self._run_by(digest, record)
        writes_bytes = 0 if module == _ONNX else _KERAS_COPY_BYTES
        max_batch = int(record["max_batch"])
        kind = ChildKind(
            module,
            {
                "path": str(path.resolve()),
                "threads": self._threads,
                "max_batch": max_batch,
                "apart": record["engine"].get("rows") == "apart",
            },
            start_timeout_s=self._start_timeout_s,
            call_timeout_s=self._call_timeout_s,
            max_calls=_FOR_EVER,
            check=check,
            in_flight=2,
            rights=self._sandbox.rights(
                memory_bytes=self._worker_bytes, read=[path.resolve()], writes_bytes=writes_bytes
            ),
        )
        size = await asyncio.to_thread(_size, path)
        return Engine(kind, max_batch, base + _WEIGHTS_SHARE * size)

    def _run_by(
        self, digest: Digest, record: Mapping[str, Any]
    ) -> tuple[str, Path, int, Callable[[], Awaitable[None]]]:
        """Return what runs a model, from which file, what that takes, and how it is checked."""
        if (derived := record.get("derived")) is not None:
            made = Digest.parse(derived)
            check = partial(self._check_derived, digest, made)
            return _ONNX, self._derived.path(made), _ONNX_BYTES, check
        check = partial(self._check_stored, digest)
        if record["engine"]["name"] == "onnxruntime":  # it was uploaded so
            return _ONNX, self._store.path(digest), _ONNX_BYTES, check
        return _KERAS, self._store.path(digest), _KERAS_BYTES, check

    async def _check_derived(self, digest: Digest, made: Digest) -> None:
        if not await asyncio.to_thread(self._derived.is_intact, made):
            await self._judge_again(digest, "the derived file is missing or damaged")
            raise ModelNotReady(_AGAIN, retry_after_s=5)

    async def _check_stored(self, digest: Digest) -> None:
        if await asyncio.to_thread(self._store.verify, digest) is None:
            _log.error("model file is missing or damaged", extra={"digest": digest.short})
            raise ModelState("the model's file here is damaged; upload it again")

    async def reconcile(self) -> None:
        """Judge again what other judges judged, and remove derived files that nobody uses."""
        used: set[Digest] = set()
        for model in await self._registry.in_state(State.READY):
            record = model.record or {}
            if (why := _outdated(record)) is not None:
                await self._judge_again(model.digest, why)
            elif (derived := record.get("derived")) is not None:
                used.add(Digest.parse(derived))
        if removed := await asyncio.to_thread(self._derived.keep_only, used):
            _log.info("unused derived files removed", extra={"files": removed})

    async def _judge_again(self, digest: Digest, reason: str) -> None:
        if await self._registry.judge_again(digest):
            _log.warning("model judged again", extra={"digest": digest.short, "reason": reason})
            self._on_promoted()


def _outdated(record: Mapping[str, Any]) -> str | None:
    """Return why a record is no longer worth anything, or None."""
    if record.get("version") != RECORD_VERSION:
        return "an older server judged it"
    then, now = record.get("judges"), judges()
    if then == now:
        return None
    known: Mapping[str, Any] = then if isinstance(then, dict) else {}
    changed = [
        f"{name} {known.get(name)} -> {now[name]}" for name in now if known.get(name) != now[name]
    ]
    return "other judges: " + ", ".join(changed)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # the check before the start says what is wrong
