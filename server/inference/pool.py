"""Child processes of one kind behind one queue.

::

    call --> bounded queue --> lane 1: child, one call at a time
                          `--> lane 2: child, ...

A lane starts its child, gives it the next call or two, and starts another when the child dies or
has served long enough. A caller that goes away before its turn is skipped; a call that has begun is
finished, because the child cannot be interrupted, and its answer is dropped.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from server.errors import Overload, ServerError, WorkerFailed
from server.inference.call_queue import Answer, Asked, Calls, settle
from server.inference.child_kind import ChildKind
from server.inference.frames import BatchMessage, Message
from server.inference.memory import process_bytes
from server.inference.process import Child
from server.shielding import whole

_log = logging.getLogger(__name__)
_RESTART_PAUSE_S = 1.0
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class ChildPool:
    """A number of children of one kind.

    Parameters
    ----------
    kind : ChildKind
        What they are.
    size : int
        How many.
    max_queue : int
        Calls that may wait; more are refused.
    spawn : callable
        Starts a task in the task group of the application.
    on_waste : callable or None
        Called when the one child was ended because it computed while nobody asked: no other is
        started, and the pool has failed. None: another is.
    """

    def __init__(
        self,
        kind: ChildKind,
        *,
        size: int,
        max_queue: int,
        spawn: Spawn,
        on_waste: Callable[[], object] | None = None,
    ) -> None:
        self._kind = kind
        self._on_waste = on_waste
        self._queue = Calls(max_queue)
        self._ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._alive: set[Child] = set()
        self._busy = 0
        self._failure: ServerError | None = None  # why no child will ever answer again
        self._is_lost = False
        self._lanes = [spawn(self._lane()) for _ in range(size)]

    async def ready(self) -> dict[str, Any]:
        """Wait for the first child and return what it said when it had started.

        Raises
        ------
        ServerError
            What the first child found instead, or why no child will start again.
        """
        if self._failure is not None:
            raise self._failure
        return await asyncio.shield(self._ready)

    @property
    def in_flight(self) -> int:
        """How many calls a child is given at once."""
        return self._kind.in_flight

    @property
    def has_failed(self) -> bool:
        """Whether no child will ever answer again."""
        return self._failure is not None

    @property
    def is_lost(self) -> bool:
        """Whether the last child has failed, and no other has started since."""
        return self._is_lost and not self._alive and self._failure is None

    @property
    def busy(self) -> int:
        """How many calls are being answered."""
        return self._busy

    @property
    def alive(self) -> int:
        """How many children run."""
        return len(self._alive)

    @property
    def waiting(self) -> int:
        """How many calls wait for a child."""
        return len(self._queue)

    async def memory_bytes(self) -> int:
        """Measure what the children take together, in bytes."""
        pids = [child.pid for child in self._alive]
        return await asyncio.to_thread(lambda: sum(map(process_bytes, pids)))

    async def call(self, message: Message | BatchMessage, *, first: bool = False) -> Message:
        """Have the next free child answer a message.

        With `first` it comes before all that wait: work that is nearly done should be done.

        Raises
        ------
        Overload
            If too many calls wait, or the pool was closed.
        ServerError
            What the child found in the input, or `WorkerFailed`.
        """
        if self._failure is not None:
            raise self._failure
        answer: Answer = asyncio.get_running_loop().create_future()
        self._queue.put((message, answer), first=first)
        try:
            return await answer
        except asyncio.CancelledError:
            self._queue.forget(answer)  # nobody waits for it, so it takes nobody's place
            raise

    @whole
    async def close(self) -> None:
        """End every child and refuse what still waits."""
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)
        self._fail(Overload("the process was stopped"))

    async def _lane(self) -> None:
        failed_starts = 0
        while await self._is_startable():
            try:
                child = await Child.start(
                    self._kind.module,
                    self._kind.config,
                    timeout_s=self._kind.start_timeout_s,
                    nice=self._kind.nice,
                    rights=self._kind.rights,
                )
            except ServerError as error:
                if not self._ready.done() and not self._kind.keeps_trying:
                    self._fail(error)
                    return
                failed_starts += 1
                if not self._alive and failed_starts > 1:  # one may have been bad luck
                    self._queue.refuse(error)
                await asyncio.sleep(_RESTART_PAUSE_S)
                continue
            self._alive.add(child)
            failed_starts, self._is_lost = 0, False
            try:
                if not self._ready.done():
                    self._ready.set_result(child.ready)
                await self._serve(child)
            finally:
                self._alive.discard(child)
                await child.end()
            if child.cause == "cpu" and self._on_waste is not None:
                self._fail(WorkerFailed(child.failure))
                self._on_waste()
                return

    async def _is_startable(self) -> bool:
        if self._kind.check is None:
            return True
        try:
            await self._kind.check()
        except ServerError as error:
            self._fail(error)
            return False
        return True

    def _fail(self, error: ServerError) -> None:
        """Tell everybody who waits, or will ask, that no child will answer."""
        self._failure = error
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # somebody may never ask
        self._queue.refuse(error)

    async def _serve(self, child: Child) -> None:
        """Give calls to a child until it is spent or has failed."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        died = asyncio.ensure_future(child.wait())
        died.add_done_callback(lambda _: _end(over))
        turns = iter(range(self._kind.max_calls))
        try:
            hands = (self._hand(child, over, turns) for _ in range(self._kind.in_flight))
            if any(await asyncio.gather(*hands)):
                self._lose(child)
            elif died.done():
                self._lose(child)
                await child.end()  # which tells of it, before the pause
                await asyncio.sleep(_RESTART_PAUSE_S)
        finally:
            died.cancel()

    def _lose(self, child: Child) -> None:
        """Count a child no longer, at once: what looks for it must not wait for the next."""
        self._alive.discard(child)
        self._is_lost = True

    async def _hand(self, child: Child, over: asyncio.Future[None], turns: Iterator[int]) -> bool:
        """Give one call after the other to a child; True when it failed in one of them."""
        for _ in turns:
            job = await self._queue.next(over)
            if job is None:
                return False
            if child.has_hung_up:
                self._lose(child)
                _end(over)
                self._hand_over(job)
                return False
            if (failure := await self._give(child, *job)) is not None:
                _end(over)  # before anybody hears of it: the next call is for the next child
                settle(job[1], failure)
                await child.end()  # what else it was given fails now
                return True
        return False

    def _hand_over(self, job: Asked) -> None:
        """Leave a call to the next child: this one died before it was asked."""
        try:
            self._queue.put(job)
        except Overload:
            settle(job[1], WorkerFailed("the process ended before it was asked"))

    async def _give(
        self, child: Child, message: Message | BatchMessage, answer: Answer
    ) -> WorkerFailed | None:
        """Have a child answer a call; say why when it can answer no more."""
        self._busy += 1
        try:
            result = await child.call(message, timeout_s=self._kind.call_timeout_s)
        except WorkerFailed as error:
            return error
        except ServerError as error:
            settle(answer, error)
        except asyncio.CancelledError:
            settle(answer, self._failure or Overload("the process was stopped"))
            raise
        except Exception:  # a boundary: nobody may wait for an answer that never comes
            _log.exception("child could not be called", extra={"child": self._kind.module})
            child.failure = "the call could not be made"
            return WorkerFailed(child.failure)
        else:
            if not answer.done():
                answer.set_result(result)
        finally:
            self._busy -= 1
        return None


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
