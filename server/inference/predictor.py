"""From a sound to a prediction: decoder, model, decoder.

::

    sound, csv --> decoder: tensors --> model worker: outputs --> decoder: reply
"""

import logging
from dataclasses import dataclass
from typing import Any

from server.digest import Digest
from server.errors import (
    BadModel,
    ModelDisabled,
    ModelNotFound,
    ModelNotReady,
    ModelState,
    Overload,
    WorkerFailed,
)
from server.inference.frames import Message, Part
from server.inference.intake import Intake
from server.inference.pool import ChildPool
from server.inference.workers import ModelWorkers
from server.repository.registry import Model, Registry, State

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A task's answer to a call.

    Attributes
    ----------
    reply : dict
        What the task answers, JSON values.
    told : dict
        How the tensors were made: frontends, window, where the features came from.
    """

    reply: dict[str, Any]
    told: dict[str, Any]


class Predictor:
    """Answers calls to ready models.

    Parameters
    ----------
    registry, intake, decoders, workers
        The parts that a prediction goes through.
    max_in_flight : int
        Predictions at once; more are refused at once.
    ready_wait_s : float
        How long a call waits for a model that is being judged.
    """

    def __init__(
        self,
        registry: Registry,
        intake: Intake,
        decoders: ChildPool,
        workers: ModelWorkers,
        *,
        max_in_flight: int,
        ready_wait_s: float,
    ) -> None:
        self._registry = registry
        self._intake = intake
        self._decoders = decoders
        self._workers = workers
        self._max_in_flight = max_in_flight
        self._ready_wait_s = ready_wait_s
        self._in_flight = 0

    async def predict(
        self, digest: Digest, *, sound: bytes, ext: str | None, csv: bytes
    ) -> Prediction:
        """Predict from a sound file and, where given, its feature row.

        Raises
        ------
        ServerError
            Whatever keeps the model from answering, or what is wrong with the input.
        """
        if self._in_flight >= self._max_in_flight:
            raise Overload(f"{self._max_in_flight} predictions are in flight")
        self._in_flight += 1
        try:
            binding = await self.binding(digest)
            asked = {"op": "frontend", "binding": binding, "ext": ext}
            parts = [Part("sound", sound), Part("csv", csv)]
            made = await self._decoders.call(Message(asked, parts))
            outputs = await self._workers.predict(digest, list(made.parts))
            answer = await self._decoders.call(
                Message({"op": "decode", "binding": binding}, outputs)
            )
        finally:
            self._in_flight -= 1
        told, reply = made.fields.get("told"), answer.fields.get("reply")
        if not isinstance(told, dict) or not isinstance(reply, dict):
            raise WorkerFailed("the process answered nonsense")
        if reply.get("saturated"):
            _log.warning(
                "saturated answer: is the model fed unscaled numbers?",
                extra={"digest": digest.short},
            )
        return Prediction(reply, told)

    async def binding(self, digest: Digest) -> dict[str, Any]:
        """Return the binding of a model that can predict, waiting while it is being judged.

        Raises
        ------
        ModelNotFound, ModelState, ModelDisabled, BadModel, ModelNotReady
            If it cannot.
        """
        model = await self._intake.wait_while_promoted(digest, timeout_s=self._ready_wait_s)
        if model is None:
            raise ModelNotFound
        if model.state is State.READY and model.record is not None:
            binding: dict[str, Any] = model.record["binding"]
            return binding
        raise _refusal(model)


def _refusal(model: Model) -> Exception:
    match model.state:
        case State.REGISTERED:
            return ModelState("the digest is registered; upload its file")
        case State.REJECTED:
            return BadModel(f"the model was rejected: {model.reason}")
        case State.DISABLED:
            return ModelDisabled(f"the model is disabled: {model.reason}")
        case _:
            return ModelNotReady("the model is being judged and loaded", retry_after_s=5)
