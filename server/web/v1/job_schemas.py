"""What requests and answers about jobs and tasks hold."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from server.jobs.job import Job, Kept, State
from server.web.v1.schemas import Digits, Instant, instant, instant_or_none

_TYPES = {
    "json": "application/json",
    "mid": "audio/midi",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "png": "image/png",
    "txt": "text/plain; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
}
JobState = Literal["queued", "running", "done", "failed", "cancelled"]


class JobArtifact(Struct, kw_only=True):
    """A file that a job has made."""

    href: str
    sha256: Digits
    media_type: str
    bytes: int


class JobResult(Struct, kw_only=True):
    """What a job has come to."""

    task: str
    model: Annotated[Digits, Meta(description="The model that answered.")] | UnsetType = UNSET
    baseline: (
        Annotated[str, Meta(description="What answered without a model, for demonstration.")]
        | UnsetType
    ) = UNSET
    outputs: dict[str, Any]
    artifacts: dict[str, JobArtifact]


class JobSound(Struct, kw_only=True):
    """The sound of a job."""

    sha256: Digits
    bytes: int


class JobInfo(Struct, kw_only=True):
    """A job."""

    id: str
    state: JobState
    task: str
    model: Digits | None
    baseline: str | None
    parameters: dict[str, Any]
    sound: JobSound
    priority: int
    attempts: int
    progress: Annotated[float, Meta(ge=0, le=1)]
    created: Instant
    started: Instant | None
    ended: Instant | None
    expires: Instant | None
    problem: Annotated[
        dict[str, Any] | None,
        Meta(description="Why it failed: a problem (RFC 9457), which is no request's `instance`."),
    ]
    result: JobResult | None


class JobPage(Struct, kw_only=True):
    """Some jobs, the latest first; their results are left out."""

    jobs: list[JobInfo]
    next: Annotated[str | None, Meta(description="Where the next page begins, as `after`.")]


class TaskParameter(Struct, kw_only=True):
    """What the caller of a job may choose."""

    name: str
    summary: str
    kind: Literal["number", "integer", "choice"]
    default: float | int | str
    least: float | None
    most: float | None
    choices: list[str]


class TaskArtifact(Struct, kw_only=True):
    """A file that a job makes."""

    name: str
    summary: str
    formats: list[str]


class TaskInfo(Struct, kw_only=True):
    """What can be asked for."""

    name: str
    summary: str
    version: int
    answers: Annotated[
        Literal["prediction", "job"], Meta(description="Whether a request waits for it.")
    ]
    takes: Literal["sound", "tensors"]
    baseline: Annotated[str | None, Meta(description="What answers where no model is named.")]
    sample_rate_hz: int
    channels: int
    min_seconds: float
    frontends: list[str]
    parameters: list[TaskParameter]
    artifacts: list[TaskArtifact]
    forms: Annotated[list[dict[str, Any]], Meta(description="What its models look like.")]


class TaskList(Struct, kw_only=True):
    """Every task."""

    tasks: list[TaskInfo]


def told(job: Job) -> JobInfo:
    """Say what is known of a job."""
    asked = job.asked
    return JobInfo(
        id=job.id,
        state=job.state.value,
        task=asked.task,
        model=None if asked.model is None else asked.model.hex,
        baseline=asked.baseline or None,
        parameters=dict(asked.parameters),
        sound=JobSound(sha256=asked.sound.hex, bytes=asked.sound_bytes),
        priority=job.priority,
        attempts=job.attempts,
        progress=job.progress,
        created=instant(job.created_at),
        started=instant_or_none(job.started_at),
        ended=instant_or_none(job.ended_at),
        expires=instant_or_none(job.until),
        problem=job.problem,
        result=_result(job),
    )


def _result(job: Job) -> JobResult | None:
    if job.state is not State.DONE or job.result is None:
        return None
    asked = job.asked
    by_file = {kept.name: kept for kept in job.artifacts}
    return JobResult(
        task=asked.task,
        model=UNSET if asked.model is None else asked.model.hex,
        baseline=asked.baseline or UNSET,
        outputs=job.result,
        artifacts={name: _artifact(job, by_file[file]) for name, file in asked.files.items()},
    )


def _artifact(job: Job, kept: Kept) -> JobArtifact:
    return JobArtifact(
        href=f"/v1/jobs/{job.id}/artifacts/{kept.name}",
        sha256=kept.digest.hex,
        media_type=media_type(kept.name),
        bytes=kept.size,
    )


def media_type(name: str) -> str:
    """Return what a file is, by its name."""
    return _TYPES.get(name.rpartition(".")[2], "application/octet-stream")
