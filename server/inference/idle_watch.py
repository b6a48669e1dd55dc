"""Ends a child process that computes while nobody has asked it anything.

::

    a call ends --some time for threads that spin--> idle: its processor time is counted
         ^                                              |
         `------------------- the next call ------------'

What it takes in calls is bounded by their time; what it takes beside them would be taken for as
long as it lives. Idle times are added up, so that calls now and then hide nothing.
"""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType

from server.inference.usage import usage

_SETTLE_S = 0.25  # threads of libraries may spin for some milliseconds after a call
_LOOK_S = 2.0
_JUDGED_S = 10.0  # idle time after which it is judged, and counted from nothing again
_MOST_OF_A_CORE = 0.2  # an honest child, idle, takes nothing


class IdleWatch:
    """Counts what a process takes whenever no block runs: each block is a call.

    Parameters
    ----------
    pid : int
        The process.
    kill : callable
        Called once when it takes too much.

    Attributes
    ----------
    reason : str
        Why it was killed; empty: it was not.
    """

    def __init__(self, pid: int, kill: Callable[[], None]) -> None:
        self._pid = pid
        self._kill = kill
        self._calls = 0
        self._timer: asyncio.TimerHandle | None = None
        self._before: tuple[float, float] | None = None  # clock and processor time; None: not idle
        self._idle_s = self._cpu_s = 0.0
        self.reason = ""

    def __enter__(self) -> "IdleWatch":
        self._calls += 1
        self._stop()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._calls -= 1
        if not self._calls:
            self._timer = asyncio.get_running_loop().call_later(_SETTLE_S, self._look)

    def close(self) -> None:
        """Look no more."""
        self._calls += 1  # one that never ends
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._before is not None:
            self._count()
            self._before = None

    def _look(self) -> None:
        self._count()
        if self._idle_s >= _JUDGED_S:
            if self._cpu_s > _MOST_OF_A_CORE * self._idle_s:
                self.reason = "it computed while nobody had asked it anything"
                self._kill()
                return
            self._idle_s = self._cpu_s = 0.0
        self._timer = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _count(self) -> None:
        now, taken = time.monotonic(), usage(self._pid).cpu_s
        if self._before is not None:
            self._idle_s += now - self._before[0]
            self._cpu_s += taken - self._before[1]
        self._before = (now, taken)
