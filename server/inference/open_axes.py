"""What callers choose where a model leaves axes open: the input is blamed for it, not the model.

::

    shapes that were answered before --------------------------> run; an end now is a crash
    not larger than the largest answer, and not deadly before -> run
    others: one at a time, none for a minute after an end -----> run

A process that ends on shapes that were never answered says nothing of the model: three calls of one
caller would otherwise disable it for everybody. What could be abused instead, an end with every
call, comes once a minute at most.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from server.errors import Overload, UnusableInput, WorkerFailed
from server.inference.frames import Part

_REMEMBERED = 1024

Shapes = tuple[tuple[int, ...], ...]


def has_open_axes(record: Mapping[str, Any]) -> bool:
    """Tell from a model's record whether its callers choose the length of an axis."""
    inputs = record.get("binding", {}).get("inputs", ())
    return any(None in item["shape"][1:] for item in inputs)


class TriedShapes:
    """The shapes that one model has answered, and when its process last ended on another.

    Parameters
    ----------
    careful_s : float
        How long larger shapes than were answered are refused after such an end.
    """

    def __init__(self, *, careful_s: float = 60.0) -> None:
        self._careful_s = careful_s
        self._answered: OrderedDict[Shapes, None] = OrderedDict()
        self._largest = 0  # numbers in the inputs of the largest call that was answered
        self._deadly: Shapes | None = None
        self._careful_until = -math.inf
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def trying(self, tensors: Sequence[Part]) -> AsyncIterator[None]:
        """Run the model on one row inside the block.

        Parameters
        ----------
        tensors : sequence of Part
            Every input of the model.

        Raises
        ------
        UnusableInput
            In place of `WorkerFailed`, where no row of these shapes was ever answered.
        Overload
            If the process ended on such a row a moment ago.
        """
        shapes = tuple(part.shape for part in tensors)
        if shapes in self._answered:
            self._answered.move_to_end(shapes)
            yield
            return
        size = sum(map(math.prod, shapes))
        async with AsyncExitStack() as stack:
            if size > self._largest or shapes == self._deadly:
                await stack.enter_async_context(self._turn)
                self._check()
            try:
                yield
            except WorkerFailed as error:
                self._deadly, self._careful_until = shapes, time.monotonic() + self._careful_s
                listed = ", ".join(str(list(shape[1:])) for shape in shapes)
                raise UnusableInput(
                    f"the model could not be run on tensors of the shape {listed}: {error.detail}"
                ) from error
        self._largest = max(self._largest, size)
        self._answered[shapes] = None
        if len(self._answered) > _REMEMBERED:
            self._answered.popitem(last=False)

    def _check(self) -> None:
        left_s = self._careful_until - time.monotonic()
        if left_s > 0:
            raise Overload(
                "the model's process has just ended on an input of a new shape; shapes that it "
                "answered before are taken",
                retry_after_s=math.ceil(left_s),
            )
