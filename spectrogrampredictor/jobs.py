"""Work that outlives its request, step by step: see `calls`."""

import hashlib
import os
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from spectrogrampredictor.answers import Model
from spectrogrampredictor.calls import ModelName, once
from spectrogrampredictor.files import FileBody
from spectrogrampredictor.problem import Problem
from spectrogrampredictor.steps import Ask, Pause, Steps, Work
from spectrogrampredictor.uploads import BYTES

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
Told = Callable[[float], None]
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_PIECE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a job made.

    Attributes
    ----------
    name : str
        Of the file.
    path : str
        Where the server has it.
    sha256 : str
        In hexadecimal digits.
    bytes : int
        How long it is.
    media_type : str
        What it is.
    """

    name: str
    path: str
    sha256: str
    bytes: int
    media_type: str

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Artifact":
        """Take it from JSON."""
        name = PurePosixPath(urllib.parse.unquote(said["href"])).name
        return cls(name, said["href"], said["sha256"], said["bytes"], said["media_type"])


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the server tells it.

    Attributes
    ----------
    id : str
        Its name.
    task : str
        What it does.
    state : str
        ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``.
    progress : float
        0 to 1.
    model : str or None
        Digest of the model that answers; None: a baseline does.
    baseline : str or None
        The method that answers without a model.
    parameters : dict
        All of them.
    outputs : dict or None
        The result, when it is done.
    artifacts : tuple of Artifact
        The files, when it is done.
    problem : dict or None
        Why it has failed.
    """

    id: str
    task: str
    state: JobState
    progress: float
    model: str | None
    baseline: str | None
    parameters: dict[str, Any]
    outputs: dict[str, Any] | None
    artifacts: tuple[Artifact, ...]
    problem: dict[str, Any] | None

    @property
    def is_over(self) -> bool:
        """Whether it will not change any more."""
        return self.state not in ("queued", "running")

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Job":
        """Take it from JSON."""
        result = said.get("result") or {}
        return cls(
            said["id"],
            said["task"],
            said["state"],
            said["progress"],
            said.get("model"),
            said.get("baseline"),
            said["parameters"],
            result.get("outputs"),
            tuple(map(Artifact.of, result.get("artifacts", {}).values())),
            said.get("problem"),
        )


class JobFailed(Exception):
    """A job ended without a result.

    Parameters
    ----------
    job : Job
        With `problem` where it has failed.
    """

    def __init__(self, job: Job) -> None:
        problem = job.problem or {}
        said = problem.get("detail") or problem.get("title") or f"the job was {job.state}"
        super().__init__(f"{said} (job {job.id})")
        self.job = job


def tasks() -> Steps[list[dict[str, Any]]]:
    """List what can be done, with parameters and files."""
    answer = yield Ask("GET", "/v1/tasks")
    found: list[dict[str, Any]] = answer.json()["tasks"]
    return found


def submit(
    task: str,
    sound: str | os.PathLike[str],
    *,
    model: ModelName | None,
    parameters: Mapping[str, Any],
    priority: int,
) -> Steps[Job]:
    """Hand in a job; one that was handed in before is told instead."""
    file: FileBody = yield Work(lambda: FileBody.of(sound))
    query = {"task": task, **{name: str(value) for name, value in parameters.items()}}
    if model is not None:
        query["model"] = model.digest if isinstance(model, Model) else model
    if priority:
        query["priority"] = str(priority)
    answer = yield Ask(
        "POST", "/v1/jobs", query=query, body=file, headers={"Content-Type": BYTES, **once()}
    )
    return Job.of(answer.json())


def one(job: str) -> Steps[Job]:
    """Look a job up."""
    answer = yield Ask("GET", _path(job))
    return Job.of(answer.json())


def page(*, state: str | None, after: str | None) -> Steps[tuple[list[Job], str | None]]:
    """Look through one's jobs."""
    query = {"state": state, "after": after}
    given = {name: value for name, value in query.items() if value is not None}
    said = (yield Ask("GET", "/v1/jobs", query=given)).json()
    return [Job.of(entry) for entry in said["jobs"]], said["next"]


def wait(job: Job, wait_s: float, progress: Told | None) -> Steps[Job]:
    """Wait until a job is over."""
    pause_s, waited_s = _FIRST_PAUSE_S, 0.0
    while True:
        if progress is not None:
            progress(job.progress)
        if job.is_over:
            return job
        if waited_s >= wait_s:
            raise TimeoutError(f"the job is still {job.state} after {waited_s:.0f} s")
        yield Pause(pause_s)
        waited_s += pause_s
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        job = yield from one(job.id)


def finish(job: Job, wait_s: float, progress: Told | None) -> Steps[Job]:
    """Wait until a job is done; raise where it is not."""
    over = yield from wait(job, wait_s, progress)
    if over.state != "done":
        raise JobFailed(over)
    return over


def cancel(job: str) -> Steps[None]:
    """End a job; forget one that is over."""
    yield Ask("DELETE", _path(job))


def save(job: Job, folder: str | os.PathLike[str]) -> Steps[list[Path]]:
    """Fetch the files of a job, piece by piece, each under its name when it is whole."""
    target = Path(folder)
    yield Work(lambda: target.mkdir(parents=True, exist_ok=True))
    saved = []
    for artifact in job.artifacts:
        saved.append((yield from _fetch(artifact, target / artifact.name)))
    return saved


def _fetch(artifact: Artifact, path: Path) -> Steps[Path]:
    part = path.with_name(f"{path.name}.part")
    hashed = hashlib.sha256()
    yield Work(lambda: part.write_bytes(b""))
    for start in range(0, artifact.bytes, _PIECE_BYTES):
        stop = min(start + _PIECE_BYTES, artifact.bytes)
        answer = yield Ask("GET", artifact.path, headers={"Range": f"bytes={start}-{stop - 1}"})
        piece = answer.content
        hashed.update(piece)
        yield Work(partial(_append, part, piece))
    if hashed.hexdigest() != artifact.sha256:
        raise Problem(
            502, "", "What came is not the file", f"{artifact.name} was altered on its way"
        )
    yield Work(lambda: part.replace(path))
    return path


def _append(path: Path, piece: bytes) -> None:
    with path.open("ab") as file:
        file.write(piece)


def _path(job: str) -> str:
    return f"/v1/jobs/{urllib.parse.quote(job, safe='')}"
