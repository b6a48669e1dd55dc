"""Ends a child process that takes more memory than it may, while it is called.

The limit that the child has on its address space refuses what is asked for at once; this counts
what is really held, which the child cannot deny.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType

from server.inference.memory import private_bytes

_LOOK_S = 0.2


class MemoryWatch:
    """Looks at a process five times a second while a block runs.

    Parameters
    ----------
    pid : int
        The process.
    max_bytes : int or None
        What it may hold for itself; None: nobody looks.
    kill : callable
        Called once when it holds more.

    Attributes
    ----------
    reason : str
        Why it was killed; empty: it was not.
    """

    def __init__(self, pid: int, max_bytes: int | None, kill: Callable[[], None]) -> None:
        self._pid = pid
        self._max_bytes = max_bytes
        self._kill = kill
        self._timer: asyncio.TimerHandle | None = None
        self.reason = ""

    def __enter__(self) -> "MemoryWatch":
        self._wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        if self._max_bytes is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_LOOK_S, self._look, self._max_bytes)

    def _look(self, max_bytes: int) -> None:
        if private_bytes(self._pid) > max_bytes:
            self.reason = f"it took more than {max_bytes >> 20} MiB of memory"
            self._kill()
        else:
            self._wait()
