"""What a task answers to a sound."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.errors import WorkerFailed
from server.inference.preparation import Source


@dataclass(frozen=True, slots=True)
class Prediction:
    """A task's answer to a sound, checked: children may be hostile.

    Attributes
    ----------
    array : list of list of float
        One row of finite numbers, one for each label.
    labels : list of str
        What the numbers mean.
    saturated : bool
        Whether the answer is one-hot, as of a model that was fed unscaled numbers.
    frontends : list of str
        What made the model's tensors.
    window : str
        Which part of the sound was used.
    features : str or None
        Where the feature row came from: ``client`` or ``derived``.
    row : mapping of str to float, or None
        The feature row by name, where it was asked for.
    windows : int or None
        How many windows the numbers are the mean of, where the mean was asked for.
    """

    array: list[list[float]]
    labels: list[str]
    saturated: bool
    frontends: list[str]
    window: str
    features: Source
    row: Mapping[str, float] | None = None
    windows: int | None = None


def checked_reply(reply: Any, binding: Mapping[str, Any]) -> tuple[list[list[float]], bool]:
    """Take over a decoder's reply; it may be hostile.

    Returns
    -------
    tuple
        The row of numbers, and whether it is one-hot.

    Raises
    ------
    WorkerFailed
        If it is no reply.
    """
    try:
        (row,) = reply["array"]
        numbers = [float(value) for value in row]
        saturated = bool(reply["saturated"])
    except (KeyError, TypeError, ValueError) as error:
        raise WorkerFailed("the process answered nonsense") from error
    if len(numbers) != len(binding["labels"]) or not all(map(math.isfinite, numbers)):
        raise WorkerFailed("the process answered nonsense")
    return [numbers], saturated
