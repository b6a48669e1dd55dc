"""What can be predicted, as the decoder children describe it: data, in the web process."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.errors import BadManifest
from server.repository.manifest import DEFAULT_TASK


@dataclass(frozen=True, slots=True)
class Contracts:
    """The tasks by name and the frontends by id.

    Attributes
    ----------
    tasks, frontends : mapping
        Their descriptions.
    """

    tasks: Mapping[str, Mapping[str, Any]]
    frontends: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, ready: Mapping[str, Any]) -> "Contracts":
        """Take what a decoder said when it had started."""
        return cls(ready["tasks"], {entry["id"]: entry for entry in ready["frontends"]})

    def task_of(self, frontend: str) -> str:
        """Return the first task that uses a frontend: its window is cut where no model is asked."""
        return next(name for name, task in self.tasks.items() if frontend in task["frontends"])

    def check(self, manifest: Mapping[str, Any]) -> None:
        """Hold a manifest against the tasks and frontends that there are.

        Raises
        ------
        BadManifest
            Naming what is unknown and what is known.
        """
        task = manifest.get("task", DEFAULT_TASK)
        if task not in self.tasks:
            raise BadManifest(f"unknown task {task!r}; there are {sorted(self.tasks)}")
        known = self.tasks[task]["frontends"]
        for tensor, declared in manifest.get("inputs", {}).items():
            if self.tasks[task]["takes"] == "tensors" and declared:
                raise BadManifest(
                    f"inputs.{tensor}: {sorted(declared)} is not for the task {task!r}: callers "
                    "bring the numbers as the model takes them"
                )
            name = declared.get("frontend")
            if name is not None and name not in known:
                raise BadManifest(
                    f"inputs.{tensor}.frontend: unknown frontend {name!r}; there are {known}"
                )
