"""Do a task's work in the tests' own process, with a function in the model's place."""

import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from server.audio.decode import open_sound
from server.audio.source import Shape
from server.inference.parameters import file_names, parameters_of
from server.tasks.task import Assignment, Task, Tensors

Model = Callable[[Tensors], Tensors]


def wav(y: NDArray[Any], rate_hz: int, subtype: str = "FLOAT") -> bytes:
    """Write samples, shape (n,) or (n, channels), as a WAV file."""
    file = io.BytesIO()
    soundfile.write(file, y, rate_hz, format="WAV", subtype=subtype)
    return file.getvalue()


def do(
    task: Task,
    sound: bytes,
    folder: Path,
    *,
    model: Model | None = None,
    binding: Mapping[str, Any] | None = None,
    form: str | None = None,
    **given: Any,
) -> tuple[dict[str, Any], list[float]]:
    """Do a task; return its result and the progress that it told. Files go to `folder`."""
    assert task.work is not None
    contract = describe(task)
    parameters = parameters_of(contract, given)
    names = file_names(contract, parameters)
    files = {
        name: os.open(folder / file, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        for name, file in names.items()
    }
    source = open_sound(sound, shape=Shape(task.contract.sample_rate_hz, task.contract.channels))
    assignment = Assignment(
        source, form or task.contract.forms[0].name, binding or {}, parameters, files
    )
    told: list[float] = []
    outputs: Tensors | None = None
    work = task.work(assignment)
    try:
        while True:
            step = next(work) if outputs is None else work.send(outputs)
            told.append(step.progress)
            outputs = {}
            if step.tensors and model is not None:
                outputs = model(step.tensors)
            elif step.tensors:
                assert task.baseline is not None
                outputs = task.baseline(step.tensors, parameters)
    except StopIteration as ended:
        result: dict[str, Any] = ended.value
        return result, told
    finally:
        for fd in files.values():
            os.close(fd)


def describe(task: Task) -> dict[str, Any]:
    """Return a contract as the web process sees it."""
    described: dict[str, Any] = json.loads(json.dumps(asdict(task.contract)))
    return described


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Return noise of a tenth of full scale."""
    made = 0.1 * np.random.default_rng(seed).standard_normal(shape)
    return made.astype(np.float32)
