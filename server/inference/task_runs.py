"""A job done: its child makes rows of the sound, the model's worker answers them.

::

    child --rows--> worker, eight at a time --outputs--> child --> ... --> result, files
       `--progress (and no rows, where the baseline answers in the child)

Who cancels the call ends the child.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.errors import Overload, UnusableInput, WorkerFailed
from server.inference.frames import Batch, BatchMessage, Message, Part
from server.inference.predictor import ReadyModel
from server.inference.process import Child
from server.inference.sandbox import Rights
from server.inference.workers import ModelWorkers

_START_S = 45.0
_ROWS_AT_ONCE = 8
_MAX_ROWS = 256  # of one step
_MAX_RESULT_BYTES = 1 << 20
_PAUSES_S = (0.25, 0.5, 1.0, 2.0, 4.0)  # while a model is too busy for another row
Progress = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class TaskWork:
    """What a job is.

    Attributes
    ----------
    task : str
        Of the contracts.
    model : ReadyModel or None
        None: the task's baseline answers.
    parameters : mapping
        Every parameter of the contract, checked.
    sound : int
        An open file with the sound, read from its start.
    ext : str or None
        The format that the caller named.
    files : mapping of str to int
        An empty open file for each artifact of the contract.
    """

    task: str
    model: ReadyModel | None
    parameters: Mapping[str, Any]
    sound: int
    ext: str | None = None
    files: Mapping[str, int] = field(default_factory=dict)


class TaskRuns:
    """Does jobs, each in a child process of its own.

    Parameters
    ----------
    workers : ModelWorkers
        Run the models.
    rights : Rights or None
        What a child may use.
    step_timeout_s : float
        Longest piece of work between two tellings of progress.
    """

    def __init__(
        self, workers: ModelWorkers, *, rights: Rights | None, step_timeout_s: float
    ) -> None:
        self._workers = workers
        self._rights = rights
        self._step_timeout_s = step_timeout_s

    async def run(self, work: TaskWork, on_progress: Progress) -> dict[str, Any]:
        """Do a job.

        Parameters
        ----------
        work : TaskWork
            What to do, and where its files go.
        on_progress : callable
            Awaited with each progress, 0 to 1, never less than the last one.

        Returns
        -------
        dict
            The result, JSON values.

        Raises
        ------
        ServerError
            What is wrong with the sound, or keeps the job from being done.
        """
        config = {
            "task": work.task,
            "binding": {} if work.model is None else work.model.binding,
            "parameters": dict(work.parameters),
            "ext": work.ext,
        }
        child = await Child.start(
            "server.inference.task_child",
            config,
            timeout_s=_START_S,
            nice=10,
            files={"sound": work.sound, **work.files},
            rights=self._rights,
        )
        try:
            return await self._advance(child, work, on_progress)
        finally:
            await child.end()

    async def _advance(self, child: Child, work: TaskWork, on_progress: Progress) -> dict[str, Any]:
        told, message = 0.0, BatchMessage({"op": "advance"}, [])
        while True:
            answer = await child.call(message, timeout_s=self._step_timeout_s)
            progress = _progress(answer, told)
            if answer.fields.get("done") is True:
                return _result(answer)
            batches: list[Batch] = []
            if answer.parts:
                rows = _rows(answer, work.model)
                outputs: list[list[Part]] = []
                for first in range(0, len(rows), _ROWS_AT_ONCE):
                    outputs += await self._predict(work, rows[first : first + _ROWS_AT_ONCE])
                    await on_progress(told + (progress - told) * len(outputs) / len(rows))
                batches = _joined(outputs)
            elif progress > told:
                await on_progress(progress)
            told = progress
            message = BatchMessage({"op": "advance"}, batches)

    async def _predict(self, work: TaskWork, rows: Sequence[list[Part]]) -> list[list[Part]]:
        """Run the model, and wait a while where it is too busy: a job has no caller who waits."""
        if work.model is None:
            raise WorkerFailed("the process answered nonsense")
        for pause_s in _PAUSES_S:
            try:
                return await self._workers.predict_rows(work.model.digest, work.model.record, rows)
            except Overload:
                await asyncio.sleep(pause_s)
        return await self._workers.predict_rows(work.model.digest, work.model.record, rows)


def check_model(task: str, model: ReadyModel) -> None:
    """Refuse a model of another task.

    Raises
    ------
    UnusableInput
        Naming both.
    """
    if model.binding["task"] != task:
        raise UnusableInput(f"the model is one of {model.binding['task']!r}, not of {task!r}")


def _progress(answer: Message, told: float) -> float:
    """Take over what a child says of its progress; it may be hostile."""
    said = answer.fields.get("progress")
    if not isinstance(said, int | float) or isinstance(said, bool) or not 0 <= said <= 1:
        raise WorkerFailed("the process answered nonsense")
    return max(told, float(said))


def _result(answer: Message) -> dict[str, Any]:
    try:
        (part,) = answer.parts
        if len(part.data) > _MAX_RESULT_BYTES:
            raise ValueError(len(part.data))
        result = json.loads(bytes(part.data), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise WorkerFailed("the process answered nonsense") from error
    if not isinstance(result, dict):
        raise WorkerFailed("the process answered nonsense")
    return result


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def _rows(answer: Message, model: ReadyModel | None) -> list[list[Part]]:
    """Cut a step's tensors into rows that fit the model's binding."""
    if model is None:
        raise WorkerFailed("the process answered nonsense")
    try:
        pairs = list(zip(answer.parts, model.binding["inputs"], strict=True))
        count = answer.parts[0].shape[0]
        if not 0 < count <= _MAX_ROWS:
            raise ValueError(count)
        columns = [_cut(part, item, count) for part, item in pairs]
    except (IndexError, ValueError) as error:
        raise WorkerFailed("the process answered nonsense") from error
    return [list(row) for row in zip(*columns, strict=True)]


def _cut(part: Part, item: Mapping[str, Any], count: int) -> list[Part]:
    shape = part.shape
    fits = len(shape) == len(item["shape"]) and all(
        size in (None, found) for size, found in zip(item["shape"][1:], shape[1:], strict=True)
    )
    if part.name != item["tensor"] or part.dtype != item["dtype"] or not fits or shape[0] != count:
        raise ValueError(part.name)
    data, step = memoryview(part.data), len(part.data) // count
    pieces = [data[k * step : (k + 1) * step] for k in range(count)]
    return [Part(part.name, piece, part.dtype, (1, *shape[1:])) for piece in pieces]


def _joined(outputs: Sequence[Sequence[Part]]) -> list[Batch]:
    """Put the outputs of rows together again, by name."""
    first = outputs[0]
    if any([p.shape for p in row] != [p.shape for p in first] for row in outputs):
        raise WorkerFailed("the model answered rows of several shapes")
    return [
        Batch(
            part.name,
            [row[k].data for row in outputs],
            "float32",
            (len(outputs), *part.shape[1:]),
        )
        for k, part in enumerate(first)
    ]
