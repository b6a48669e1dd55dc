"""From a call to a prediction.

::

    sound --preparation--> tensors --.                          .--decoder--> labelled numbers
    tensors ------------------------- +-> batcher -> worker: outputs
                                                                `-----------> as they are
"""

import asyncio
import logging
import math
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
    WorkerFailed,
)
from server.inference.admission import Admission
from server.inference.frames import Message, Part
from server.inference.intake import Intake
from server.inference.pool import ChildPool
from server.inference.preparation import Preparation, Sound
from server.inference.sandbox_level import Sandbox
from server.inference.workers import ModelWorkers
from server.repository.registry import Model, State

_log = logging.getLogger(__name__)
TENSORS = "tensors"  # the task whose callers bring tensors; every other takes a sound


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
        return bool(self.binding["task"] == TENSORS)

    def describe(self) -> dict[str, Any]:
        """Return what an answer says of the model that gave it."""
        engine = self.record["engine"]
        return {
            "digest": self.digest.hex,
            "task": self.binding["task"],
            "engine": f"{engine['name']} {engine['version']}",
            "precision": engine["precision"],
        }


@dataclass(frozen=True, slots=True)
class Prediction:
    """A task's answer to a sound, checked: children may be hostile.

    Attributes
    ----------
    array : list of list of float
        One row of finite numbers, one for each label.
    labels : list of str
        What the numbers mean.
    saturated : bool
        Whether the answer is one-hot, as of a model that was fed unscaled numbers.
    frontends : list of str
        What made the model's tensors.
    window : str
        Which part of the sound was used.
    features : str or None
        Where the feature row came from: ``client`` or ``derived``.
    """

    array: list[list[float]]
    labels: list[str]
    saturated: bool
    frontends: list[str]
    window: str
    features: str | None


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
        self._decoders = decoders
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

    def check_room(self, caller: str) -> None:
        """Refuse a call before its body is read, when it would be refused afterwards.

        Raises
        ------
        Overload, TooManyRequests
            If all places, or all that this caller may have, are taken.
        """
        self._admission.check(caller)

    async def predict_sound(self, model: ReadyModel, sound: Sound, *, caller: str) -> Prediction:
        """Predict from a sound file and, where given, its feature row.

        Raises
        ------
        ServerError
            Whatever keeps the model from answering, or what is wrong with the input.
        """
        if model.takes_tensors:
            raise UnusableInput("the model takes tensors, not a sound: POST them to /v1")
        binding = model.binding
        async with self._place(model, caller):
            prepared = await self._preparation.prepare(sound, binding)
            outputs = await self._workers.predict(model.digest, model.record, prepared.tensors)
            asked = {"op": "decode", "binding": binding}
            answer = await self._decoders.call(Message(asked, outputs), first=True)
        array, saturated = _checked(answer.fields.get("reply"), binding)
        if saturated:
            self.saturated_answers += 1
            fields = {"digest": model.digest.short}
            _log.warning("saturated answer: is the model fed unscaled numbers?", extra=fields)
        return Prediction(
            array=array,
            labels=binding["labels"],
            saturated=saturated,
            frontends=[item["frontend"] for item in binding["inputs"]],
            window=prepared.window,
            features=prepared.features,
        )

    async def predict_tensors(
        self, model: ReadyModel, tensors: Sequence[Part], *, caller: str
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
        async with self._place(model, caller):
            return await self._workers.predict(model.digest, model.record, tensors)

    @asynccontextmanager
    async def _place(self, model: ReadyModel, caller: str) -> AsyncIterator[None]:
        """Hold a place until the deadline."""
        with self._admission.place(model.digest, caller):
            try:
                async with asyncio.timeout(self._deadline_s) as deadline:
                    yield
            except TimeoutError:
                if not deadline.expired():
                    raise
                raise DeadlinePassed(f"it took longer than {self._deadline_s:g} s") from None


def _checked(reply: Any, binding: Mapping[str, Any]) -> tuple[list[list[float]], bool]:
    """Take over a decoder's reply; it may be hostile."""
    try:
        (row,) = reply["array"]
        numbers = [float(value) for value in row]
        saturated = bool(reply["saturated"])
    except (KeyError, TypeError, ValueError) as error:
        raise WorkerFailed("the process answered nonsense") from error
    if len(numbers) != len(binding["labels"]) or not all(map(math.isfinite, numbers)):
        raise WorkerFailed("the process answered nonsense")
    return [numbers], saturated


def _refusal(model: Model) -> Exception:
    match model.state:
        case State.REGISTERED:
            return ModelState(model.reason or "the digest is registered; upload its file")
        case State.REJECTED:
            return BadModel(f"the model was rejected: {model.reason}")
        case State.DISABLED:
            return ModelDisabled(f"the model is disabled: {model.reason}")
        case _:
            return ModelNotReady("the model is being judged and loaded", retry_after_s=5)
