"""Refusals about jobs: branches of the tree in `server.errors`."""

from server.errors import ModelState, NotFound, ServerError


class JobNotFound(NotFound):
    """No such job, or it is over and forgotten, or somebody else's."""

    slug, title = "job-not-found", "There is no such job"


class ArtifactNotFound(NotFound):
    """The job makes no such file."""

    slug, title = "artifact-not-found", "The job has no such artifact"


class JobNotDone(ModelState):
    """The job has no result: it is not over yet, or did not come to one."""

    slug, title = "job-not-done", "The job has no result"


class RangeUnsatisfiable(ServerError):
    """None of the bytes that were asked for are there."""

    status, slug, title = 416, "range-not-satisfiable", "The range begins behind the end"
