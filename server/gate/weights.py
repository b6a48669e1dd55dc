"""Hold the weights that a configuration asks for against those that a file stores."""

from collections import Counter
from collections.abc import Iterable

from server.gate.config.tree import Shape
from server.gate.hdf5.outline import Dataset
from server.gate.refusals import refused

_STATE = 2  # counters and seeds, which layers keep beside their weights


def compare(
    weights: Iterable[Shape], stored: Iterable[Dataset], *, twice: Iterable[Shape] = ()
) -> None:
    """Refuse a file whose arrays are not those that its model needs.

    Parameters
    ----------
    weights : iterable of Shape
        What the layers keep.
    stored : iterable of Dataset
        What the file holds for them.
    twice : iterable of Shape
        What a format stores once more.
    """
    arrays = list(stored)
    wanted, held = Counter(weights), Counter(array.shape for array in arrays)
    if missing := sorted(wanted - held):
        raise refused(
            "weights-differ", f"the model needs an array of the shape {missing[0]}, which is absent"
        )
    spare = held - wanted
    state = Counter(
        array.shape for array in arrays if not array.is_float and sum(array.shape) <= _STATE
    )
    if extra := sorted(spare - state - Counter(twice)):
        raise refused(
            "weights-differ", f"an array of the shape {extra[0]} is stored, which no layer has"
        )
