"""Child processes of one kind behind one queue.

::

    call --> bounded queue --> lane 1: child, one call at a time
                          `--> lane 2: child, ...

A lane starts its child, gives it the next call, and starts another when the child dies or has
served long enough. A caller that goes away before its turn is skipped; a call that has begun is
finished, because the child cannot be interrupted, and its answer is dropped.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from server.errors import Overload, ServerError, WorkerFailed
from server.inference.frames import BatchMessage, Message
from server.inference.memory import process_bytes
from server.inference.process import Child

_log = logging.getLogger(__name__)
_RESTART_PAUSE_S = 1.0
_Job = tuple[Message | BatchMessage, asyncio.Future[Message]]
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class _Jobs(asyncio.Queue[_Job]):
    """Calls that wait for a child."""

    def _init(self, _maxsize: int) -> None:
        self._waiting: deque[_Job] = deque()
        self._queue = self._waiting  # what the other methods of `asyncio.Queue` look at

    def bring_forward(self) -> None:
        """Let the call that came last be the next."""
        self._waiting.rotate(1)

    def forget(self, answer: asyncio.Future[Message]) -> None:
        """Take out the call whose caller is gone, if it still waits."""
        for k, job in enumerate(self._waiting):
            if job[1] is answer:
                del self._waiting[k]
                return


@dataclass(frozen=True, slots=True)
class ChildKind:
    """What a pool's children are.

    Attributes
    ----------
    module : str
        Started by `python -m`.
    config : dict
        Sent to each child first.
    start_timeout_s, call_timeout_s : float
        Longest start and longest call, in seconds.
    nice : int
        How much lower than the web process's their priority is.
    max_calls : int
        Calls after which a child is replaced, so that a library's leak stays small.
    keeps_trying : bool
        Whether a first child that does not start is tried again; else the pool fails.
    check : callable or None
        Awaited before every start; what it raises fails the pool.
    """

    module: str
    config: dict[str, Any]
    start_timeout_s: float
    call_timeout_s: float
    nice: int = 5
    max_calls: int = 2000
    keeps_trying: bool = False
    check: Callable[[], Awaitable[None]] | None = None


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
    """

    def __init__(
        self,
        kind: ChildKind,
        *,
        size: int,
        max_queue: int,
        spawn: Spawn,
    ) -> None:
        self._kind = kind
        self._queue = _Jobs(max_queue)
        self._ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._alive: set[Child] = set()
        self._failure: ServerError | None = None  # why no child will ever answer again
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
    def has_failed(self) -> bool:
        """Whether no child will ever answer again."""
        return self._failure is not None

    @property
    def alive(self) -> int:
        """How many children run."""
        return len(self._alive)

    @property
    def waiting(self) -> int:
        """How many calls wait for a child."""
        return self._queue.qsize()

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
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((message, answer))
        except asyncio.QueueFull:
            raise Overload(f"{self._queue.maxsize} calls wait already") from None
        if first:
            self._queue.bring_forward()
        try:
            return await answer
        except asyncio.CancelledError:
            self._queue.forget(answer)  # nobody waits for it, so it takes nobody's place
            raise

    async def close(self) -> None:
        """End every child and refuse what still waits."""
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)
        self._fail(Overload("the process was stopped"))

    async def _lane(self) -> None:
        while await self._is_startable():
            try:
                child = await Child.start(
                    self._kind.module,
                    self._kind.config,
                    timeout_s=self._kind.start_timeout_s,
                    nice=self._kind.nice,
                )
            except ServerError as error:
                if not self._ready.done() and not self._kind.keeps_trying:
                    self._fail(error)
                    return
                if not self._alive:
                    self._refuse_waiting(error)
                await asyncio.sleep(_RESTART_PAUSE_S)
                continue
            self._alive.add(child)
            failed = False
            try:
                if not self._ready.done():
                    self._ready.set_result(child.ready)
                failed = await self._serve(child)
            finally:
                self._alive.discard(child)
                await child.end()
            if failed:
                child.log_last_words(self._kind.module)

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
        self._refuse_waiting(error)

    def _refuse_waiting(self, error: ServerError) -> None:
        while not self._queue.empty():
            _settle(self._queue.get_nowait()[1], error)

    def _fields(self, reason: str) -> dict[str, str]:
        return {"child": self._kind.module, "reason": reason}

    async def _serve(self, child: Child) -> bool:
        """Give calls to a child until it is spent; True when it failed before."""
        died = asyncio.ensure_future(child.wait())
        try:
            for _ in range(self._kind.max_calls):
                job = await self._next(died)
                if job is None:
                    _log.error("child failed", extra=self._fields("it died while idle"))
                    await asyncio.sleep(_RESTART_PAUSE_S)
                    return True
                message, answer = job
                try:
                    result = await child.call(message, timeout_s=self._kind.call_timeout_s)
                except WorkerFailed as error:
                    _settle(answer, error)
                    _log.error("child failed", extra=self._fields(error.detail))
                    return True
                except ServerError as error:
                    _settle(answer, error)
                except asyncio.CancelledError:
                    _settle(answer, Overload("the process was stopped"))
                    raise
                except Exception:  # a boundary: nobody may wait for an answer that never comes
                    _settle(answer, WorkerFailed("the call could not be made"))
                    _log.exception("child could not be called", extra=self._fields("unforeseen"))
                    return True
                else:
                    if not answer.done():
                        answer.set_result(result)
            return False
        finally:
            died.cancel()

    async def _next(self, died: asyncio.Future[None]) -> _Job | None:
        """Wait for a call whose caller is still there; None when the child has died meanwhile."""
        while True:
            turn = asyncio.ensure_future(self._queue.get())
            try:
                either: set[asyncio.Future[Any]] = {turn, died}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                if not turn.cancel():  # a call had come in this very moment
                    _settle(turn.result()[1], Overload("the process was stopped"))
                raise
            if not turn.done():
                turn.cancel()
                return None
            if not turn.result()[1].done():
                return turn.result()


def _settle(answer: asyncio.Future[Message], error: ServerError) -> None:
    if not answer.done():
        answer.set_exception(error)
