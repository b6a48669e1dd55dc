"""The operations of jobs and tasks."""

from typing import Any

from server.errors import (
    AliasNotFound,
    BadModel,
    IdempotencyConflict,
    MalformedForm,
    ModelDisabled,
    ModelNotFound,
    ModelNotReady,
    ModelState,
    StorageFull,
    TooLarge,
    TooManyRequests,
    UnusableInput,
)
from server.job_errors import ArtifactNotFound, JobNotDone, JobNotFound, RangeUnsatisfiable
from server.repository.catalog import MAX_LISTED
from server.signing.principal import Scope
from server.web.v1.job_events import EVENTS
from server.web.v1.job_forms import SOUND
from server.web.v1.job_requests import MOST_PRIORITY
from server.web.v1.job_schemas import JobInfo, JobPage, TaskList
from server.web.v1.once import HEADER
from server.web.v1.operation import FILE, MODEL, WHOLE, Operation, Parameter

_JOB = "/v1/jobs/{name}"
_STATES = ["queued", "running", "done", "failed", "cancelled"]
_KEY: dict[str, Any] = {"type": "string", "pattern": "^[!-~]{1,255}$"}
_PRIORITY = {"type": "integer", "minimum": -MOST_PRIORITY, "maximum": MOST_PRIORITY}
_FORM: dict[str, Any] = {
    "type": "object",
    "description": "The fields may stand in the form, too.",
    "properties": {SOUND: {"type": "string", "contentMediaType": FILE}},
    "required": [SOUND],
    "additionalProperties": {"type": "string"},
}

JOB_OPERATIONS = (
    Operation(
        "GET", "/v1/tasks", "List what can be asked for.", Scope.READ, answers={200: TaskList}
    ),
    Operation(
        "POST",
        "/v1/jobs",
        "Have a sound worked on; parameters of the task stand beside `task`.",
        Scope.PREDICT,
        media=("audio/*", FILE),
        form=_FORM,
        answers={202: JobInfo, 200: JobInfo},
        problems=(
            *(ModelNotFound, AliasNotFound, ModelState, ModelDisabled, BadModel, ModelNotReady),
            *(UnusableInput, TooLarge, StorageFull, MalformedForm, IdempotencyConflict),
            TooManyRequests,
        ),
        parameters=(
            Parameter("task", "One of `GET /v1/tasks`; that of the model when left out."),
            Parameter("model", "A digest or name; without one the task's baseline answers.", MODEL),
            Parameter("ext", "The format of the sound."),
            Parameter("priority", "Greater ones first; above 0 for administrators.", _PRIORITY),
            Parameter(HEADER, "The same key within a day: the same job.", _KEY, place="header"),
            Parameter("Prefer", "`wait=30`: answer at the end, or then.", place="header"),
        ),
    ),
    Operation(
        "GET",
        "/v1/jobs",
        "List one's own jobs, the latest first.",
        Scope.READ,
        answers={200: JobPage},
        parameters=(
            Parameter("limit", "How many there are on a page.", WHOLE | {"maximum": MAX_LISTED}),
            Parameter("after", "Begin behind this job."),
            Parameter("state", "Only those.", {"type": "string", "enum": _STATES}),
        ),
    ),
    Operation(
        "GET",
        _JOB,
        "Show a job.",
        Scope.READ,
        answers={200: JobInfo},
        problems=(JobNotFound,),
    ),
    Operation(
        "DELETE",
        _JOB,
        "Cancel a job; forget one that has ended.",
        Scope.PREDICT,
        answers={200: JobInfo, 204: None},
        problems=(JobNotFound,),
    ),
    Operation(
        "GET",
        f"{_JOB}/events",
        "Tell what happens to a job, as server-sent events.",
        Scope.READ,
        answers={200: EVENTS},
        problems=(JobNotFound,),
        parameters=(Parameter("Last-Event-ID", "Begin behind this `id`.", WHOLE, place="header"),),
    ),
    Operation(
        "GET",
        f"{_JOB}/artifacts",
        "Send all files of a job in an archive.",
        Scope.READ,
        answers={200: "application/zip"},
        forms=("application/tar",),
        problems=(JobNotFound, JobNotDone),
        parameters=(
            Parameter("format", "Of the archive.", {"type": "string", "enum": ["zip", "tar"]}),
        ),
    ),
    Operation(
        "GET",
        f"{_JOB}/artifacts/{{file}}",
        "Send a file of a job, or a part of it.",
        Scope.READ,
        answers={200: FILE, 206: FILE, 304: None},
        problems=(JobNotFound, ArtifactNotFound, JobNotDone, RangeUnsatisfiable),
        parameters=(
            Parameter("Range", "`bytes=0-99`.", place="header"),
            Parameter("If-Range", "The `ETag` of which a part is wanted.", place="header"),
            Parameter("If-None-Match", "The `ETag` that is here already.", place="header"),
        ),
    ),
)
