"""From a call to a prediction.

::

    sound --preparation--> tensors --.                          .--decoder--> labelled numbers
    tensors ------------------------- +-> batcher -> worker: outputs
                                                                `-----------> as they are
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from server.digest import Digest
from server.errors import (
    BadModel,
    DeadlinePassed,
    ModelDisabled,
    ModelNotFound,
    ModelNotReady,
    ModelState,
    UnusableInput,
)
from server.inference.admission import Admission, Asker
from server.inference.bounds import check_bounds
from server.inference.frames import Part
from server.inference.intake import Intake
from server.inference.pool import ChildPool
from server.inference.prediction import Prediction
from server.inference.preparation import Preparation, Prepared, Sound
from server.inference.sandbox_level import Sandbox
from server.inference.sound_runs import SoundRuns
from server.inference.statistics import ModelStatistics, ending
from server.inference.workers import ModelWorkers
from server.model_errors import UNSERVED, UnservedFormat
from server.repository.registry import Model, State

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReadyModel:
    """A model that can predict.

    Attributes
    ----------
    digest : Digest
        Its name.
    record : mapping
        What intake found of it.
    manifest : mapping or None
        What its owner declared.
    """

    digest: Digest
    record: Mapping[str, Any]
    manifest: Mapping[str, Any] | None = None

    @property
    def binding(self) -> Mapping[str, Any]:
        """Which tensor is fed with what, and what the output means."""
        binding: Mapping[str, Any] = self.record["binding"]
        return binding

    @property
    def takes_tensors(self) -> bool:
        """Whether its callers bring tensors instead of a sound."""
        return bool(self.binding.get("takes") == "tensors")

    @property
    def takes(self) -> str:
        """What to send instead of a sound, in words."""
        if "form" in self.binding:
            return f"the model is one of {self.binding['task']!r}: POST the sound to /v1/jobs"
        return "the model takes tensors, not a sound: POST them to /v1"

    def describe(self) -> dict[str, Any]:
        """Return what an answer says of the model that gave it."""
        engine = self.record["engine"]
        return {
            "digest": self.digest.hex,
            "task": self.binding["task"],
            "engine": f"{engine['name']} {engine['version']}",
            "precision": engine["precision"],
        }


class Predictor:
    """Answers calls to ready models.

    Parameters
    ----------
    intake : Intake
        Tells when a model has been judged.
    preparation : Preparation
        Turns sounds into tensors.
    decoders : ChildPool
        Turn outputs into replies.
    workers : ModelWorkers
        Run the models.
    sandbox : Sandbox
        Says whether models are run here at all.
    admission : Admission
        Says who may predict now; the others are refused at once.
    ready_wait_s : float
        How long a call waits for a model that is being judged.
    deadline_s : float
        How long a prediction may take; then its work is dropped.
    """

    def __init__(
        self,
        intake: Intake,
        preparation: Preparation,
        decoders: ChildPool,
        workers: ModelWorkers,
        *,
        sandbox: Sandbox,
        admission: Admission,
        ready_wait_s: float,
        deadline_s: float,
    ) -> None:
        self._intake = intake
        self._preparation = preparation
        self._runs = SoundRuns(preparation, decoders, workers)
        self._workers = workers
        self._sandbox = sandbox
        self._admission = admission
        self._ready_wait_s = ready_wait_s
        self._deadline_s = deadline_s
        self.saturated_answers = 0

    async def ready(self, digest: Digest) -> ReadyModel:
        """Return a model that can predict, waiting while it is being judged.

        Raises
        ------
        ModelNotFound, ModelState, ModelDisabled, BadModel, ModelNotReady, SandboxMissing
            If it cannot.
        """
        self._sandbox.check()
        model = await self._intake.wait_while_promoted(digest, timeout_s=self._ready_wait_s)
        if model is None:
            raise ModelNotFound
        if model.state is State.READY and model.record is not None:
            return ReadyModel(digest, model.record, model.manifest)
        raise _refusal(model)

    @property
    def in_flight(self) -> int:
        """How many predictions are under way."""
        return self._admission.in_flight

    @property
    def share_of_one(self) -> int:
        """How many predictions one caller may have under way."""
        return self._admission.share_of_one

    def check_room(self, address: str, model: Digest | None = None) -> None:
        """Refuse a call before its body is read, when it would be refused afterwards.

        Parameters
        ----------
        address : str
            Where it comes from; its key is not known yet.
        model : Digest, optional
            Which is asked, where the path says so.

        Raises
        ------
        Overload, TooManyRequests
            If all places, or all that this address or the model may have, are taken.
        """
        self._admission.check(Asker(address), model)

    async def predict_sound(
        self,
        model: ReadyModel,
        sound: Sound,
        *,
        asker: Asker,
        row_of: Sequence[str] | None = None,
        all_windows: bool = False,
    ) -> Prediction:
        """Predict from a sound file and, where given, its feature row.

        Parameters
        ----------
        model : ReadyModel
            Predicts.
        sound : Sound
            What from.
        asker : Asker
            Whose place it takes.
        row_of : sequence of str, optional
            Names of every feature, where the row is to be answered as well.
        all_windows : bool
            Whether to answer the mean over all windows of the sound, not of its middle alone.

        Raises
        ------
        ServerError
            Whatever keeps the model from answering, or what is wrong with the input.
        """
        if model.takes_tensors:
            raise UnusableInput(model.takes)
        runs = self._runs
        async with self._place(model, asker) as counted:
            if all_windows:
                found = await runs.mean(model.digest, model.record, sound, counted)
            else:
                found = await runs.once(model.digest, model.record, sound, counted, row_of)
        if found.saturated:
            self.saturated_answers += 1
            fields = {"digest": model.digest.short}
            _log.warning("saturated answer: is the model fed unscaled numbers?", extra=fields)
        return found

    async def predict_tensors(
        self, model: ReadyModel, tensors: Sequence[Part], *, asker: Asker
    ) -> list[Part]:
        """Run a model on one row of tensors that fit its binding.

        Returns
        -------
        list of Part
            Its outputs, float32, shape [1, ...]; they may hold NaN and infinity.

        Raises
        ------
        ServerError
            Whatever keeps the model from answering.
        """
        (outputs,) = await self.predict_rows(model, [tensors], asker=asker)
        return outputs

    async def predict_rows(
        self, model: ReadyModel, rows: Sequence[Sequence[Part]], *, asker: Asker
    ) -> list[list[Part]]:
        """Run a model on several rows, in the place of one call; the first that fails ends all."""
        check_bounds(rows, model.binding)
        async with self._place(model, asker):
            return await self._workers.predict_rows(model.digest, model.record, rows)

    async def prepare(self, sound: Sound, binding: Mapping[str, Any], *, asker: Asker) -> Prepared:
        """Make tensors of a sound that no model is fed with.

        Raises
        ------
        ServerError
            Whatever is wrong with the sound, or keeps it from being decoded.
        """
        self._sandbox.check()
        with self._admission.place(None, asker):
            async with self._until_deadline():
                return await self._preparation.prepare(sound, binding)

    @asynccontextmanager
    async def _place(self, model: ReadyModel, asker: Asker) -> AsyncIterator[ModelStatistics]:
        """Hold a place until the deadline, and count what becomes of the call."""
        counted = self._workers.statistics.of(model.digest)
        with self._admission.place(model.digest, asker), ending(counted):
            async with self._until_deadline():
                yield counted

    @asynccontextmanager
    async def _until_deadline(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._deadline_s) as deadline:
                yield
        except TimeoutError:
            if not deadline.expired():
                raise
            raise DeadlinePassed(f"it took longer than {self._deadline_s:g} s") from None


def _refusal(model: Model) -> Exception:
    match model.state:
        case State.REGISTERED:
            return ModelState(model.reason or "the digest is registered; upload its file")
        case State.REJECTED:
            told: dict[str, str] = (model.record or {}).get("refusal", {})
            kind = UnservedFormat if told.get("reason") in UNSERVED else BadModel
            return kind(f"the model was rejected: {model.reason}", **told)
        case State.DISABLED:
            return ModelDisabled(f"the model is disabled: {model.reason}")
        case _:
            return ModelNotReady("the model is being judged and loaded", retry_after_s=5)
