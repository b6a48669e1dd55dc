"""What can be predicted: one file a task and their table; for child processes only."""

from server.tasks.emotion import EMOTION
from server.tasks.genre import GENRE
from server.tasks.midi import MIDI
from server.tasks.task import Task
from server.tasks.tensors import TENSORS

TASKS: dict[str, Task] = {task.contract.name: task for task in (GENRE, TENSORS, EMOTION, MIDI)}
