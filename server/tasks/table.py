"""The tasks by name; for child processes only."""

from server.tasks.emotion import EMOTION
from server.tasks.genre import GENRE
from server.tasks.midi import MIDI
from server.tasks.separation import SEPARATION
from server.tasks.spec2spec import SPEC2SPEC
from server.tasks.task import Task
from server.tasks.tensors import TENSORS

TASKS: dict[str, Task] = {
    task.contract.name: task for task in (GENRE, TENSORS, EMOTION, MIDI, SEPARATION, SPEC2SPEC)
}
