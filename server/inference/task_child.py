"""The one-shot process that does one job: it turns a sound into a result and files.

::

    start     task, form, binding, parameters; open files: the sound, one for each artifact
    advance   asked     parts   the model's outputs for the rows of the last answer
              answered  fields  progress, 0 to 1; done
                        parts   rows for the model; at the end `result`, a JSON text

A baseline takes the model's place in here: then no rows are answered. Before the walls close the
task is done once on a second of noise, because what libraries look up at first use they cannot
look up later.
"""

import io
import json
import os
from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from server.audio.decode import open_sound
from server.audio.source import Shape
from server.inference.child import Handler, serve, to_array, to_part
from server.inference.frames import Message, Part
from server.inference.malloc import keep_memory
from server.tasks.contract import Contract
from server.tasks.table import TASKS
from server.tasks.task import Assignment, Step, Task, Tensors, Work

RESULT = "result"
_READ_BYTES = 1 << 20


def start(config: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Handler]]:
    """Open the sound, warm up and stand ready to begin."""
    keep_memory()
    task: Task = TASKS[config["task"]]
    contract = task.contract
    files = {item.name: config[f"{item.name}_fd"] for item in contract.artifacts}
    binding, parameters = config["binding"], config["parameters"]
    data = _read(config["sound_fd"])
    _warm_up(task, parameters, files)
    sound = open_sound(data, ext=config["ext"], shape=_shape(contract))
    form = binding.get("form", contract.forms[0].name)
    job = Job(task, Assignment(sound, form, binding, parameters, files))
    return {}, {"advance": job.advance}


class Job:
    """A job that is being done.

    Parameters
    ----------
    task : Task
        With `work`.
    assignment : Assignment
        Without a binding, the task's baseline answers.
    """

    def __init__(self, task: Task, assignment: Assignment) -> None:
        self._task = task
        self._assignment = assignment
        self._binding = assignment.binding
        self._work = _begun(task.work, assignment)
        self._outputs: Tensors | None = None  # what the next step is sent; None: it is the first

    def advance(self, message: Message) -> Message:
        """Do the next piece of work."""
        if message.parts:
            self._outputs = self._named({part.name: to_array(part) for part in message.parts})
        try:
            step = next(self._work) if self._outputs is None else self._work.send(self._outputs)
        except StopIteration as ended:
            text = json.dumps(ended.value, allow_nan=False).encode()
            return Message({"progress": 1.0, "done": True}, [Part(RESULT, text)])
        self._outputs = {}
        told = {"progress": step.progress, "done": False}
        if step.tensors and not self._binding:
            self._outputs = _answered(self._task, step, self._assignment.parameters)
        elif step.tensors:
            return Message(told, self._rows(step.tensors))
        return Message(told)

    def _rows(self, tensors: Tensors) -> list[Part]:
        """Name the rows as the model does."""
        return [
            to_part(item["tensor"], tensors[item["as"]].astype(item["dtype"], copy=False))
            for item in self._binding["inputs"]
        ]

    def _named(self, outputs: Mapping[str, NDArray[Any]]) -> Tensors:
        """Name a model's outputs as the form does."""
        return {item["as"]: outputs[item["tensor"]] for item in self._binding["outputs"]}


def _begun(work: Work | None, assignment: Assignment) -> Generator[Step, Tensors, dict[str, Any]]:
    if work is None:
        raise ValueError("the task does no jobs")
    return work(assignment)


def _answered(task: Task, step: Step, parameters: Mapping[str, Any]) -> Tensors:
    if task.baseline is None:
        raise ValueError("the task has no baseline")
    return task.baseline(step.tensors, parameters)


def _warm_up(task: Task, parameters: Mapping[str, Any], files: Mapping[str, int]) -> None:
    """Do the task on noise, and leave the files empty."""
    contract = task.contract
    noise = np.random.default_rng(0).standard_normal(
        int(max(1.0, contract.min_seconds) * contract.sample_rate_hz) + 1
    )
    file = io.BytesIO()
    soundfile.write(file, 0.1 * noise, contract.sample_rate_hz, format="WAV")
    sound = open_sound(file.getvalue(), shape=_shape(contract))
    form = contract.forms[0].name
    if task.baseline is not None:
        work = _begun(task.work, Assignment(sound, form, {}, parameters, files))
        outputs: Tensors | None = None
        while True:
            try:
                step = next(work) if outputs is None else work.send(outputs)
            except StopIteration:
                break
            outputs = _answered(task, step, parameters) if step.tensors else {}
    for fd in files.values():
        os.lseek(fd, 0, os.SEEK_SET)
        os.ftruncate(fd, 0)


def _shape(contract: Contract) -> Shape:
    return Shape(contract.sample_rate_hz, contract.channels)


def _read(fd: int) -> bytes:
    with os.fdopen(fd, "rb", buffering=0) as file:
        pieces = []
        while piece := file.read(_READ_BYTES):
            pieces.append(piece)
    return b"".join(pieces)


if __name__ == "__main__":
    serve(start)
