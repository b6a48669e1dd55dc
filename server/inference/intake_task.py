"""The task that a manifest names; for child processes only."""

from collections.abc import Mapping
from typing import Any

from server.errors import BadModel
from server.repository.manifest import DEFAULT_TASK
from server.tasks.table import TASKS
from server.tasks.task import Task


def task_of(manifest: Mapping[str, Any]) -> Task:
    """Return the task that a model is for.

    Raises
    ------
    BadModel
        If there is none of that name.
    """
    name = manifest.get("task", DEFAULT_TASK)
    task = TASKS.get(name)
    if task is None:
        raise BadModel(f"unknown task {name!r}; there are {sorted(TASKS)}")
    return task
