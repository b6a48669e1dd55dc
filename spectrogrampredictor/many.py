"""Several sounds at once: forms of them, and what came of each."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from spectrogrampredictor.answers import Prediction
from spectrogrampredictor.calls import (
    ModelName,
    Rows,
    Sound,
    Windows,
    content_of,
    path_of,
    predict,
    row_of,
)
from spectrogrampredictor.problem import BadModel, BadSound, Busy, Problem, ServerFault
from spectrogrampredictor.problems import BodyTooLarge
from spectrogrampredictor.replies import problem_in
from spectrogrampredictor.steps import Ask, Steps, Work

_MOST_SOUNDS = 64  # that the server takes in a form
_MOST_BYTES = 16 << 20
_OF_ONE = (BadSound, BadModel, Busy, ServerFault, BodyTooLarge)  # what a form tells of each sound


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of one of several sounds.

    Attributes
    ----------
    name : str
        Of its file; its number where it came as bytes.
    prediction : Prediction or None
        What the model says of it.
    problem : Problem or None
        Why there is no prediction.
    """

    name: str
    prediction: Prediction | None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class One:
    """A sound of a form.

    Attributes
    ----------
    name : str
        Of its file; its number where it came as bytes.
    sound : bytes, str or PathLike
        The file, or where it lies.
    csv : str, PathLike or None
        Its feature row as text, or the path of its file.
    """

    name: str
    sound: Sound
    csv: str | os.PathLike[str] | None


def forms(sounds: Iterable[Sound], csv: Rows = None) -> Iterator[list[One]]:
    """Lay out sounds in forms, each with its row; one that is large gets a form of its own.

    Raises
    ------
    OSError
        If a file is not there.
    ValueError
        If there are not as many rows as sounds.
    """
    form: list[One] = []
    size = 0
    pairs = zip(sounds, itertools.repeat(None)) if csv is None else zip(sounds, csv, strict=True)
    for number, (sound, row) in enumerate(pairs):
        is_bytes = isinstance(sound, bytes)
        more = len(sound) if isinstance(sound, bytes) else Path(sound).stat().st_size
        if form and (len(form) == _MOST_SOUNDS or size + more > _MOST_BYTES):
            yield form
            form, size = [], 0
        form.append(One(str(number) if is_bytes else str(sound), sound, row))
        size += more
    if form:
        yield form


def predict_form(
    model: ModelName,
    form: Sequence[One],
    *,
    features: bool,
    windows: Windows | None,
) -> Steps[list[Answered]]:
    """Ask a model about the sounds of a form; each fails alone."""
    if len(form) == 1:
        return [(yield from _alone(model, form[0], features=features, windows=windows))]
    written: httpx.Request = yield Work(lambda: _written(form))
    query = {"features": "1"} if features else {}
    answer = yield Ask(
        *("POST", f"{path_of(model)}/predictions"),
        query=query if windows is None else query | {"windows": windows},
        body=written.content,
        headers={"Content-Type": written.headers["Content-Type"], "Accept": "application/json"},
    )
    found: list[Answered] = []
    entries: list[Mapping[str, Any]] = answer.json()["predictions"]
    for one, said in zip(form, entries, strict=True):
        if "problem" not in said:
            answered = Answered(one.name, Prediction.of(said, receipt=None, body=answer.content))
        elif isinstance(problem := problem_in(said["problem"]), Busy):
            answered = yield from _alone(model, one, features=features, windows=windows)
        else:
            answered = Answered(one.name, None, problem)
        found.append(answered)
    return found


def _alone(
    model: ModelName, one: One, *, features: bool, windows: Windows | None
) -> Steps[Answered]:
    """Ask about a sound by itself, which is asked again where the server is busy."""
    try:
        found = yield from predict(
            *(model, one.sound),
            csv=one.csv,
            ext=None,
            features=features,
            receipt=False,
            windows=windows,
        )
    except _OF_ONE as problem:
        return Answered(one.name, None, problem)
    return Answered(one.name, found)


def _written(form: Sequence[One]) -> httpx.Request:
    """Read the files of a form and write it, each row behind its sound."""
    parts: list[tuple[str, tuple[str, bytes]]] = []
    for one in form:
        parts.append(("sound", (one.name, content_of(one.sound))))
        if one.csv is not None:
            parts.append(("csv", ("row.csv", row_of(one.csv).encode())))
    request = httpx.Request("POST", "https://form", files=parts)
    request.read()
    return request
