"""One batcher for each loaded model: the rows that wait while a batch runs form the next one.

::

    row --> waiting, by shape --worker is idle--> batch of at most `max_batch` --> worker
                 ^                                                   |
                 `--- every row alone, when a batch of several failed `--> outputs, row by row

Nothing ever waits for company: an idle worker takes a row at once. While it runs a batch it is
given the next one as soon as that is full, so that it need not wait between them.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.errors import Overload, ServerError, WorkerFailed
from server.inference.frames import (
    ITEM_BYTES,
    PREDICT,
    SPARING,
    Batch,
    BatchMessage,
    Message,
    Part,
)
from server.inference.pool import ChildPool, Spawn
from server.inference.statistics import ModelStatistics
from server.metrics import BATCH_ROWS

_MAX_RANK = 8


@dataclass(slots=True, eq=False)
class _Row:
    tensors: Sequence[Part]
    answer: asyncio.Future[list[Part]]
    came_ns: int = field(default_factory=time.monotonic_ns)
    alone: bool = False
    shapes: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.shapes = tuple((part.name, part.dtype, part.shape) for part in self.tensors)


class Batcher:
    """Runs rows through one model, several at a time.

    Parameters
    ----------
    pool : ChildPool
        The model's one worker.
    max_batch : int
        Most rows at a time.
    max_waiting : int
        Rows that may wait; more are refused.
    spawn : callable
        Starts a task in the task group of the application.
    are_cores_wanted : callable
        Whether other work would have the cores that a single row does not need.
    statistics : ModelStatistics
        Counts the batches and their rows.
    """

    def __init__(
        self,
        pool: ChildPool,
        *,
        max_batch: int,
        max_waiting: int,
        spawn: Spawn,
        are_cores_wanted: Callable[[], bool],
        statistics: ModelStatistics,
    ) -> None:
        self._statistics = statistics
        self._pool = pool
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._spawn = spawn
        self._are_cores_wanted = are_cores_wanted
        self._waiting: deque[_Row] = deque()
        self._running = 0  # batches that the worker has
        self._is_alone = False  # whether the last of them is a row that is run again

    @property
    def waiting(self) -> int:
        """How many rows wait for their batch."""
        return len(self._waiting)

    async def run(self, tensors: Sequence[Part]) -> list[Part]:
        """Run the model on one row.

        Parameters
        ----------
        tensors : sequence of Part
            Every input of the model, shape [1, ...].

        Returns
        -------
        list of Part
            Every output, shape [1, ...].

        Raises
        ------
        Overload
            If too many rows wait.
        ServerError
            What the model's worker found in this row, or `WorkerFailed`.
        """
        if len(self._waiting) >= self._max_waiting:
            raise Overload(f"{self._max_waiting} predictions wait for this model already")
        row = _Row(tensors, asyncio.get_running_loop().create_future())
        self._waiting.append(row)
        self._fill()
        try:
            return await row.answer
        except asyncio.CancelledError:
            # nobody waits for it, so it takes nobody's place
            # (asked first: the error of `remove` would write out the whole row)
            if row in self._waiting:
                self._waiting.remove(row)
            raise

    def _fill(self) -> None:
        """Give the worker what it may have."""
        while self._may_run() and (rows := self._next_batch()):
            self._running += 1
            self._is_alone = rows[0].alone
            self._spawn(self._run(rows, is_second=self._running > 1))

    def _may_run(self) -> bool:
        if not self._running:
            return True
        if self._is_alone or self._running == self._pool.in_flight:
            return False
        return len(self._waiting) >= self._max_batch and not self._waiting[0].alone

    async def _run(self, rows: list[_Row], *, is_second: bool) -> None:
        ended = False
        try:
            await self._run_batch(rows, is_second=is_second)
            ended = True
        finally:
            self._running -= 1
            if not ended:  # only a stop of the server ends this with rows left
                stopped = Overload("the process was stopped")
                for row in [*rows, *self._waiting]:
                    _settle(row, stopped)
                self._waiting.clear()
        self._fill()

    def _next_batch(self) -> list[_Row]:
        """Take the first row, and those of its shapes that can go with it; order is kept."""
        while self._waiting and self._waiting[0].answer.done():
            self._waiting.popleft()  # its caller went away
        if not self._waiting:
            return []
        first = self._waiting.popleft()
        batch, others = [first], deque[_Row]()
        room = 1 if first.alone else self._max_batch
        while self._waiting and len(batch) < room:
            row = self._waiting.popleft()
            if row.alone or row.shapes != first.shapes:
                others.append(row)
            elif not row.answer.done():
                batch.append(row)
        others.extend(self._waiting)
        self._waiting = others
        return batch

    async def _run_batch(self, rows: list[_Row], *, is_second: bool) -> None:
        began_ns = time.monotonic_ns()
        try:
            op = SPARING if self._are_cores_wanted() else PREDICT
            answer = await self._pool.call(_message(op, rows))
            outputs = _split(answer, len(rows))
        except ServerError as error:
            # whoever was given to the worker behind another may have failed with that one
            if isinstance(error, Overload) or (len(rows) == 1 and not is_second):
                for row in rows:
                    _settle(row, error)
                return
            # one of them is bad: each is run again by itself, so that it fails alone
            for row in rows:
                row.alone = True
            self._waiting.extendleft(reversed(rows))
            return
        self._count(rows, began_ns)
        for row, output in zip(rows, outputs, strict=True):
            if not row.answer.done():
                row.answer.set_result(output)

    def _count(self, rows: list[_Row], began_ns: int) -> None:
        took_ns = time.monotonic_ns() - began_ns
        for row in rows:
            self._statistics.queue.add(began_ns - row.came_ns)
        self._statistics.infer.add(took_ns * len(rows), len(rows))
        self._statistics.batches[len(rows)].add(took_ns)
        BATCH_ROWS.observe(len(rows))


def _message(op: str, rows: list[_Row]) -> BatchMessage:
    batches = [
        Batch(
            part.name,
            [row.tensors[k].data for row in rows],
            str(part.dtype),
            (len(rows), *part.shape[1:]),
        )
        for k, part in enumerate(rows[0].tensors)
    ]
    return BatchMessage({"op": op}, batches)


def _split(answer: Message, count: int) -> list[list[Part]]:
    """Cut the outputs of a batch into rows; a hostile worker may have sent anything."""
    rows: list[list[Part]] = [[] for _ in range(count)]
    names = {part.name for part in answer.parts}
    if not names or len(names) != len(answer.parts):
        raise WorkerFailed("the process answered nonsense")
    for part in answer.parts:
        shape = part.shape
        if part.dtype != "float32" or not 0 < len(shape) <= _MAX_RANK or shape[0] != count:
            raise WorkerFailed("the process answered nonsense")
        size = math.prod(shape[1:]) * ITEM_BYTES[part.dtype]
        view = memoryview(part.data)
        for k, row in enumerate(rows):
            data = view[k * size : (k + 1) * size]
            row.append(Part(part.name, data, part.dtype, (1, *shape[1:])))
    return rows


def _settle(row: _Row, error: ServerError) -> None:
    if not row.answer.done():
        row.answer.set_exception(error)
        row.answer.exception()  # its caller may be gone
