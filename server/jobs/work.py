"""What a lane does with a job: hand it to the task that it is for."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from server.digest import Digest
from server.errors import UnusableInput
from server.inference.predictor import Predictor, ReadyModel
from server.inference.task_runs import TaskRuns, TaskWork
from server.jobs.job import Asked
from server.signing.encoding import canonical_json

OnProgress = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Order:
    """A job with its open files.

    Attributes
    ----------
    asked : Asked
        What is to be done.
    sound : int
        Open at its start.
    files : mapping of str to int
        An empty open file for each artifact, by its name.
    """

    asked: Asked
    sound: int
    files: Mapping[str, int]


Do = Callable[[Order, OnProgress], Awaitable[dict[str, Any]]]


class TaskDoer:
    """Does jobs by their tasks.

    Parameters
    ----------
    predictor : Predictor
        Waits for models.
    runs : TaskRuns
        Run tasks.
    """

    def __init__(self, predictor: Predictor, runs: TaskRuns) -> None:
        self._predictor = predictor
        self._runs = runs

    async def __call__(self, order: Order, on_progress: OnProgress) -> dict[str, Any]:
        """Do a job, and return its result.

        Raises
        ------
        ServerError
            What keeps it from being done.
        """
        asked, model = order.asked, None
        if asked.model is not None:
            model = await self._predictor.ready(asked.model)
            if manifest_digest(model) != asked.manifest:
                raise UnusableInput("the model's manifest was changed meanwhile: submit it again")
        work = TaskWork(
            asked.task, model, asked.parameters, order.sound, ext=asked.ext, files=order.files
        )
        return await self._runs.run(work, on_progress)


def manifest_digest(model: ReadyModel) -> Digest | None:
    """Return the digest of what a model's owner declared; None where that is nothing."""
    if model.manifest is None:
        return None
    return Digest(hashlib.sha256(canonical_json(model.manifest)).digest())
