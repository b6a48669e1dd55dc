"""Judges promoted files, one child process each, and makes ready what can predict.

::

    promoted --claim--> intake child: loads? fits its task? runs? --no--> rejected, with the reason
                           | yes: writes the converted model, where it can be converted
                           `--> kept under its digest --> its worker loaded and warm --> ready

A crash of the server leaves the file promoted, and the next start judges it again.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from server.digest import Digest
from server.errors import BadModel, Overload, ServerError, StorageFull, WorkerFailed
from server.inference.judges import judges
from server.inference.process import Child
from server.inference.sandbox import Rights
from server.inference.sandbox_level import Sandbox
from server.inference.verdicts import (
    code_of,
    told_reading,
    told_record,
    told_refusal,
    told_verdict,
)
from server.inference.workers import ModelWorkers
from server.metrics import VERDICTS, bounded
from server.repository.derived import DerivedFiles
from server.repository.fsops import NewFile
from server.repository.recovery import Recovery
from server.repository.registry import Model, Registry, State
from server.repository.store import ModelStore
from server.shielding import run_to_end

_log = logging.getLogger(__name__)
_AT_ONCE = 2
_LISTED = 64  # models that wait to be judged, in memory
_LOOK_S = 60.0
_GATE_BYTES = 1 << 30
_WRITTEN_BYTES = 8 << 30  # the largest copy of a repaired file, or converted model
_GATE = "server.inference.gate_child"
_FATAL = (
    "its outline cannot be read, or not in the time that a file of its size has: upload it again"
)
_CLIENT_PART = (BadModel, WorkerFailed)


class Intake:
    """The judge of promoted files.

    Parameters
    ----------
    registry : Registry
        Lists the promoted files.
    store : ModelStore
        Holds them.
    derived : DerivedFiles
        Takes what they are converted to.
    recovery : Recovery
        Removes what stays rejected.
    workers : ModelWorkers
        Loads what was judged good.
    sandbox : Sandbox
        The walls around the judging processes.
    memory_bytes : int
        One that takes more is ended.
    timeout_s : float
        Longest judging of one file.
    rejected_keep_s : float
        A rejected file is removed after so many seconds.
    promoted : asyncio.Event
        Set whenever there may be something to judge.
    spawn : callable
        Starts a task in the task group of the application.
    """

    def __init__(
        self,
        registry: Registry,
        store: ModelStore,
        derived: DerivedFiles,
        recovery: Recovery,
        workers: ModelWorkers,
        *,
        sandbox: Sandbox,
        memory_bytes: int,
        timeout_s: float,
        rejected_keep_s: float,
        promoted: asyncio.Event,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._registry = registry
        self._store = store
        self._derived = derived
        self._recovery = recovery
        self._workers = workers
        self._sandbox = sandbox
        self._memory_bytes = memory_bytes
        self._timeout_s = timeout_s
        self._rejected_keep_s = rejected_keep_s
        self._spawn = spawn
        self._wake = promoted
        self._changed = asyncio.Event()
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._judging: dict[Digest, asyncio.Task[None]] = {}
        self._stopping = False
        self._more = False

    def wake(self) -> None:
        """Look for promoted files now."""
        self._wake.set()

    async def run(self) -> None:
        """Judge what is promoted, for as long as the server runs."""
        while True:
            self._wake.clear()
            try:
                await self._look()
            except Exception:  # a boundary: a full disk or a busy database must not end the judging
                _log.exception("promoted files could not be looked through")
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _look(self) -> None:
        found = await self._registry.in_state(State.PROMOTED, limit=_LISTED)
        self._more = len(found) == _LISTED
        for model in found:
            if model.digest not in self._judging:
                self._judging[model.digest] = self._spawn(self._settle(model))
        await self._remove_rejected()

    def stop_waiting(self) -> None:
        """Let nobody wait for a model any longer: the server is stopping."""
        self._stopping = True
        self._changed.set()

    async def close(self) -> None:
        """Stop judging; what is not judged yet stays promoted for the next start."""
        judging = list(self._judging.values())
        for task in judging:
            task.cancel()
        await asyncio.gather(*judging, return_exceptions=True)

    async def wait_while_promoted(self, digest: Digest, *, timeout_s: float) -> Model | None:
        """Return what is known of a digest once it is judged, or when the time is over."""
        deadline = time.monotonic() + timeout_s
        while True:
            changed = self._changed
            model = await self._registry.get(digest)
            if model is None or model.state is not State.PROMOTED or self._stopping:
                return model
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await changed.wait()
            except TimeoutError:
                return model

    async def _settle(self, model: Model) -> None:
        started = time.monotonic()
        fields = {"digest": model.digest.short}
        declared_anew = False
        try:
            async with self._places:
                _log.info("judging model", extra=fields)
                record = await self._judge(model)
                await self._warm(model.digest, record)
            if not await self._registry.make_ready(model, record):
                declared_anew = True
                return
            seconds = round(time.monotonic() - started, 2)
            VERDICTS.labels("ready").inc()
            _log.info("model ready", extra=fields | {"seconds": seconds})
        except _CLIENT_PART as error:
            if not await self._registry.reject(
                model, error.detail, {"refusal": told_refusal(error)}
            ):
                declared_anew = True
                return
            VERDICTS.labels(bounded(code_of(error))).inc()
            _log.warning("model rejected", extra=fields | {"reason": error.detail})
        except ServerError as error:
            _log.error("model could not be judged", extra=fields | {"reason": error.detail})
        finally:
            self._judging.pop(model.digest, None)
            if declared_anew:
                _log.info("manifest changed while it was judged", extra=fields)
            if declared_anew or (self._more and not self._judging):
                self._wake.set()
            self._changed.set()
            self._changed = asyncio.Event()

    async def _judge(self, model: Model) -> dict[str, Any]:
        if await asyncio.to_thread(self._store.verify, model.digest) is None:
            raise BadModel("the file here is damaged; upload it again")
        path = self._store.path(model.digest).resolve()
        rights = self._sandbox.rights(memory_bytes=_GATE_BYTES, read=[path])
        told = await self._ask(_GATE, {"path": str(path)}, rights=rights)
        verdict, judged = told_verdict(told.get("gate")), told_reading(told.get("gate"))
        config: dict[str, Any] = {"path": str(path), "manifest": model.manifest, "judged": judged}
        config |= {"activations": verdict["activations"], "calls": verdict["layers"]}
        load = self._load_onnx if told.get("format") == "onnx" else self._convert
        record = await load(path, config)
        counted = {"parameters": verdict["parameters"]} | record
        return counted | {"gate": verdict, "judges": judges()}

    async def _load_onnx(self, path: Path, config: dict[str, Any]) -> dict[str, Any]:
        """Have a file judged that is served as it is."""
        rights = self._sandbox.rights(memory_bytes=self._memory_bytes, read=[path])
        answer = await self._ask("server.inference.onnx_intake_child", config, rights=rights)
        return told_record(answer.get("record"))

    async def _convert(self, path: Path, config: dict[str, Any]) -> dict[str, Any]:
        """Have a file judged that is converted where that can be done."""
        rights = self._sandbox.rights(
            memory_bytes=self._memory_bytes, read=[path], writes_bytes=_WRITTEN_BYTES
        )
        try:
            converted = await asyncio.to_thread(self._derived.new)
        except OSError as error:
            raise StorageFull("no room for the converted model", retry_after_s=60) from error
        try:
            answer = await self._ask(
                "server.inference.intake_child", config, rights=rights, output=converted.fd
            )
            return await self._record(told_record(answer.get("record")), converted)
        finally:
            await asyncio.to_thread(converted.close)

    async def _record(self, record: dict[str, Any], converted: NewFile) -> dict[str, Any]:
        """Take over what the child made of the model."""
        if record["engine"].get("name") == "onnxruntime":
            keep = asyncio.to_thread(self._derived.keep, converted)
            try:
                record["derived"] = (await run_to_end(keep)).hex
            except OSError as error:
                raise StorageFull("no room for the converted model", retry_after_s=60) from error
        return record

    async def _ask(
        self,
        module: str,
        config: dict[str, Any],
        *,
        rights: Rights | None,
        output: int | None = None,
    ) -> dict[str, Any]:
        """Run a one-shot child and return what it says; once more when it dies."""
        try:
            return await self._ask_once(module, config, rights, output)
        except WorkerFailed as error:
            if module == _GATE and error.cause == "signal":
                # nothing but the library ran, or its time is over: with this file it ends so again
                raise BadModel(_FATAL, reason="damaged-file") from error
            # a process may also die for lack of memory, which is not the model's fault
            if output is not None:
                os.ftruncate(output, 0)
                os.lseek(output, 0, os.SEEK_SET)
            try:
                return await self._ask_once(module, config, rights, output)
            except WorkerFailed as error:
                why = f"it took down the process that judged it: {error.detail}"
                raise WorkerFailed(why) from error

    async def _ask_once(
        self, module: str, config: dict[str, Any], rights: Rights | None, output: int | None
    ) -> dict[str, Any]:
        files = {} if output is None else {"output": output}
        child = await Child.start(
            module, config, timeout_s=self._timeout_s, nice=10, files=files, rights=rights
        )
        await child.end()
        return child.ready

    async def _warm(self, digest: Digest, record: dict[str, Any]) -> None:
        try:
            try:
                await self._workers.warm(digest, record)
            except WorkerFailed:
                # it ran a moment ago: the machine was short of memory rather than the model bad
                await self._workers.warm(digest, record)
        except Overload:
            # every place is busy: it is loaded when it is first asked
            _log.info("model not preloaded", extra={"digest": digest.short})

    async def _remove_rejected(self) -> None:
        for digest in await self._registry.rejected_before(time.time() - self._rejected_keep_s):
            if await self._recovery.remove_rejected(digest):
                _log.info("rejected file removed", extra={"digest": digest.short})
