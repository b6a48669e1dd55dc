"""From a sound to a prediction: decoder, model, decoder.

::

    sound, csv --> decoder: tensors --> model worker: outputs --> decoder: reply
"""

import logging
import math
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
_SOURCES = {None: None, "client": "client", "derived": "derived"}


@dataclass(frozen=True, slots=True)
class Prediction:
    """A task's answer to a call, checked: children may be hostile.

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
    registry : Registry
        Knows the models.
    intake : Intake
        Tells when a model has been judged.
    decoders : ChildPool
        Turn sounds into tensors, and outputs into replies.
    workers : ModelWorkers
        Run the models.
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
        self.saturated_answers = 0

    async def predict(
        self, digest: Digest, *, sound: bytes, ext: str | None, csv: bytes
    ) -> Prediction:
        """Predict from a sound file and, where given, its feature row.

        Raises
        ------
        ServerError
            Whatever keeps the model from answering, or what is wrong with the input.
        """
        binding = await self.binding(digest)
        if self._in_flight >= self._max_in_flight:
            raise Overload(f"{self._max_in_flight} predictions are in flight")
        self._in_flight += 1
        try:
            asked = {"op": "frontend", "binding": binding, "ext": ext}
            parts = [Part("sound", sound), Part("csv", csv)]
            made = await self._decoders.call(Message(asked, parts))
            outputs = await self._workers.predict(digest, list(made.parts))
            answer = await self._decoders.call(
                Message({"op": "decode", "binding": binding}, outputs)
            )
        finally:
            self._in_flight -= 1
        prediction = _checked(made.fields.get("told"), answer.fields.get("reply"), binding)
        if prediction.saturated:
            self.saturated_answers += 1
            _log.warning(
                "saturated answer: is the model fed unscaled numbers?",
                extra={"digest": digest.short},
            )
        return prediction

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


def _checked(told: Any, reply: Any, binding: dict[str, Any]) -> Prediction:
    try:
        (row,) = reply["array"]
        window = {key: float(told["window"][key]) for key in ("start_s", "stop_s", "of_s")}
        span = "{start_s:g}-{stop_s:g} s of {of_s:g} s".format(**window)
        prediction = Prediction(
            array=[[float(value) for value in row]],
            labels=binding["labels"],
            saturated=bool(reply["saturated"]),
            frontends=[item["frontend"] for item in binding["inputs"]],
            window=span + (", repeated" if told["window"]["repeated"] else ""),
            features=_SOURCES[told.get("features")],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WorkerFailed("the process answered nonsense") from error
    if len(row) != len(prediction.labels) or not all(map(math.isfinite, prediction.array[0])):
        raise WorkerFailed("the process answered nonsense")
    return prediction


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
