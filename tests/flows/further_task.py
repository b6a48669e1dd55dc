"""Loudness: how loud a sound is, second by second; a task that only a test adds."""

import os
from collections.abc import Generator, Mapping
from typing import Any

import numpy as np

from server.audio.stretches import Stretches
from server.tasks.binding import bind_form
from server.tasks.contract import Artifact, Contract, Form, Parameter, Signature, TensorSpec
from server.tasks.task import Assignment, Step, Task, Tensors

RATE = 22_050
CONTRACT = Contract(
    name="loudness",
    sample_rate_hz=RATE,
    min_seconds=0.1,
    frontends=(),
    summary="How loud a sound is, second by second.",
    answers="job",
    forms=(
        Form(
            "level",
            (TensorSpec("audio", (None, RATE), "float32"),),
            (TensorSpec("level", (None, 1), "float32"),),
        ),
    ),
    parameters=(Parameter("floor_db", "What silence is called.", "number", -90.0, -200, 0),),
    artifacts=(Artifact("levels", "One number a line.", ("txt",)),),
    baseline="rms-baseline",
)


def bind(signature: Signature, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Say which tensor is which."""
    return bind_form(CONTRACT, signature, manifest)


def work(job: Assignment) -> Generator[Step, Tensors, dict[str, Any]]:
    """Measure every second."""
    seconds, levels = Stretches(RATE, RATE), []
    for windows in (*map(seconds.feed, job.sound.blocks()), seconds.finish()):
        if len(windows):
            outputs = yield Step(0.5, {"audio": np.ascontiguousarray(windows)})
            levels += outputs["level"][:, 0].tolist()
    floor = job.parameters["floor_db"]
    told = [max(floor, 20 * float(np.log10(max(level, 1e-12)))) for level in levels]
    with os.fdopen(job.files["levels"], "w", closefd=False) as file:
        file.writelines(f"{level:.2f}\n" for level in told)
    return {"loudest_db": round(max(told), 2), "seconds": len(told)}


def baseline(tensors: Tensors, _parameters: Mapping[str, Any]) -> Tensors:
    """Return the root mean square."""
    power = np.square(tensors["audio"]).mean(axis=1, keepdims=True)
    return {"level": np.sqrt(power).astype(np.float32)}


LOUDNESS = Task(CONTRACT, bind, work=work, baseline=baseline)
