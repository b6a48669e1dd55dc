"""Emotion: what a voice sounds like, as the mean over windows of three seconds.

::

    speech --every 1.5 s--> 3 s --log-mel-94x64@1--> model or baseline --mean--> probabilities

A model says in its manifest what its numbers mean; without labels they are the eight of RAVDESS.
"""

from collections.abc import Generator, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.audio.log_mel import BANDS, FRAMES, SAMPLE_RATE_HZ, WINDOW, log_mel
from server.audio.spectrum import too_short
from server.audio.stretches import Stretches
from server.errors import BadModel
from server.tasks.arousal import LABELS, arousal_baseline
from server.tasks.binding import bind_form
from server.tasks.contract import Contract, Form, Parameter, Signature, TensorSpec, Window
from server.tasks.task import Assignment, Step, Task, Tensors

MIN_SECONDS = 0.3
_HOP = WINDOW // 2
_WINDOWS_AT_ONCE = 8
_UNSTATED = 600 * SAMPLE_RATE_HZ  # what progress is measured against where a header says nothing
_LISTED = 4096  # windows in the result

CONTRACT = Contract(
    name="emotion",
    sample_rate_hz=SAMPLE_RATE_HZ,
    min_seconds=MIN_SECONDS,
    frontends=(),
    summary="What a voice sounds like, as the mean over windows of three seconds.",
    answers="job",
    forms=(
        Form(
            name="log-mel",
            inputs=(TensorSpec("log_mel", (None, FRAMES, BANDS, 1), "float32"),),
            outputs=(TensorSpec("probabilities", (None, None), "float32"),),
            window=Window(WINDOW, _HOP, "mean"),
        ),
    ),
    parameters=(
        Parameter(
            "detail",
            "`mean`: of the whole sound; `windows`: of every window beside it.",
            "choice",
            "mean",
            choices=("mean", "windows"),
        ),
    ),
    baseline="arousal-baseline",
)


def bind(signature: Signature, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Say which tensor of a model is which, and what its numbers mean.

    Raises
    ------
    BadModel
        If it fits no form, or has not as many numbers as labels.
    """
    bound = bind_form(CONTRACT, signature, manifest)
    labels = list(manifest.get("labels", LABELS))
    output = bound["outputs"][0]
    if output["shape"][1] not in (None, len(labels)):
        raise BadModel(
            f"output {output['tensor']!r} has {output['shape'][1]} numbers a window and there are "
            f"{len(labels)} labels: a model with other labels names them in a manifest"
        )
    return {**bound, "labels": labels}


def work(job: Assignment) -> Generator[Step, Tensors, dict[str, Any]]:
    """Tell what a voice sounds like.

    Raises
    ------
    SoundTooShort
        Below 0.3 s.
    BadModel
        If the model answers anything but a row of finite numbers, one for each label.
    """
    labels = job.binding.get("labels", list(LABELS))
    stretches = Stretches(WINDOW, _HOP)
    expected = job.sound.expected_samples or _UNSTATED
    total, count = np.zeros(len(labels)), 0
    listed: list[list[float]] = []
    for windows in _windows(job, stretches):
        done = min(0.99, stretches.samples / expected)
        outputs = yield Step(done, {"log_mel": log_mel(windows)})
        rows = _checked(outputs["probabilities"], len(windows), len(labels))
        total += rows.sum(axis=0)
        count += len(rows)
        listed += rows[: max(0, _LISTED - len(listed))].tolist()
    if stretches.samples < MIN_SECONDS * SAMPLE_RATE_HZ:
        least = round(MIN_SECONDS * SAMPLE_RATE_HZ)
        raise too_short(stretches.samples, least, what="the task", rate_hz=SAMPLE_RATE_HZ)
    return _told(job, labels, total / count, count, listed)


def _windows(job: Assignment, stretches: Stretches) -> Iterator[NDArray[np.float32]]:
    for block in job.sound.blocks():
        yield from _portions(stretches.feed(block))
    yield from _portions(stretches.finish())


def _portions(windows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for first in range(0, len(windows), _WINDOWS_AT_ONCE):
        yield windows[first : first + _WINDOWS_AT_ONCE]


def _checked(rows: NDArray[np.float32], windows: int, labels: int) -> NDArray[np.float64]:
    if rows.shape != (windows, labels) or not np.isfinite(rows).all():
        raise BadModel("the model answered no row of finite numbers for a window")
    return rows.astype(np.float64)


def _told(
    job: Assignment,
    labels: list[str],
    mean: NDArray[np.float64],
    count: int,
    listed: list[list[float]],
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "labels": labels,
        "probabilities": mean.tolist(),
        "best": labels[int(mean.argmax())],
        "windows": count,
    }
    if job.parameters["detail"] == "windows":
        told["each"] = [
            {"start_s": k * _HOP / SAMPLE_RATE_HZ, "probabilities": row}
            for k, row in enumerate(listed)
        ]
    return told


def baseline(tensors: Tensors, _parameters: Mapping[str, Any]) -> Tensors:
    """Judge by how lively a voice is; see `arousal_baseline`."""
    return {"probabilities": arousal_baseline(tensors["log_mel"])}


EMOTION = Task(CONTRACT, bind, work=work, baseline=baseline)
