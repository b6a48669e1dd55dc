"""What both kinds of model worker do: warm up, and answer the operation `predict`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.errors import BadModel, UnusableInput
from server.inference.child import Handler, to_array, to_part
from server.inference.frames import Message

Predict = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
Inputs = Mapping[str, tuple[tuple[int | None, ...], str]]

_OPEN_SIZES = (256, 1024, 22_050)
_REASON_CHARS = 400
_MAX_OUTPUT_BYTES = 64 << 20  # of a run; as JSON they take five times as much


def handler(predict: Predict) -> Handler:
    """Return the operation `predict` of a worker: a part for every input, one for every output."""

    def run(message: Message) -> Message:
        tensors = {part.name: to_array(part) for part in message.parts}
        try:
            outputs = predict(tensors)
        # a boundary: a model's own graph may fail on an input in any way
        except Exception as error:
            said = " ".join(str(error).split())[:_REASON_CHARS] or type(error).__name__
            raise UnusableInput(f"the model cannot be run on this input: {said}") from error
        answer_bytes = sum(value.nbytes for value in outputs.values())
        if answer_bytes > _MAX_OUTPUT_BYTES:
            raise UnusableInput(
                f"the model's answer to this input has {answer_bytes} bytes; "
                f"at most {_MAX_OUTPUT_BYTES} are sent"
            )
        return Message({}, [to_part(name, value) for name, value in outputs.items()])

    return run


def warm_up(predict: Predict, inputs: Inputs, *, batches: Sequence[int], runs: int) -> None:
    """Run a model on zeros until runs cost what they will.

    Parameters
    ----------
    predict : callable
        The engine.
    inputs : mapping of str to (shape, dtype)
        What it takes; the batch axis first, None where an axis is open.
    batches : sequence of int
        How many rows at a time.
    runs : int
        How many runs of each.

    Raises
    ------
    BadModel
        If it cannot be run on any size of its open axes.
    """
    is_open = any(None in shape[1:] for shape, _ in inputs.values())
    for size in _OPEN_SIZES if is_open else _OPEN_SIZES[:1]:
        try:
            for rows in batches:
                fed = {
                    name: _zeros(shape, dtype, rows, size)
                    for name, (shape, dtype) in inputs.items()
                }
                for _ in range(runs):
                    predict(fed)
        # a boundary, as above
        except Exception as error:
            failure = error
        else:
            return
    raise BadModel(f"the model cannot be run: {failure}") from failure


def _zeros(shape: tuple[int | None, ...], dtype: str, rows: int, open_size: int) -> NDArray[Any]:
    return np.zeros([rows, *(axis or open_size for axis in shape[1:])], dtype)
